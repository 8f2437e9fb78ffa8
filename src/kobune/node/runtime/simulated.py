"""A container runtime without containers: sandboxes and containers live in memory and behave as data says."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, NamedTuple

from kobune.api.clock import Clock
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
    TerminalSize,
)

KILLED, TERMINATED = 137, 143  # 128 and the signal's number, as a shell counts.


class Result(NamedTuple):
    """What a command in a container does."""

    exit_code: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    takes_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the containers of one name behave.

    Args:
        start_seconds: how long starting takes; start_failure: with what words it fails instead.
        runs_seconds: how long it runs before it exits with `exit_code`; None is until it is stopped.
        stops_seconds: how long it takes to end after TERM; None is not before KILL.
        log: its lines on standard output, all written when it starts.
        commands: what exec'd commands do, by their words; any other fails as a missing program does.
        cpu_nanocores, memory_bytes: what it uses while it runs.
    """

    start_seconds: float = 0.0
    start_failure: str = ""
    runs_seconds: float | None = None
    exit_code: int = 0
    reason: str = ""  # "" is "Completed" or "Error", by the exit code.
    stops_seconds: float | None = 0.0
    log: Sequence[str] = ()
    commands: Mapping[tuple[str, ...], Result] = field(default_factory=dict)
    cpu_nanocores: int = 10_000_000
    memory_bytes: int = 16 << 20


@dataclass(slots=True)
class _Live:
    """A container's book-keeping."""

    spec: ContainerSpec
    sandbox: SandboxSpec
    shown: Container
    resources: LinuxResources
    began: float = 0.0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None


