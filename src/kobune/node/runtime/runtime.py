"""What the kubelet needs of a container runtime. Names follow CRI v1, without what we do not use."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol


class RuntimeFailure(Exception):
    """The runtime refused or failed; the message is the runtime's own."""


class ImageNotFound(RuntimeFailure):
    """The image is not on the node, or the registry does not have it."""


@dataclass(frozen=True, slots=True)
class PortMapping:
    container_port: int
    host_port: int
    protocol: str = "TCP"
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """A pod's sandbox: its namespaces, its cgroup and its place for logs."""

    name: str
    namespace: str
    uid: str
    attempt: int = 0
    hostname: str = ""
    log_directory: Path | None = None
    cgroup_parent: str = ""
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_process_namespace: bool = False
    dns_servers: Sequence[str] = ()
    dns_searches: Sequence[str] = ()
    dns_options: Sequence[str] = ()
    port_mappings: Sequence[PortMapping] = ()
    privileged: bool = False  # Must be set when any container of the pod is privileged.
    sysctls: Mapping[str, str] = field(default_factory=dict)
    run_as_user: int | None = None
    run_as_group: int | None = None
    supplemental_groups: Sequence[int] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mount:
    container_path: str
    host_path: str
    readonly: bool = False
    propagation: str = "None"  # "None", "HostToContainer" or "Bidirectional".


@dataclass(frozen=True, slots=True)
class LinuxResources:
    """cgroup settings; 0 leaves the runtime's default. Units as in cgroup v1."""

    cpu_shares: int = 0
    cpu_quota_us: int = 0
    cpu_period_us: int = 0
    memory_limit_bytes: int = 0
    oom_score_adj: int = 0


# What a container may not see and not write unless its procMount is Unmasked. Source: upstream pkg/securitycontext.
MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True)
class SecurityContext:
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_username: str = ""
    supplemental_groups: Sequence[int] = ()
    privileged: bool = False
    read_only_root: bool = False
    no_new_privileges: bool = False
    add_capabilities: Sequence[str] = ()
    drop_capabilities: Sequence[str] = ()
    masked_paths: Sequence[str] = MASKED_PATHS
    readonly_paths: Sequence[str] = READONLY_PATHS
    seccomp: str = "RuntimeDefault"  # "RuntimeDefault", "Unconfined" or "localhost/PATH".


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    name: str
    image: str  # As `Runtime.find_image` or `pull` answered it.
    attempt: int = 0
    user_image: str = ""  # As the user wrote it.
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    working_dir: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    log_path: str = ""  # Relative to the sandbox's log directory.
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: LinuxResources = LinuxResources()
    security: SecurityContext = SecurityContext()


class State(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


class Sandbox(NamedTuple):
    id: str
    name: str
    namespace: str
    uid: str
    attempt: int
    ready: bool
    created: datetime
    ips: Sequence[str]  # Empty with the host's network.
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class Container(NamedTuple):
    id: str
    sandbox_id: str
    name: str
    attempt: int
    state: State
    image: str
    image_id: str
    created: datetime
    started: datetime | None
    finished: datetime | None
    exit_code: int
    reason: str  # "Completed", "Error", "OOMKilled" or ""
    message: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class Image(NamedTuple):
    id: str
    tags: Sequence[str]
    digests: Sequence[str]
    size_bytes: int
    user: str = ""  # The numeric uid the image asks for, or a name; "" is root.


class RuntimeEvent(NamedTuple):
    """Something happened to a container or a sandbox; ask for its state again."""

    sandbox_id: str
    container_id: str  # Empty when the sandbox itself is meant.


class ContainerStats(NamedTuple):
    container_id: str
    at: datetime
    cpu_usage_ns: int  # Since the container's start.
    memory_working_set_bytes: int
    memory_rss_bytes: int
    rootfs_used_bytes: int


class TerminalSize(NamedTuple):
    width: int
    height: int


class Stream(Protocol):
    """One exec or attach session: bytes in, bytes out, and how it ended."""

    async def send_stdin(self, data: bytes) -> None: ...
    async def close_stdin(self) -> None: ...
    async def resize(self, size: TerminalSize) -> None: ...

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1, bytes) from stdout and (2, bytes) from stderr, until both are closed."""

    async def exit_code(self) -> int:
        """Wait for the end; raises RuntimeFailure when the command could not be started."""

    async def close(self) -> None: ...


class Runtime(Protocol):
    """A container runtime on one node. Every method raises RuntimeFailure when the runtime does."""

    async def version(self) -> str:
        """As in a node's containerRuntimeVersion: `containerd://1.6.20`."""

    async def problems(self) -> Sequence[str]:
        """What keeps the node from being Ready, in the words of its Ready condition; empty when all is well."""

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        """Make the sandbox with its network; the new id."""

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """End its processes and its network; nothing to do when already stopped or gone."""

    async def remove_sandbox(self, sandbox_id: str) -> None: ...
    async def list_sandboxes(self) -> Sequence[Sandbox]: ...
    async def find_sandbox(self, sandbox_id: str) -> Sandbox | None: ...

    async def create_container(self, sandbox_id: str, spec: ContainerSpec, sandbox: SandboxSpec) -> str: ...
    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, *, grace_seconds: int) -> None:
        """TERM, then KILL after the grace period; returns when it has ended."""

    async def remove_container(self, container_id: str) -> None: ...
    async def list_containers(self) -> Sequence[Container]: ...
    async def find_container(self, container_id: str) -> Container | None: ...
    async def update_resources(self, container_id: str, resources: LinuxResources) -> None: ...
    async def reopen_log(self, container_id: str) -> None: ...

    async def exec_sync(
        self, container_id: str, command: Sequence[str], *, timeout_seconds: float
    ) -> tuple[int, bytes, bytes]:
        """(exit code, stdout, stderr). Raises TimeoutError when the command outlived the timeout."""

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Stream: ...
    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Stream: ...

    async def port_forward(self, sandbox_id: str, port: int) -> tuple["ByteReader", "ByteWriter"]:
        """A connection to a TCP port inside the sandbox's network."""

    async def find_image(self, reference: str) -> Image | None: ...
    async def pull_image(self, reference: str, *, auth: Mapping[str, str] | None = None) -> Image: ...
    async def list_images(self) -> Sequence[Image]: ...
    async def remove_image(self, image_id: str) -> None: ...
    async def stats(self) -> Sequence[ContainerStats]: ...

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """Starts, exits and removals as they happen, for ever; a broken stream raises RuntimeFailure."""

    async def close(self) -> None: ...


class ByteReader(Protocol):
    async def read(self, n: int) -> bytes:
        """Up to `n` bytes; empty at the end."""


class ByteWriter(Protocol):
    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None: ...
    def close(self) -> None: ...
