"""One pod on this node, from the moment it is bound here until nothing of it is left."""

import asyncio
import logging
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from kobune.api.errors import ApiError
from kobune.node.kubelet.backoff import BackOff
from kobune.node.kubelet.ending import Grace, end_container, end_pod
from kobune.node.kubelet.images import ImageProblem
from kobune.node.kubelet.node_status import wait_or
from kobune.node.kubelet.plan import Plan, plan_pod
from kobune.node.kubelet.pod import Container, Pod, field_path
from kobune.node.kubelet.pod_report import PodReport
from kobune.node.kubelet.probe_actions import Client as ProbeClient
from kobune.node.kubelet.probes import Probes
from kobune.node.kubelet.qos import linux_resources, oom_score_adj, pod_requests
from kobune.node.kubelet.removing import (
    delete_object,
    remove_from_runtime,
    remove_logs,
    remove_old_sandboxes,
    remove_record,
)
from kobune.node.kubelet.resize import completed_message, plan_resizes
from kobune.node.kubelet.retries import Retries
from kobune.node.kubelet.runtime_state import PodState
from kobune.node.kubelet.services import Services
from kobune.node.kubelet.starting import (
    StartFailed,
    find_image,
    run_post_start,
    start_container,
    start_sandbox,
)
from kobune.node.kubelet.status import Verdict, Waiting
from kobune.node.kubelet.status_writer import StatusWriter
from kobune.node.kubelet.volumes.manager import VolumeFailure
from kobune.node.runtime.runtime import Image, RuntimeFailure, Sandbox, State

log = logging.getLogger(__name__)

SANDBOX, VOLUMES = "/sandbox", "/volumes"  # No container has such a name.
SANDBOX_RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0)
VOLUME_RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 122.0)  # Source: upstream, exponential to 2m2s.
ENDING_RETRY_SECONDS = 2.0
RESIZE_RETRY_SECONDS = 10.0
IDLE_SECONDS = 60.0  # A pod is looked at so often even when nothing happens. Source: upstream syncFrequency.


class Stage(StrEnum):
    """What the worker is doing."""

    STARTING = "starting"  # Sandbox, volumes, images, containers.
    RUNNING = "running"
    TERMINATING = "terminating"  # Containers are being ended.
    TERMINATED = "terminated"  # Nothing runs; volumes and cgroup are gone.
    GONE = "gone"  # Nothing is left on the node.


@dataclass(frozen=True, slots=True)
class Ending:
    """Why the pod's containers are ended, and how long they may take."""

    grace_seconds: int
    verdict: Verdict | None = None
    hooks: bool = True