class SimulatedRuntime:
    """The Runtime of a simulated node, or of a test. The same calls at the same times give the same answers.

    Args:
        behaviours: by container name; others just run. May be changed while the runtime is in use.
        images: what a registry would have, by reference, to how many seconds a pull takes; None is everything at once.
        pods: the range that sandboxes get their addresses from.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        behaviours: Mapping[str, Behaviour] | None = None,
        images: Mapping[str, float] | None = None,
        pods: IPv4Network = IPv4Network("10.244.0.0/24"),  # noqa: B008 (a constant)
    ) -> None:
        self.behaviours: dict[str, Behaviour] = dict(behaviours or {})
        self.unready = ""  # Words for the node's Ready condition, while the runtime is to have a problem.
        self.sandbox_failures: list[str] = []  # The next sandboxes fail with these words.
        self.calls: list[str] = []  # The names of calls that changed something, in order.
        self._clock = clock
        self._registry = images
        self._images: dict[str, Image] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, _Live] = {}
        self._listeners: list[asyncio.Queue[RuntimeEvent]] = []
        self._addresses = pods
        self._made = 0

    async def version(self) -> str:
        return "simulated://1.0.0"

    async def problems(self) -> Sequence[str]:
        return [self.unready] if self.unready else []

    # Sandboxes.

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        self.calls.append("run_sandbox")
        if self.sandbox_failures:
            raise RuntimeFailure(self.sandbox_failures.pop(0))
        sandbox_id = self._new_id()
        used = {ip for sandbox in self._sandboxes.values() for ip in sandbox.ips}
        free = next((str(ip) for ip in self._addresses.hosts() if str(ip) not in used), None)
        if free is None:
            raise RuntimeFailure(f"no IP addresses available in range set: {self._addresses}")
        self._sandboxes[sandbox_id] = Sandbox(
            id=sandbox_id,
            name=spec.name,
            namespace=spec.namespace,
            uid=spec.uid,
            attempt=spec.attempt,
            ready=True,
            created=self._clock.now(),
            ips=[] if spec.host_network else [free],
            labels=dict(spec.labels),
            annotations=dict(spec.annotations),
        )
        self._tell(sandbox_id, "")
        return sandbox_id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        self.calls.append("stop_sandbox")
        for live in self._containers.values():
            if live.shown.sandbox_id == sandbox_id:
                self._end(live, KILLED)
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is not None and sandbox.ready:
            self._sandboxes[sandbox_id] = sandbox._replace(ready=False, ips=[])
            self._tell(sandbox_id, "")

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        self.calls.append("remove_sandbox")
        for container_id in [key for key, live in self._containers.items() if live.shown.sandbox_id == sandbox_id]:
            del self._containers[container_id]
        if self._sandboxes.pop(sandbox_id, None):
            self._tell(sandbox_id, "")

    async def list_sandboxes(self) -> Sequence[Sandbox]:
        return list(self._sandboxes.values())

    async def find_sandbox(self, sandbox_id: str) -> Sandbox | None:
        return self._sandboxes.get(sandbox_id)

    def break_sandbox(self, sandbox_id: str) -> None:
        """End a sandbox and its containers from outside, as a crash of its first process would."""
        for live in self._containers.values():
            if live.shown.sandbox_id == sandbox_id:
                self._end(live, KILLED)
        self._sandboxes[sandbox_id] = self._sandboxes[sandbox_id]._replace(ready=False)
        self._tell(sandbox_id, "")

    # Containers.

    async def create_container(self, sandbox_id: str, spec: ContainerSpec, sandbox: SandboxSpec) -> str:
        self.calls.append(f"create_container {spec.name}")
        if sandbox_id not in self._sandboxes:
            raise RuntimeFailure(f"failed to find sandbox id {sandbox_id!r}: not found")
        container_id = self._new_id()
        shown = Container(
            id=container_id,
            sandbox_id=sandbox_id,
            name=spec.name,
            attempt=spec.attempt,
            state=State.CREATED,
            image=spec.user_image or spec.image,
            image_id=spec.image,
            created=self._clock.now(),
            started=None,
            finished=None,
            exit_code=0,
            reason="",
            message="",
            labels=dict(spec.labels),
            annotations=dict(spec.annotations),
        )
        self._containers[container_id] = _Live(spec, sandbox, shown, spec.resources)
        return container_id

    async def start_container(self, container_id: str) -> None:
        live = self._live(container_id)
        self.calls.append(f"start_container {live.spec.name}")
        behaviour = self._behaviour(live)
        if behaviour.start_seconds:
            await self._clock.sleep(behaviour.start_seconds)
        if behaviour.start_failure:
            now = self._clock.now()
            self._show(live, state=State.EXITED, started=now, finished=now, exit_code=128, reason="StartError",
                       message=behaviour.start_failure)  # fmt: skip
            raise RuntimeFailure(behaviour.start_failure)
        live.began = self._clock.monotonic()
        self._show(live, state=State.RUNNING, started=self._clock.now())
        _write_log(live, behaviour.log, self._clock.now())  # In place: virtual time would not wait for a thread.
        if behaviour.runs_seconds is not None:
            # Both clocks that exist follow the loop's time.
            live.timer = asyncio.get_running_loop().call_later(
                behaviour.runs_seconds, self._end, live, behaviour.exit_code, behaviour.reason
            )

    async def stop_container(self, container_id: str, *, grace_seconds: int) -> None:
        live = self._containers.get(container_id)
        if live is None or live.shown.state != State.RUNNING:
            return
        self.calls.append(f"stop_container {live.spec.name} {grace_seconds}")
        takes = self._behaviour(live).stops_seconds
        heeded = takes is not None and takes <= grace_seconds and grace_seconds > 0
        try:
            async with asyncio.timeout(takes if heeded else grace_seconds):
                await live.ended.wait()
        except TimeoutError:
            self._end(live, TERMINATED if heeded else KILLED)

    def end_container(self, container_id: str, exit_code: int, reason: str = "") -> None:
        """Let a running container exit now, of its own."""
        self._end(self._live(container_id), exit_code, reason)

    async def remove_container(self, container_id: str) -> None:
        live = self._containers.pop(container_id, None)
        if live is not None:
            self.calls.append(f"remove_container {live.spec.name}")
            if live.timer:
                live.timer.cancel()
            self._tell(live.shown.sandbox_id, container_id)

    async def list_containers(self) -> Sequence[Container]:
        return [live.shown for live in self._containers.values()]

    async def find_container(self, container_id: str) -> Container | None:
        live = self._containers.get(container_id)
        return live.shown if live else None

    def spec_of(self, container_id: str) -> ContainerSpec:
        """What the container was created with."""
        return self._live(container_id).spec

    async def update_resources(self, container_id: str, resources: LinuxResources) -> None:
        live = self._live(container_id)
        self.calls.append(f"update_resources {live.spec.name}")
        live.resources = resources

    async def reopen_log(self, container_id: str) -> None:
        _write_log(self._live(container_id), (), self._clock.now())

    # Commands and connections.

    async def exec_sync(
        self, container_id: str, command: Sequence[str], *, timeout_seconds: float
    ) -> tuple[int, bytes, bytes]:
        result = self._result(container_id, command)
        if result.takes_seconds > timeout_seconds > 0:
            await self._clock.sleep(timeout_seconds)
            raise TimeoutError(f"command {' '.join(command)!r} timed out")
        await self._clock.sleep(result.takes_seconds)
        return result.exit_code, result.stdout, result.stderr

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Stream:
        return SimulatedStream(self._result(container_id, command), self._clock)

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Stream:
        live = self._live(container_id)
        lines = "".join(f"{line}\n" for line in self._behaviour(live).log)
        return SimulatedStream(Result(stdout=lines.encode()), self._clock)

    async def port_forward(self, sandbox_id: str, port: int) -> tuple[ByteReader, ByteWriter]:
        raise RuntimeFailure(f"failed to connect to localhost:{port} inside the sandbox: nothing listens there")

    # Images.

    async def find_image(self, reference: str) -> Image | None:
        found = self._images.get(reference)
        return found or next((image for image in self._images.values() if image.id == reference), None)

    async def pull_image(self, reference: str, *, auth: Mapping[str, str] | None = None) -> Image:
        self.calls.append(f"pull_image {reference}")
        if self._registry is not None:
            if reference not in self._registry:
                raise ImageNotFound(
                    f"failed to pull and unpack image {reference!r}: failed to resolve reference: not found"
                )
            await self._clock.sleep(self._registry[reference])
        digest = hashlib.sha256(reference.encode()).hexdigest()
        name = reference.partition("@")[0].rpartition(":")[0] or reference
        self._images[reference] = Image(
            f"sha256:{digest}", [reference], [f"{name}@sha256:{digest}"], size_bytes=10_000_000
        )
        return self._images[reference]

    async def list_images(self) -> Sequence[Image]:
        return list(self._images.values())

    async def remove_image(self, image_id: str) -> None:
        self.calls.append(f"remove_image {image_id}")
        self._images = {key: image for key, image in self._images.items() if image_id not in (key, image.id)}

    # What happens.

    async def stats(self) -> Sequence[ContainerStats]:
        return [self._stats(live) for live in self._containers.values() if live.shown.state == State.RUNNING]

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        queue: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.remove(queue)

    async def close(self) -> None:
        for live in self._containers.values():
            if live.timer:
                live.timer.cancel()

    def _behaviour(self, live: _Live) -> Behaviour:
        return self.behaviours.get(live.spec.name, Behaviour())

    def _live(self, container_id: str) -> _Live:
        live = self._containers.get(container_id)
        if live is None:
            raise RuntimeFailure(f"an error occurred when try to find container {container_id!r}: not found")
        return live

    def _result(self, container_id: str, command: Sequence[str]) -> Result:
        live = self._live(container_id)
        if live.shown.state != State.RUNNING:
            raise RuntimeFailure(f"container is in {live.shown.state} state")
        result = self._behaviour(live).commands.get(tuple(command))
        if result is None:
            raise RuntimeFailure(f"exec: {command[0]!r}: executable file not found in $PATH: unknown")
        return result

    def _end(self, live: _Live, exit_code: int, reason: str = "") -> None:
        if live.shown.state != State.RUNNING:
            return
        if live.timer:
            live.timer.cancel()
        reason = reason or ("Error" if exit_code else "Completed")
        self._show(live, state=State.EXITED, finished=self._clock.now(), exit_code=exit_code, reason=reason)
        live.ended.set()

    def _show(self, live: _Live, **changes: Any) -> None:
        live.shown = live.shown._replace(**changes)
        self._tell(live.shown.sandbox_id, live.shown.id)

    def _tell(self, sandbox_id: str, container_id: str) -> None:
        for queue in self._listeners:
            queue.put_nowait(RuntimeEvent(sandbox_id, container_id))

    def _stats(self, live: _Live) -> ContainerStats:
        behaviour = self._behaviour(live)
        ran = self._clock.monotonic() - live.began
        return ContainerStats(
            container_id=live.shown.id,
            at=self._clock.now(),
            cpu_usage_ns=int(ran * behaviour.cpu_nanocores),
            memory_working_set_bytes=behaviour.memory_bytes,
            memory_rss_bytes=behaviour.memory_bytes,
            rootfs_used_bytes=0,
        )

    def _new_id(self) -> str:
        self._made += 1
        return hashlib.sha256(str(self._made).encode()).hexdigest()


class SimulatedStream:
    """The Stream of a command whose result is known beforehand; what it is sent is kept, not read."""

    def __init__(self, result: Result, clock: Clock) -> None:
        self._result = result
        self._clock = clock
        self.sizes: list[TerminalSize] = []
        self.stdin = bytearray()

    async def send_stdin(self, data: bytes) -> None:
        self.stdin += data

    async def close_stdin(self) -> None:
        return None

    async def resize(self, size: TerminalSize) -> None:
        self.sizes.append(size)

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        await self._clock.sleep(self._result.takes_seconds)
        for number, data in ((1, self._result.stdout), (2, self._result.stderr)):
            if data:
                yield number, data

    async def exit_code(self) -> int:
        return self._result.exit_code

    async def close(self) -> None:
        return None


def _write_log(live: _Live, lines: Sequence[str], now: datetime) -> None:
    """In CRI's log format, where a real runtime would write."""
    if live.sandbox.log_directory is None or not live.spec.log_path:
        return
    path = Path(live.sandbox.log_directory, live.spec.log_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stamp = now.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    with path.open("a") as file:
        file.writelines(f"{stamp} stdout F {line}\n" for line in lines)
