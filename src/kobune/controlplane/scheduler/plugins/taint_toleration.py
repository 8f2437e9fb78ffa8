"""TaintToleration: NoSchedule and NoExecute taints need a toleration; fewer untolerated PreferNoSchedule taints are better."""

import numpy as np

from kobune.controlplane.scheduler.arrays import Mask, Rows, Scores
from kobune.controlplane.scheduler.events import Action, ClusterEvent
from kobune.controlplane.scheduler.node_rules import PREFER_NO_SCHEDULE, find_untolerated, tolerates
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Scope, normalized
from kobune.controlplane.scheduler.pod_info import PodInfo


class TaintToleration:
    name = "TaintToleration"
    scope = Scope.NODE

    def concerns(self, pod: PodInfo) -> bool:
        return True

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        """Decided once per distinct set of taints."""
        tolerated = [find_untolerated(taints, pod.shape.tolerations) is None for taints in nodes.taint_sets]
        result: Mask = np.array(tolerated, dtype=np.bool_)[nodes.taint_codes[rows]]
        return result

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        return [Reason("node(s) had untolerated taint(s)", ~self.filter(pod, nodes, nodes.rows), False)]

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """A node whose taints the pod tolerates, but did not before."""
        if event.own(pod, Action.TOLERATIONS):
            return True
        node = event.node(Action.ADD, Action.TAINTS)
        tolerations = pod.shape.tolerations
        if node is None or find_untolerated(node.spec.taints, tolerations) is not None:
            return False
        return event.old is None or find_untolerated(event.old.spec.taints, tolerations) is not None

    def prefers(self, pod: PodInfo) -> bool:
        return True

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Scores:
        """How many PreferNoSchedule taints are not tolerated."""
        soft = [one for one in pod.shape.tolerations if one.effect in ("", PREFER_NO_SCHEDULE)]
        counts = [
            sum(
                taint.effect == PREFER_NO_SCHEDULE and not any(tolerates(toleration, taint) for toleration in soft)
                for taint in taints
            )
            for taints in nodes.taint_sets
        ]
        result: Scores = np.array(counts, dtype=np.int64)[nodes.taint_codes[rows]]
        return result

    def normalize(self, scores: Scores, feasible: Mask) -> Scores:
        return normalized(scores, feasible, reverse=True)