class PodWorker:
    """Brings one pod to life, keeps it there, ends it.

    Args:
        pod: as first seen; `update` brings newer versions.
    """

    def __init__(self, services: Services, pod: Pod, probe_client: ProbeClient) -> None:
        self.stage = Stage.STARTING
        self.requests = pod_requests(pod)  # Asked for whenever another pod comes.
        self._services = services
        self._known = PodReport(services, pod)
        self._woken = asyncio.Event()
        self._ending: Ending | None = None
        self._end = asyncio.Event()
        self.stopped = asyncio.Event()  # Set once nothing of it runs.
        self._grace = Grace(pod.grace_seconds())
        self._removed = asyncio.Event()  # The API server has forgotten the pod, or wants it deleted.
        self._probes = Probes(services, probe_client, self.wake)
        self._backoff = BackOff()
        self._retries = Retries(services.clock)  # By container name, SANDBOX and VOLUMES.
        self._killing: set[str] = set()  # Ids of containers being ended while the pod goes on.
        self._volumes: dict[str, Path] | None = None
        self._refreshed_at: float | None = None  # When volumes were last brought up to date.
        self._images: dict[str, Image] = {}
        self._hooking: set[str] = set()  # Ids of containers whose postStart hook runs.
        if pod.metadata.deletion_timestamp is not None:
            self._end_with(Ending(pod.grace_seconds()))
        elif pod.is_finished:
            self._end_with(Ending(pod.spec.termination_grace_period_seconds))

    # Told from outside; none of these waits.

    def update(self, pod: Pod) -> None:
        """A newer version of the pod."""
        before, now = self.pod.metadata, pod.metadata
        if (before.labels, before.annotations) != (now.labels, now.annotations):
            self._refreshed_at = None  # Files of the downward API show them.
        self._known.update(pod)
        if pod.metadata.deletion_timestamp is not None:
            self._grace.shorten(pod.grace_seconds())
            self._end_with(Ending(pod.grace_seconds()))
            self._removed.set()
        self.wake()

    def remove(self) -> None:
        """The pod has disappeared from its source."""
        self.writer.uid = ""
        self._grace.shorten(self.pod.grace_seconds())
        self._end_with(Ending(self.pod.grace_seconds()))
        self._removed.set()

    def withdraw(self) -> None:
        """Its manifest has gone from the node; the API server's picture of it goes too."""
        self._end_with(Ending(self.pod.grace_seconds()))
        self._removed.set()

    def end(self, ending: Ending) -> None:
        """End the pod for the node's own reasons (eviction, shutdown)."""
        self._end_with(ending)

    def wake(self) -> None:
        """Something in the runtime or a probe's outcome has changed."""
        self._woken.set()

    @property
    def is_over(self) -> bool:
        """Nothing of it runs or will run."""
        return self.stage in (Stage.TERMINATED, Stage.GONE)

    @property
    def is_ending(self) -> bool:
        return self._ending is not None

    @property
    def pod(self) -> Pod:
        """The newest version, with the status we give it."""
        return self._known.pod

    @property
    def writer(self) -> StatusWriter:
        return self._known.writer

    # The life of the pod.

    async def run(self) -> None:
        """Live, end, and clean up; returns when nothing of the pod is left on the node."""
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self.writer.run(), name=f"status of {self.pod.key}")
            living = tasks.create_task(self._live(tasks), name=f"pod {self.pod.key}")
            await self._end.wait()
            living.cancel()
            await asyncio.wait((living,))
            await self._terminate()
            if not self._removed.is_set():
                await self._wait_for_removal()
            await self._remove()
            writing.cancel()

    def _end_with(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
            self._grace.shorten(ending.grace_seconds)
            self._end.set()
        if self.pod.metadata.deletion_timestamp is not None:
            self._removed.set()

    async def _live(self, tasks: asyncio.TaskGroup) -> None:
        """Bring the pod forward whenever something happens, until it is to end."""
        while True:
            self._woken.clear()
            try:
                pause = await self._step(tasks)
            except (RuntimeFailure, ApiError, OSError) as error:
                log.warning("pod not synced", extra={"pod": str(self.pod.key), "error": str(error)})
                pause = 1.0
            self._report()
            await wait_or(self._services.clock, pause, self._woken)

    async def _step(self, tasks: asyncio.TaskGroup) -> float:
        """One step of the plan; the seconds until the next look."""
        clock = self._services.clock
        state = self._state()
        self._probes.follow(self.pod, state, self._known.ip, tasks, held=self._hooking)
        deadline = self._known.deadline_in()
        if deadline is not None and deadline <= 0:
            words = "Pod was active on the node longer than the specified deadline"
            self._services.recorder.normal(self.pod, "DeadlineExceeded", words)
            grace = self.pod.spec.termination_grace_period_seconds
            self._end_with(Ending(grace, Verdict("DeadlineExceeded", words)))
            return IDLE_SECONDS
        await self._resize(tasks)
        plan = plan_pod(
            self.pod,
            state,
            backoff=self._backoff,
            condemned=self._probes.condemned,
            started=self._probes.started,
            now=clock.now(),
        )
        if plan.finished:
            self._end_with(Ending(self.pod.spec.termination_grace_period_seconds))
            return IDLE_SECONDS
        for kill in plan.kill:
            # In the background: a container that takes its time to end must not keep the others waiting.
            self._kill(kill.container.id, kill.message, kill.why, tasks)
        self._known.note_resting(plan)
        await self._bring_up(plan, tasks)
        waits = self._retries.pauses()
        waits += [(each.until - clock.now()).total_seconds() for each in plan.resting.values()]
        waits += [deadline] if deadline is not None else []
        waits += [RESIZE_RETRY_SECONDS] if self._known.pending_resize is not None else []
        if self._services.volumes.has_changing(self.pod) and (left := self._refresh_in()) > 0:
            waits.append(left)
        return max(0.01, min([*waits, IDLE_SECONDS]))

    async def _resize(self, tasks: asyncio.TaskGroup) -> None:
        """Give running containers what their spec has come to ask for, as soon as the node has room."""
        known, services = self._known, self._services
        known.adopt_resources()
        resizes = plan_resizes(self.pod, known.state, known.applied)
        if not resizes:
            known.pending_resize = None
            return
        obstacle = services.find_obstacle(self.pod)
        if obstacle is not None:
            if obstacle != known.pending_resize:
                services.recorder.warning(self.pod, f"Resize{obstacle.reason}", obstacle.message)
            known.pending_resize = obstacle
            return
        known.pending_resize = None
        self.requests = pod_requests(self.pod)
        services.cgroups.make(self.pod)
        for container, record, needs_restart in resizes:
            if needs_restart:
                self._kill(record.id, f"Container {container.name} resize requires restart", "", tasks)
                continue
            config = services.config
            score = oom_score_adj(self.pod, container, config.capacity.memory_bytes)
            resources = linux_resources(container.resources, oom_score=score, cpu_ceiling=config.cpu_ceiling)
            await services.runtime.update_resources(record.id, resources)
            known.applied[record.id] = container.resources
        services.recorder.normal(self.pod, "ResizeCompleted", completed_message(self.pod))

    async def _bring_up(self, plan: Plan, tasks: asyncio.TaskGroup) -> None:
        """Sandbox, volumes and images side by side, then the containers in order."""
        for sandbox_id in plan.stop_sandboxes:
            await self._replace_sandbox(sandbox_id)
        wanted = [each for each in plan.start if self._retries.may_try(each.name)]
        async with asyncio.TaskGroup() as group:
            if plan.create_sandbox:
                making = group.create_task(self._make_sandbox(plan.attempt))
            volumes = group.create_task(self._set_up_volumes())
            for container in wanted:
                group.create_task(self._have_image(container))
        if (plan.create_sandbox and not making.result()) or not volumes.result():
            return
        sandbox = self._state().sandbox
        if sandbox is None or not sandbox.ready:
            return
        for container in wanted:
            if container.name in self._images:
                await self._start(container, sandbox, tasks)

    async def _make_sandbox(self, attempt: int) -> bool:
        if not self._retries.may_try(SANDBOX):
            return False
        if attempt:
            words = "Pod sandbox changed, it will be killed and re-created."
            self._services.recorder.normal(self.pod, "SandboxChanged", words)
        try:
            await start_sandbox(self._services, self.pod, attempt)
        except (RuntimeFailure, OSError) as error:
            words = f"Failed to create pod sandbox: {error}"
            self._services.recorder.warning(self.pod, "FailedCreatePodSandBox", words)
            self._retries.failed(SANDBOX, SANDBOX_RETRY_SECONDS)
            return False
        if attempt:
            # One that dies at once must not be replaced as fast; a container that starts in it clears this.
            self._retries.failed(SANDBOX, SANDBOX_RETRY_SECONDS)
            await remove_old_sandboxes(self._services, self.pod)
        return True

    async def _replace_sandbox(self, sandbox_id: str) -> None:
        for record in self._state().containers:
            if record.sandbox_id == sandbox_id and record.state is State.RUNNING:
                message = f"Stopping container {record.name}"
                await end_container(self._services, self.pod, record, message=message, grace=self._grace)
        await self._services.runtime.stop_sandbox(sandbox_id)
        await self._services.state.refresh_sandbox(sandbox_id)

    async def _set_up_volumes(self) -> bool:
        """True when all volumes are there. They are brought up to date now and then."""
        now = self._services.clock.monotonic()
        first = self._volumes is None
        if not first and self._refresh_in() > 0:
            return True
        if not self._retries.may_try(VOLUMES):
            return not first
        place = self._services.place(tuple(self._known.ips))
        try:
            if first:
                self._volumes = await self._services.volumes.set_up(self.pod, place)
            else:
                await self._services.volumes.refresh(self.pod, place)
        except VolumeFailure as error:
            self._services.recorder.warning(self.pod, "FailedMount", str(error))
            self._retries.failed(VOLUMES, VOLUME_RETRY_SECONDS)
            return not first
        self._retries.succeeded(VOLUMES)
        self._refreshed_at = now
        return True

    def _refresh_in(self) -> float:
        """Seconds until volumes are to be brought up to date."""
        if self._refreshed_at is None:
            return 0.0
        return self._refreshed_at + self._services.config.sync_seconds - self._services.clock.monotonic()

    async def _have_image(self, container: Container) -> None:
        if container.name in self._images:
            return  # It was had before, but its container could not be started yet.
        try:
            self._images[container.name] = await find_image(self._services, self.pod, container)
        except ImageProblem as problem:
            self._images.pop(container.name, None)
            words = f"Error: {problem.reason}"
            where = field_path(self.pod, container.name)
            self._services.recorder.warning(self.pod, "Failed", words, field_path=where)
            self._known.waiting[container.name] = Waiting(problem.reason, str(problem))
            self._retries.wait(container.name, problem.retry_seconds)

    async def _start(self, container: Container, sandbox: Sandbox, tasks: asyncio.TaskGroup) -> None:
        name = container.name
        last = self._state().current(name)
        if last is not None and last.finished is not None:
            self._backoff.failed(name, last.finished.timestamp())
        pod_ip = self._known.ip
        try:
            image = self._images.pop(name)
            container_id = await start_container(
                self._services, self.pod, container, sandbox, self._volumes or {}, image
            )
            log.info("container started", extra={"pod": str(self.pod.key), "container": name, "id": container_id})
            self._known.waiting.pop(name, None)
            self._known.applied[container_id] = container.resources
            self._retries.succeeded(SANDBOX)
            if container.lifecycle is not None and container.lifecycle.post_start is not None:
                self._hooking.add(container_id)
                try:
                    self._report()
                    await run_post_start(self._services, self.pod, container, container_id, pod_ip)
                finally:
                    self._hooking.discard(container_id)
            self._retries.succeeded(name)
        except StartFailed as failure:
            self._known.waiting[name] = failure.waiting
            self._retries.wait(name, failure.retry_seconds)
        self._probes.follow(self.pod, self._state(), pod_ip, tasks, held=self._hooking)
        self._report()
        self._forget_old_records(name, tasks)

    def _kill(self, container_id: str, message: str, why: str, tasks: asyncio.TaskGroup) -> None:
        if container_id in self._hooking or container_id in self._killing:
            return
        self._killing.add(container_id)
        tasks.create_task(self._end_one(container_id, message, why), name=f"kill {container_id}")

    async def _end_one(self, container_id: str, message: str, why: str) -> None:
        record = next((each for each in self._state().containers if each.id == container_id), None)
        container = self.pod.find_container(record.name) if record else None
        if record is None or container is None:
            return
        seconds = self.pod.spec.termination_grace_period_seconds
        probe = {"liveness": container.liveness_probe, "startup": container.startup_probe}.get(why)
        if probe is not None and probe.termination_grace_period_seconds is not None:
            seconds = probe.termination_grace_period_seconds
        pod_ip = self._known.ip
        try:
            await end_container(self._services, self.pod, record, message=message, grace=Grace(seconds), pod_ip=pod_ip)
        except (RuntimeFailure, TimeoutError) as error:
            log.warning("container not ended", extra={"container": container_id, "error": str(error)})
        finally:
            self._killing.discard(container_id)
            self.wake()

    def _forget_old_records(self, name: str, tasks: asyncio.TaskGroup) -> None:
        """Keep the newest dead container for `logs --previous`; remove older ones."""
        dead = [each for each in self._state().all_of(name) if each.state is State.EXITED]
        for record in dead[self._services.config.dead_containers_per_container :]:
            self._known.forget_message(record.id)
            tasks.create_task(remove_record(self._services, self.pod, record), name=f"remove {record.id}")

    # The end.

    async def _terminate(self) -> None:
        """End what runs, then release what it used; tries until it succeeds."""
        ending = self._ending
        assert ending is not None
        if ending.verdict is not None:
            self._report()
        self.stage = Stage.TERMINATING
        self._probes.stop(keep_readiness=True)
        async with asyncio.TaskGroup() as tasks:
            reporting = tasks.create_task(self._keep_reporting(), name=f"end of {self.pod.key}")
            await self._end_containers(ending)
            reporting.cancel()
        self._probes.stop()
        self._known.collect_messages()
        await self._services.volumes.take_down(self.pod.uid)
        self._services.cgroups.remove(self.pod)
        log.info("pod ended", extra={"pod": str(self.pod.key), "uid": self.pod.uid})
        self.stage = Stage.TERMINATED
        self.stopped.set()
        self._report()

    async def _end_containers(self, ending: Ending) -> None:
        pod_ip = self._known.ip
        while True:
            try:
                await end_pod(self._services, self.pod, self._grace, pod_ip=pod_ip, hooks=ending.hooks)
                return
            except (RuntimeFailure, TimeoutError) as error:
                self._services.recorder.warning(self.pod, "FailedKillPod", f"error killing pod: {error}")
                await self._services.clock.sleep(ENDING_RETRY_SECONDS)

    async def _keep_reporting(self) -> None:
        """Containers of an ending pod end one by one, and may become unready before."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            self._report()

    async def _wait_for_removal(self) -> None:
        """A finished pod stays, its logs readable, until somebody deletes it."""
        await self._removed.wait()
        self._report()

    async def _remove(self) -> None:
        """Delete the pod from the API server, and everything of it from the node."""
        async with asyncio.TaskGroup() as group:
            group.create_task(delete_object(self._services, self.pod, self.writer))
            group.create_task(remove_from_runtime(self._services, self.pod))
        self._services.images.forget(self.pod.uid)
        await remove_logs(self._services, self.pod)
        self._services.cgroups.remove(self.pod)
        self.stage = Stage.GONE

    def _report(self) -> None:
        """Have the present status written."""
        state, ending = self._state(), self._ending
        # What is about to change again may wait a moment: containers being created, or ending one by one.
        is_creating = not state.containers and not self._known.waiting and ending is None
        self._known.send(
            self._probes,
            verdict=ending.verdict if ending else None,
            is_over=self.is_over,
            lazy=is_creating or self.stage is Stage.TERMINATING,
        )
        if self.stage is Stage.STARTING and any(each.state is State.RUNNING for each in state.containers):
            self.stage = Stage.RUNNING

    def _state(self) -> PodState:
        return self._known.state
