"""What the command line asks of the service for one cluster, and what the service answers; both are files."""

import uuid
from dataclasses import dataclass

import msgspec
import orjson

from kobune.aks.clusters import Cluster
from kobune.aks.instances import MachineState as MachineState
from kobune.aks.instances import OperationState as OperationState
from kobune.aks.instances import Outcome as Outcome
from kobune.api.features import parse_gates
from kobune.host.layout import ClusterLayout
from kobune.host.pki import write_private


@dataclass(frozen=True, slots=True)
class Wish:
    """The operation that last changed a spec.

    Args:
        id: chosen by who wrote the spec; the status answers under it.
        kind: "create", "update", "scale", "upgrade", "node-image", "rotate-certificates", "rotate-keys", "start",
            "stop", "delete", "delete-machines" or "abort". After "delete" there is no cluster left: neither spec nor
            status.
    """

    id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Spec:
    """A cluster as it should be."""

    cluster: Cluster
    api_port: int
    store: str = "sqlite"  # or "etcd".
    running: bool = True
    slot: int = 0  # Of this machine's address ranges, so that clusters side by side do not meet; 0 to 9.
    feature_gates: tuple[str, ...] = ()  # As on the command line: "GangScheduling=true".
    runtime_config: tuple[str, ...] = ()
    wish: Wish | None = None  # None: nobody asks for an outcome.

    @property
    def features(self) -> frozenset[str]:
        """The feature gates that are on. Raises ValueError."""
        return parse_gates(self.feature_gates, self.cluster.kubernetes_version)

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
    def load_balancer_cidr(self) -> str:
        """Where Services of type LoadBalancer get their addresses: of the nodes' own range, which the machine has a route
        to, a part far above those that nodes have."""
        return f"10.{224 + self.slot}.240.0/20"

    @property
    def is_redundant(self) -> bool:
        """Whether any one process of the control plane may die: only a store that several servers share allows that."""
        return self.store == "etcd" and self.cluster.tier != "Free"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    name: str
    pid: int  # 0: not running.
    restarts: int
    last_exit: str
    pause: float = 0.0  # Seconds that the service waits after its end before it starts it again.


@dataclass(frozen=True, slots=True)
class NodeState:
    """One machine of a pool and its node."""

    name: str
    pool: str
    number: int  # The instance number in the pool's scale set.
    kubernetes_version: str
    image_version: str
    vm_size: str
    zone: str  # "1"; empty: none.
    state: MachineState
    ready: bool  # Whether the cluster's Node is Ready.
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class PoolState:
    """One pool, of whose nodes some may still be on their way."""

    name: str
    kubernetes_version: str  # The oldest of its nodes; empty: it has none.
    image_version: str
    count: int
    running: bool


@dataclass(frozen=True, slots=True)
class Status:
    """A cluster as it is."""

    running: bool = False
    halted: bool = False  # Stopped on request, nodes and all.
    processes: tuple[ProcessStatus, ...] = ()
    problem: str = ""  # What keeps the cluster from being as it should, in one sentence.
    kubernetes_version: str = ""  # What the control plane runs; empty before it first did.
    operation: Outcome | None = None  # Of the last wish that was seen.
    nodes: tuple[NodeState, ...] = ()
    pools: tuple[PoolState, ...] = ()


def gateway(slot: int) -> str:
    """The machine's own address among the nodes of a cluster in this slot."""
    return f"10.{224 + slot}.0.1"


def new_wish(kind: str) -> Wish:
    """A wish that nobody had before."""
    return Wish(str(uuid.uuid4()), kind)


def read_spec(layout: ClusterLayout) -> Spec | None:
    """The cluster as asked for; None when there is no such cluster."""
    try:
        return msgspec.json.decode(layout.spec.read_bytes(), type=Spec)
    except FileNotFoundError:
        return None


def write_spec(layout: ClusterLayout, spec: Spec) -> None:
    """Ask for the cluster; the service sees it within a moment."""
    write_private(layout.spec, orjson.dumps(spec, option=orjson.OPT_INDENT_2))


def read_status(layout: ClusterLayout) -> Status:
    """The cluster as the service last saw it."""
    try:
        return msgspec.json.decode(layout.status.read_bytes(), type=Status)
    except FileNotFoundError:
        return Status()


def write_status(layout: ClusterLayout, status: Status) -> None:
    """Say how the cluster is."""
    write_private(layout.status, orjson.dumps(status, option=orjson.OPT_INDENT_2))
