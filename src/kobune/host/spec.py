"""What the command line asks of the service for one cluster, and what the service answers; both are files."""

from dataclasses import dataclass

import orjson

from kobune.aks.clusters import Cluster, cluster_from_json
from kobune.api.errors import Json
from kobune.host.layout import ClusterLayout
from kobune.host.pki import write_private


@dataclass(frozen=True, slots=True)
class Spec:
    """A cluster as it should be."""

    cluster: Cluster
    api_port: int
    store: str = "sqlite"  # or "etcd".
    running: bool = True
    slot: int = 0  # Of this machine's address ranges, so that clusters side by side do not meet; 0 to 9.

    @property
    def node_cidr(self) -> str:
        return f"10.{224 + self.slot}.0.0/16"

    @property
    def gateway(self) -> str:
        """The machine's own address among the nodes: where they find the API server."""
        return gateway(self.slot)

    @property
    def pod_cidr(self) -> str:
        """The first of the nodes' pod ranges."""
        return f"10.{244 + self.slot}.0.0/16"

    @property
    def has_real_nodes(self) -> bool:
        return any(pool.count and not pool.simulated for pool in self.cluster.pools)


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    name: str
    pid: int  # 0: not running.
    restarts: int
    last_exit: str


@dataclass(frozen=True, slots=True)
class Status:
    """A cluster as it is."""

    running: bool = False
    halted: bool = False  # Stopped on request, nodes and all.
    processes: tuple[ProcessStatus, ...] = ()
    problem: str = ""  # What keeps the cluster from being as it should, in one sentence.


def gateway(slot: int) -> str:
    """The machine's own address among the nodes of a cluster in this slot."""
    return f"10.{224 + slot}.0.1"


def read_spec(layout: ClusterLayout) -> Spec | None:
    """The cluster as asked for; None when there is no such cluster."""
    try:
        data: Json = orjson.loads(layout.spec.read_bytes())
    except FileNotFoundError:
        return None
    return Spec(**{**data, "cluster": cluster_from_json(data["cluster"])})


def write_spec(layout: ClusterLayout, spec: Spec) -> None:
    """Ask for the cluster; the service sees it within a moment."""
    write_private(layout.spec, orjson.dumps(spec, option=orjson.OPT_INDENT_2))


def read_status(layout: ClusterLayout) -> Status:
    """The cluster as the service last saw it."""
    try:
        data: Json = orjson.loads(layout.status.read_bytes())
    except FileNotFoundError:
        return Status()
    processes = tuple(ProcessStatus(**process) for process in data["processes"])
    return Status(data["running"], data["halted"], processes, data["problem"])


def write_status(layout: ClusterLayout, status: Status) -> None:
    """Say how the cluster is."""
    write_private(layout.status, orjson.dumps(status, option=orjson.OPT_INDENT_2))
