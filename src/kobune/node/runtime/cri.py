"""A container runtime that speaks CRI v1: containerd, CRI-O and others."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from kobune.node.netns import connect_in
from kobune.node.runtime import containerd_events_pb2 as events_pb
from kobune.node.runtime import cri_pb2 as pb
from kobune.node.runtime import messages
from kobune.node.runtime.calls import CALL_SECONDS, Calls, NotOffered, NotPresent
from kobune.node.runtime.images import LOCAL_IMAGES
from kobune.node.runtime.remote import RemoteCommand
from kobune.node.runtime.runtime import (
    ByteReader,
    ByteWriter,
    Container,
    ContainerSpec,
    ContainerStats,
    Image,
    ImageNotFound,
    LinuxResources,
    RuntimeEvent,
    RuntimeFailure,
    Sandbox,
    SandboxSpec,
    State,
    Stream,
)

SANDBOX_SECONDS = 240.0  # Source: upstream kubelet gives RunPodSandbox twice the usual time.
PULL_SECONDS = 3600.0  # An image may be large; whoever asked cancels when nobody waits any more.
SETTLE_SECONDS = 2.0
# What containerd tells of tasks; the deletion of a task follows every exit, when its status is about to be recorded.
CONTAINERD_TOPICS = ("/tasks/start", "/tasks/delete", "/tasks/oom", "/containers/delete")


class CriRuntime:
    """The Runtime behind a CRI socket.

    Args:
        socket: the runtime's gRPC socket.
        netns: the network namespace in which the runtime's streaming server listens; None is our own.
    """

    def __init__(self, socket: Path, *, netns: Path | None = None) -> None:
        self._calls = Calls(socket, pb.DESCRIPTOR, events_pb.DESCRIPTOR)
        self._netns = netns
        # A status does not change until the state does, so a relist asks only for what moved.
        self._containers: dict[str, Container] = {}
        self._sandboxes: dict[str, Sandbox] = {}

    async def version(self) -> str:
        answer = await self._calls.call("Version", pb.VersionRequest(), pb.VersionResponse)
        return f"{answer.runtime_name}://{answer.runtime_version.lstrip('v')}"

    async def problems(self) -> Sequence[str]:
        answer = await self._calls.call("Status", pb.StatusRequest(), pb.StatusResponse)
        # Source: upstream kubelet, RuntimeStatus.String and updateRuntimeUp.
        words = {"RuntimeReady": "container runtime not ready", "NetworkReady": "container runtime network not ready"}
        return [
            f"{words[it.type]}: {it.type}=false reason:{it.reason} message:{it.message}"
            for it in answer.status.conditions
            if it.type in words and not it.status
        ]

    # Sandboxes.

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        request = pb.RunPodSandboxRequest(config=messages.sandbox_config(spec))
        answer = await self._calls.call("RunPodSandbox", request, pb.RunPodSandboxResponse, seconds=SANDBOX_SECONDS)
        return answer.pod_sandbox_id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        request = pb.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
        with suppress(NotPresent):
            await self._calls.call("StopPodSandbox", request, pb.StopPodSandboxResponse)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        request = pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
        with suppress(NotPresent):
            await self._calls.call("RemovePodSandbox", request, pb.RemovePodSandboxResponse)
        self._sandboxes.pop(sandbox_id, None)

    async def list_sandboxes(self) -> Sequence[Sandbox]:
        answer = await self._calls.call("ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse)
        known = self._sandboxes
        fresh = {}
        for item in answer.items:
            sandbox: Sandbox | None = known.get(item.id)
            if sandbox is None or sandbox.ready != (item.state == pb.SANDBOX_READY):
                sandbox = await self.find_sandbox(item.id)
            if sandbox is not None:
                fresh[item.id] = sandbox
        self._sandboxes = fresh
        return list(fresh.values())

    async def find_sandbox(self, sandbox_id: str) -> Sandbox | None:
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
        try:
            answer = await self._calls.call("PodSandboxStatus", request, pb.PodSandboxStatusResponse)
        except NotPresent:
            return None
        return messages.sandbox_of(answer.status)

    # Containers.

    async def create_container(self, sandbox_id: str, spec: ContainerSpec, sandbox: SandboxSpec) -> str:
        request = pb.CreateContainerRequest(
            pod_sandbox_id=sandbox_id,
            config=messages.container_config(spec, sandbox),
            sandbox_config=messages.sandbox_config(sandbox),
        )
        answer = await self._calls.call("CreateContainer", request, pb.CreateContainerResponse)
        return answer.container_id

    async def start_container(self, container_id: str) -> None:
        request = pb.StartContainerRequest(container_id=container_id)
        await self._calls.call("StartContainer", request, pb.StartContainerResponse)

    async def stop_container(self, container_id: str, *, grace_seconds: int) -> None:
        request = pb.StopContainerRequest(container_id=container_id, timeout=grace_seconds)
        with suppress(NotPresent):
            await self._calls.call(
                "StopContainer", request, pb.StopContainerResponse, seconds=grace_seconds + CALL_SECONDS
            )

    async def remove_container(self, container_id: str) -> None:
        request = pb.RemoveContainerRequest(container_id=container_id)
        with suppress(NotPresent):
            await self._calls.call("RemoveContainer", request, pb.RemoveContainerResponse)
        self._containers.pop(container_id, None)

    async def list_containers(self) -> Sequence[Container]:
        known = self._containers
        fresh = {}
        for item in await self._list(pb.ContainerFilter()):
            container: Container | None = known.get(item.id)
            if container is None or container.state != messages.state_of(item.state):
                container = await self._status(item.id, item.pod_sandbox_id)
            if container is not None:
                fresh[item.id] = container
        self._containers = fresh
        return list(fresh.values())

    async def find_container(self, container_id: str) -> Container | None:
        known = self._containers.get(container_id)
        if known is not None:
            return await self._status(container_id, known.sandbox_id)
        # Only a list names the sandbox of a container.
        found = await self._list(pb.ContainerFilter(id=container_id))
        if not found:
            return None
        container = await self._status(container_id, found[0].pod_sandbox_id)
        if container is not None:
            self._containers[container_id] = container
        return container

    async def update_resources(self, container_id: str, resources: LinuxResources) -> None:
        request = pb.UpdateContainerResourcesRequest(
            container_id=container_id, linux=messages.linux_resources(resources)
        )
        await self._calls.call("UpdateContainerResources", request, pb.UpdateContainerResourcesResponse)

    async def reopen_log(self, container_id: str) -> None:
        request = pb.ReopenContainerLogRequest(container_id=container_id)
        await self._calls.call("ReopenContainerLog", request, pb.ReopenContainerLogResponse)

    async def _list(self, which: pb.ContainerFilter) -> Sequence[pb.Container]:
        request = pb.ListContainersRequest(filter=which)
        return (await self._calls.call("ListContainers", request, pb.ListContainersResponse)).containers

    async def _status(self, container_id: str, sandbox_id: str) -> Container | None:
        request = pb.ContainerStatusRequest(container_id=container_id)
        try:
            answer = await self._calls.call("ContainerStatus", request, pb.ContainerStatusResponse)
        except NotPresent:
            return None
        return messages.container_of(answer.status, sandbox_id)

    # Commands and connections.

    async def exec_sync(
        self, container_id: str, command: Sequence[str], *, timeout_seconds: float
    ) -> tuple[int, bytes, bytes]:
        # CRI counts whole seconds, and zero is for ever.
        seconds = max(1, round(timeout_seconds))
        request = pb.ExecSyncRequest(container_id=container_id, cmd=command, timeout=seconds)
        answer = await self._calls.call("ExecSync", request, pb.ExecSyncResponse, seconds=seconds + CALL_SECONDS)
        return answer.exit_code, answer.stdout, answer.stderr

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Stream:
        request = pb.ExecRequest(
            container_id=container_id, cmd=command, stdin=stdin, stdout=True, stderr=not tty, tty=tty
        )
        answer = await self._calls.call("Exec", request, pb.ExecResponse)
        return await RemoteCommand.open(answer.url, netns=self._netns, stdin=stdin, tty=tty)

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Stream:
        request = pb.AttachRequest(container_id=container_id, stdin=stdin, stdout=True, stderr=not tty, tty=tty)
        answer = await self._calls.call("Attach", request, pb.AttachResponse)
        return await RemoteCommand.open(answer.url, netns=self._netns, stdin=stdin, tty=tty)

    async def port_forward(self, sandbox_id: str, port: int) -> tuple[ByteReader, ByteWriter]:
        """Connects from inside the sandbox's network namespace, so servers on its loopback are reached too."""
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id, verbose=True)
        answer = await self._calls.call("PodSandboxStatus", request, pb.PodSandboxStatusResponse)
        pid = json.loads(answer.info.get("info", "{}")).get("pid", 0)
        if answer.status.state != pb.SANDBOX_READY or not pid:
            raise RuntimeFailure(f"sandbox container {sandbox_id!r} is not running")
        try:
            sock = await connect_in(Path(f"/proc/{pid}/ns/net"), "127.0.0.1", port)
        except OSError as error:
            raise RuntimeFailure(f"failed to connect to localhost:{port} inside the sandbox: {error}") from error
        return await asyncio.open_connection(sock=sock)

    # Images.

    async def find_image(self, reference: str) -> Image | None:
        request = pb.ImageStatusRequest(image=pb.ImageSpec(image=reference))
        answer = await self._calls.call("ImageStatus", request, pb.ImageStatusResponse)
        return messages.image_of(answer.image) if answer.HasField("image") else None

    async def pull_image(self, reference: str, *, auth: Mapping[str, str] | None = None) -> Image:
        """`auth` has the names of CRI's AuthConfig: username, password, server_address, …

        Images under kobune.local are made or loaded on the node and in no registry: what is there is what a pull gets.
        """
        if reference.startswith(LOCAL_IMAGES):
            present = await self.find_image(reference)
            if present is None:
                raise ImageNotFound(f"image {reference!r} is not on this node; kobune image load puts images there")
            return present
        request = pb.PullImageRequest(image=pb.ImageSpec(image=reference), auth=pb.AuthConfig(**auth) if auth else None)
        try:
            answer = await self._calls.call("PullImage", request, pb.PullImageResponse, seconds=PULL_SECONDS)
        except NotPresent as error:
            raise ImageNotFound(str(error)) from None
        image = await self.find_image(answer.image_ref)
        if image is None:
            raise ImageNotFound(f"image {reference!r} was pulled as {answer.image_ref!r}, which is not there")
        return image

    async def list_images(self) -> Sequence[Image]:
        answer = await self._calls.call("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse)
        return [messages.image_of(image) for image in answer.images]

    async def remove_image(self, image_id: str) -> None:
        request = pb.RemoveImageRequest(image=pb.ImageSpec(image=image_id))
        with suppress(NotPresent):
            await self._calls.call("RemoveImage", request, pb.RemoveImageResponse)

    # What happens.

    async def stats(self) -> Sequence[ContainerStats]:
        request = pb.ListContainerStatsRequest()
        answer = await self._calls.call("ListContainerStats", request, pb.ListContainerStatsResponse)
        # Ended containers are listed too, without a measurement.
        return [messages.stats_of(stats) for stats in answer.stats if stats.cpu.timestamp]

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        """By CRI's own event stream, else by containerd's (before 1.7 it has no other)."""
        try:
            async for event in self._calls.stream(
                "GetContainerEvents", pb.GetEventsRequest(), pb.ContainerEventResponse
            ):
                sandbox_id = event.pod_sandbox_status.id
                yield RuntimeEvent(sandbox_id, "" if event.container_id == sandbox_id else event.container_id)
        except NotOffered:
            async for happening in self._containerd_events():
                yield happening
        raise RuntimeFailure("the runtime ended its event stream")

    async def _containerd_events(self) -> AsyncIterator[RuntimeEvent]:
        request = events_pb.SubscribeRequest(
            filters=[f'namespace==k8s.io,topic=="{topic}"' for topic in CONTAINERD_TOPICS]
        )
        async for envelope in self._calls.stream("Subscribe", request, events_pb.Envelope):
            subject = events_pb.Subject.FromString(envelope.event.value).container_id
            before = self._containers.get(subject)
            if envelope.topic == "/tasks/delete":
                await self._settle(subject)
            if before is not None:
                yield RuntimeEvent(before.sandbox_id, subject)
            elif found := await self._list(pb.ContainerFilter(id=subject)):
                yield RuntimeEvent(found[0].pod_sandbox_id, subject)
            else:
                yield RuntimeEvent(subject, "")

    async def _settle(self, subject: str) -> None:
        """Wait until CRI's answers have caught up with an exit that containerd's core has announced.

        The two are separate books: for some milliseconds after the event, CRI still calls the container running.
        """
        delay = 0.001
        while delay < SETTLE_SECONDS:
            container = await self._status(subject, "")
            if container is None:
                sandbox = await self.find_sandbox(subject)
                if sandbox is None or not sandbox.ready:
                    return
            elif container.state != State.RUNNING:
                return
            await asyncio.sleep(delay)
            delay *= 2

    async def close(self) -> None:
        await self._calls.close()
