"""What one kubelet is told: the node it is, what the machine offers, and how often it looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Amounts:
    """Node resources, each in its smallest unit."""

    cpu_millicores: int = 0
    memory_bytes: int = 0
    ephemeral_bytes: int = 0
    pids: int = 0


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    effect: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Tls:
    """The kubelet's serving certificate and the authority whose client certificates it accepts; PEM files."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path


@dataclass(frozen=True, slots=True)
class Eviction:
    """Hard eviction thresholds; what is left free never falls below them. Source: upstream defaults for Linux."""

    memory_available_bytes: int = 100 << 20
    nodefs_available_share: float = 0.10
    nodefs_inodes_free_share: float = 0.05
    imagefs_available_share: float = 0.15
    pid_available_share: float = 0.0  # Upstream has no default for pid.available.
    pressure_transition_seconds: float = 300
    check_seconds: float = 10


@dataclass(frozen=True, slots=True)
class KubeletConfig:
    """Everything a kubelet does not find out by itself. Capacity and reservations are the caller's business."""

    node_name: str
    addresses: Sequence[tuple[str, str]]  # (type, address): ("InternalIP", "10.224.0.4"), ("Hostname", "node-1").
    root_dir: Path
    capacity: Amounts = Amounts(cpu_millicores=2000, memory_bytes=8 << 30, ephemeral_bytes=64 << 30)
    kube_reserved: Amounts = Amounts()
    system_reserved: Amounts = Amounts()
    eviction: Eviction = Eviction()
    # What allocatable loses to eviction thresholds; None: the memory threshold above and the share of the disk.
    eviction_reserved: Amounts | None = None
    max_pods: int = 110
    hugepages: Mapping[str, str] = field(default_factory=lambda: {"hugepages-1Gi": "0", "hugepages-2Mi": "0"})
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Taint] = ()
    register: bool = True
    unschedulable: bool = False
    provider_id: str = ""
    pod_cidr: str = ""  # Written to the Node when given; else whoever allocates ranges does it.
    cluster_dns: Sequence[str] = ("10.0.0.10",)
    cluster_domain: str = "cluster.local"
    resolv_conf: Path = Path("/etc/resolv.conf")
    kubelet_version: str = "v1.36.0"
    os_image: str = ""  # Empty: PRETTY_NAME of /etc/os-release.
    port: int = 10250
    listen_address: str = "0.0.0.0"  # Inside the node's own network namespace.
    tls: Tls | None = None  # None: no HTTPS server (no logs, exec or stats).
    pod_logs_dir: Path | None = None  # None: `root_dir`/logs/pods.
    manifest_dir: Path | None = None
    cgroup_root: str = ""  # Parent of `kubepods` in every hierarchy, as "/kobune/node-1".
    manage_cgroups: bool = True  # Make pod cgroups; off where cgroups cannot be written.
    restrict_oom_score_adj: int | None = None  # The lowest score that may be set; None: any.
    status_update_seconds: float = 10
    status_report_seconds: float = 300
    lease_seconds: int = 40
    sync_seconds: float = 60
    relist_seconds: float = 10
    housekeeping_seconds: float = 2
    image_gc_high_percent: int = 85
    image_gc_low_percent: int = 80
    image_gc_seconds: float = 300
    image_minimum_age_seconds: float = 120
    max_parallel_image_pulls: int = 5
    log_max_bytes: int = 10 << 20
    log_max_files: int = 5
    log_check_seconds: float = 10
    dead_containers_per_container: int = 1
    shutdown_grace_seconds: float = 0  # 0: pods outlive a stopped kubelet, as after a crash.
    shutdown_grace_critical_seconds: float = 0

    @property
    def node_ip(self) -> str:
        """The address pods and the API server know the node by; empty when it has none."""
        return next((address for kind, address in self.addresses if kind == "InternalIP"), "")

    @property
    def hostname(self) -> str:
        return next((address for kind, address in self.addresses if kind == "Hostname"), self.node_name)

    @property
    def pods_dir(self) -> Path:
        """A directory per pod uid: volumes, termination messages, the hosts file."""
        return self.root_dir / "pods"

    @property
    def logs_dir(self) -> Path:
        """Container logs: NAMESPACE_NAME_UID/CONTAINER/ATTEMPT.log."""
        return self.pod_logs_dir or self.root_dir / "logs" / "pods"

    @property
    def cpu_ceiling(self) -> int:
        """Millicores that all pods together may use, whatever their limits: the declared size of a node that shares its
        machine with others; 0 where the machine itself is the node."""
        return self.capacity.cpu_millicores if self.cgroup_root else 0

    def allocatable(self) -> Amounts:
        """Capacity less reservations less hard eviction thresholds, never negative. Source: upstream node allocatable."""
        lost = self.eviction_reserved
        if lost is None:
            disk = int(self.capacity.ephemeral_bytes * self.eviction.nodefs_available_share)
            lost = Amounts(memory_bytes=self.eviction.memory_available_bytes, ephemeral_bytes=disk)
        reserved = (self.kube_reserved, self.system_reserved, lost)

        def left(resource: str) -> int:
            total: int = getattr(self.capacity, resource)
            taken: int = sum(getattr(amounts, resource) for amounts in reserved)
            return max(0, total - taken)

        return Amounts(left("cpu_millicores"), left("memory_bytes"), left("ephemeral_bytes"), left("pids"))
