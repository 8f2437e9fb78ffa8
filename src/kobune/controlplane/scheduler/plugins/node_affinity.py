"""NodeAffinity: the pod's node selector and required node affinity; preferred terms add their weights.

The profile may add an affinity of its own to every pod (`addedAffinity`).
"""

from collections.abc import Sequence

import numpy as np

from kobune.api.objects.core import Node
from kobune.controlplane.scheduler.arrays import Mask, Rows, Scores
from kobune.controlplane.scheduler.events import Action, ClusterEvent
from kobune.controlplane.scheduler.node_rules import NodeTerm, WeightedTerm, any_term
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Refusal, Scope, normalized
from kobune.controlplane.scheduler.pod_info import PodInfo

CONFLICT = "pod affinity terms conflict"


class NodeAffinity:
    name = "NodeAffinity"
    scope = Scope.NODE

    def __init__(
        self, added_terms: Sequence[NodeTerm] | None = None, added_preferred: Sequence[WeightedTerm] = ()
    ) -> None:
        self._added_terms = added_terms
        self._added_preferred = tuple(added_preferred)

    def concerns(self, pod: PodInfo) -> bool:
        return bool(pod.shape.required_nodes) or self._added_terms is not None

    def refuse(self, pod: PodInfo, nodes: NodeTable) -> Refusal | None:
        """Terms that each name two different nodes at once can never be met."""
        names = pod.shape.required_nodes.names
        return Refusal(CONFLICT) if names is not None and not names else None

    def narrow(self, pod: PodInfo, nodes: NodeTable) -> frozenset[str] | None:
        return pod.shape.required_nodes.names

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        mask = pod.shape.required_nodes.mask(nodes, rows)
        return mask if self._added_terms is None else mask & any_term(self._added_terms, nodes, rows)

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        everywhere = nodes.exists[nodes.rows]
        allowed = everywhere if self._added_terms is None else any_term(self._added_terms, nodes, nodes.rows)
        return [
            Reason("node(s) didn't match scheduler-enforced node affinity", ~allowed, False),
            Reason("node(s) didn't match Pod's node affinity/selector", allowed, False),
        ]

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """A node that matches, but did not before."""
        node = event.node(Action.ADD, Action.LABELS)
        if node is None or not self._accepts(pod, node):
            return False
        return event.old is None or not pod.shape.required_nodes.accepts(event.old)

    def _accepts(self, pod: PodInfo, node: Node) -> bool:
        added = self._added_terms is None or any(term.accepts(node) for term in self._added_terms)
        return added and pod.shape.required_nodes.accepts(node)

    def prefers(self, pod: PodInfo) -> bool:
        return bool(pod.shape.preferred_nodes or self._added_preferred)

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Scores:
        """The sum of the weights of the preferred terms that match."""
        total = np.zeros(nodes.capacity, dtype=np.int64)[rows]
        for weight, term in self._added_preferred + pod.shape.preferred_nodes:
            total = total + weight * term.mask(nodes, rows)
        return total

    def normalize(self, scores: Scores, feasible: Mask) -> Scores:
        return normalized(scores, feasible, reverse=False)
