"""NodeDeclaredFeatures: the node's kubelet has said that it can do what the pod needs.

Source: upstream nodedeclaredfeatures; the features themselves are in component-helpers/nodedeclaredfeatures.
"""

from kobune.controlplane.scheduler.arrays import Mask, Rows
from kobune.controlplane.scheduler.events import POD, Action, ClusterEvent
from kobune.controlplane.scheduler.node_table import FEATURE_SEPARATOR, NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Scope
from kobune.controlplane.scheduler.pod_info import PodInfo

MISMATCH = "node(s) didn't match Pod's required features"


class NodeDeclaredFeatures:
    name = "NodeDeclaredFeatures"
    scope = Scope.NODE

    def concerns(self, pod: PodInfo) -> bool:
        return bool(pod.shape.features)

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        """Judged once per distinct set of declared features."""
        wanted = pod.shape.features
        truth = nodes.declared.truth_of(lambda declared: wanted <= set(declared.split(FEATURE_SEPARATOR)), absent=False)
        mask: Mask = truth[nodes.declared.codes[rows]]
        return mask

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        return [Reason(MISMATCH, ~self.filter(pod, nodes, nodes.rows), False)]

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """A node that declares all of it, new or since now; or the pod needs something else."""
        if event.resource == POD:
            same_pod = event.old is not None and event.new is not None and event.new.uid == pod.uid
            return same_pod and event.old.shape.features != event.new.shape.features
        node = event.node(Action.ADD, Action.FEATURES)
        return node is not None and pod.shape.features <= set(node.status.declared_features)
