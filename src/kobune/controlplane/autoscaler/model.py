"""What the autoscaler is told: its settings, the groups of nodes it may grow and shrink, and the cluster as it is."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from kobune.api.objects.core import Node
from kobune.api.objects.policy import PodDisruptionBudget
from kobune.api.objects.scheduling import Pod

Amounts = Mapping[str, int]  # By resource name: cpu in millicores, everything else in whole units.


@dataclass(frozen=True, slots=True)
class Settings:
    """Upstream's flags under their names; durations in seconds. The defaults are AKS's."""

    balance_similar_node_groups: bool = False
    daemonset_eviction_for_empty_nodes: bool = False
    daemonset_eviction_for_occupied_nodes: bool = True
    expander: tuple[str, ...] = ("random",)  # Each narrows what the one before left.
    ignore_daemonsets_utilization: bool = False
    max_empty_bulk_delete: int = 10
    max_graceful_termination: float = 600.0
    max_node_provision_time: float = 900.0
    max_total_unready_percentage: int = 45
    new_pod_scale_up_delay: float = 0.0
    ok_total_unready_count: int = 3
    scale_down_delay_after_add: float = 600.0
    scale_down_delay_after_delete: float = 10.0
    scale_down_delay_after_failure: float = 180.0
    scale_down_unneeded_time: float = 600.0
    scale_down_unready_time: float = 1200.0
    scale_down_utilization_threshold: float = 0.5
    scan_interval: float = 10.0
    skip_nodes_with_local_storage: bool = False
    skip_nodes_with_system_pods: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that are alike and are ordered by number.

    Attributes:
        template: what the group's next node will be like.
        target: how many machines it is to have.
        machines: the names of those it has, since when in seconds since 1970; not all are nodes yet.
    """

    name: str
    template: Node
    target: int
    min_size: int
    max_size: int
    machines: Mapping[str, float]


class Groups(Protocol):
    """Who gives and takes machines."""

    async def read(self) -> Sequence[Group]:
        """The groups that may be scaled, as they are now."""

    async def increase(self, targets: Mapping[str, int]) -> None:
        """Have these groups that many machines; returns when it is written down where nothing loses it."""

    async def remove(self, machines: Collection[str]) -> None:
        """Take these machines, and lower their groups' targets by as many; returns likewise."""


class Estimate(NamedTuple):
    """What new nodes of a group would do."""

    pods: tuple[Pod, ...]  # Those that would then have a node.
    nodes: int


class World(Protocol):
    """The cluster at one moment, with a scheduler's judgement to try things on. What is tried stays tried until `World`
    is taken anew: pods that were placed count from then on."""

    @property
    def nodes(self) -> Mapping[str, Node]: ...

    @property
    def pending(self) -> Sequence[Pod]:
        """Pods that the scheduler found no node for, the most important first."""

    @property
    def budgets(self) -> Sequence[PodDisruptionBudget]: ...

    @property
    def priorities(self) -> Mapping[int, Sequence[str]]:
        """The priority expander's ConfigMap: patterns of group names by priority; empty when there is none."""

    def pods_on(self, node: str) -> Sequence[Pod]: ...

    def amounts(self, pod: Pod) -> Amounts:
        """What the pod requests."""

    def allocatable(self, node: Node) -> Amounts: ...

    def expect(self, template: Node, count: int) -> None:
        """Count on so many further nodes, which are on their way."""

    def place(self, pods: Sequence[Pod]) -> list[Pod]:
        """Put the pods onto nodes that are there or expected; those that fit nowhere."""

    def estimate(self, template: Node, pods: Sequence[Pod], most: int) -> Estimate:
        """How many new nodes, at most so many, would take how many of these pods. Nothing stays tried."""

    def refusals(self, template: Node, pod: Pod) -> Sequence[str]:
        """Why a new node would not take the pod, in upstream's words."""

    def move(self, node: str, pods: Sequence[Pod], forbidden: Collection[str]) -> Collection[str] | None:
        """The other nodes that take all these pods of the node, if there are such; the pods are there from now on."""
