"""What a scheduler plugin is: a vector function under its upstream name, which judges many nodes at once."""

from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable

from kobune.controlplane.scheduler.arrays import Mask, Rows, Scores
from kobune.controlplane.scheduler.events import ClusterEvent
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.pod_info import PodInfo


class Scope(Enum):
    """What a plugin's answer for one node depends on, beside the pod: how long the answer stays good."""

    NODE = "the Node object"
    RESOURCES = "what the node has of each resource, and what is requested of it"
    ROOM = "the Node object and the pods on that node"
    NODES = "all Node objects"
    CLUSTER = "all nodes and all pods"


class Reason(NamedTuple):
    """Why some nodes are refused, in upstream's words."""

    text: str
    rows: Mask  # For which rows of the table this holds.
    resolvable: bool  # Evicting pods might help. Source: upstream Unschedulable, not UnschedulableAndUnresolvable.


class Refusal(NamedTuple):
    """Why a pod can go nowhere, whatever the node."""

    text: str
    resolvable: bool = False


class Plugin(Protocol):
    """Every plugin has upstream's name."""

    @property
    def name(self) -> str: ...


@runtime_checkable
class Filter(Protocol):
    """Keeps pods away from nodes."""

    @property
    def name(self) -> str: ...

    @property
    def scope(self) -> Scope: ...

    def concerns(self, pod: PodInfo) -> bool:
        """False: it lets this pod go anywhere, whatever the nodes. Must depend on the pod's shape alone, or be True."""

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        """True for each of `rows` where the pod may go."""

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        """The reasons of all refused rows of `nodes.rows`; what is said of other rows is ignored."""

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """Whether the event may make a pod schedulable that this plugin refused."""


@runtime_checkable
class Conditional(Protocol):
    """A CLUSTER filter that often has nothing to say."""

    def applies(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """False: as things are, it lets this pod go anywhere."""


@runtime_checkable
class PreFilter(Protocol):
    """Can refuse a pod before any node is looked at."""

    def refuse(self, pod: PodInfo, nodes: NodeTable) -> Refusal | None:
        """Why no node can do; None when nodes decide."""


@runtime_checkable
class Narrow(Protocol):
    """Can name the only nodes that come into question."""

    def narrow(self, pod: PodInfo, nodes: NodeTable) -> frozenset[str] | None:
        """The names of those nodes; None is all."""


@runtime_checkable
class Score(Protocol):
    """Prefers some nodes; its scope is NODE, ROOM or NODES."""

    @property
    def name(self) -> str: ...

    @property
    def scope(self) -> Scope: ...

    def prefers(self, pod: PodInfo) -> bool:
        """False: it has no preference for this pod. Must depend on the pod's shape alone."""

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Scores:
        """A number for each of `rows`, 0 to MAX_SCORE unless the plugin normalises."""


@runtime_checkable
class Normalize(Protocol):
    """A Score whose numbers mean something only beside each other."""

    def normalize(self, scores: Scores, feasible: Mask) -> Scores:
        """0 to MAX_SCORE for each feasible row; what other rows get does not matter."""


@runtime_checkable
class Rank(Protocol):
    """Prefers some nodes, looking at all nodes and pods at once."""

    @property
    def name(self) -> str: ...

    def rank(self, pod: PodInfo, nodes: NodeTable, feasible: Mask) -> Scores | None:
        """0 to MAX_SCORE for each feasible row of `nodes.rows`; None when it has no preference."""


def normalized(scores: Scores, feasible: Mask, *, reverse: bool) -> Scores:
    """Scaled so that the highest feasible score becomes MAX_SCORE. Source: upstream DefaultNormalizeScore."""
    highest = int(scores.max(where=feasible, initial=0))
    if highest == 0:
        return scores * 0 + 100 if reverse else scores * 0
    scaled: Scores = scores * 100 // highest
    return 100 - scaled if reverse else scaled
