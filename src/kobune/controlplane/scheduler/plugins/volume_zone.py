"""VolumeZone: a node with zone or region labels must be in the zone and region that the pod's volumes are labelled with."""

import numpy as np

from kobune.api.objects.meta import Key
from kobune.api.objects.storage import WAIT_FOR_CONSUMER
from kobune.controlplane.scheduler.arrays import Mask, Rows
from kobune.controlplane.scheduler.domains import codes_of
from kobune.controlplane.scheduler.events import Action, ClusterEvent
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_rules import LabelRule
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Refusal, Scope
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.storage import claims_used

CONFLICT = "node(s) had no available volume zone"
BETA_TO_GA = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
TOPOLOGY_LABELS = (*BETA_TO_GA, *BETA_TO_GA.values())


class VolumeZone:
    name = "VolumeZone"
    scope = Scope.CLUSTER

    def __init__(self, listers: Listers) -> None:
        self._listers = listers

    def concerns(self, pod: PodInfo) -> bool:
        return any(volume.kind == "persistentVolumeClaim" for volume in pod.shape.volumes)

    def refuse(self, pod: PodInfo, nodes: NodeTable) -> Refusal | None:
        problem = self._topologies(pod)[1] if self.concerns(pod) else ""
        return Refusal(problem) if problem else None

    def _topologies(self, pod: PodInfo) -> tuple[list[tuple[str, frozenset[str]]], str]:
        """(label and allowed values, for each label of each bound volume; the problem, if there is one)."""
        wanted: list[tuple[str, frozenset[str]]] = []
        for key, is_ephemeral in claims_used(pod):
            if is_ephemeral:
                continue
            claim = self._listers.claims.get(key)
            if claim is None:
                return [], f'persistentvolumeclaim "{key.name}" not found'
            if not claim.spec.volume_name:
                name = claim.storage_class
                if not name:
                    return [], "PersistentVolumeClaim had no pv name and storageClass name"
                storage_class = self._listers.storage_classes.get(Key("", name))
                if storage_class is None:
                    return [], f'storageclass.storage.k8s.io "{name}" not found'
                if storage_class.volume_binding_mode != WAIT_FOR_CONSUMER:
                    return [], "PersistentVolume had no name"
                continue
            volume = self._listers.volumes.get(Key("", claim.spec.volume_name))
            if volume is None:
                return [], f'persistentvolume "{claim.spec.volume_name}" not found'
            for label in TOPOLOGY_LABELS:
                if label in volume.metadata.labels:
                    wanted.append((label, frozenset(volume.metadata.labels[label].split("__"))))
        return wanted, ""

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        labelled = np.zeros(nodes.size, dtype=np.bool_)
        for label in TOPOLOGY_LABELS:
            labelled |= codes_of(nodes, label) > 0
        mask = np.ones(nodes.size, dtype=np.bool_)
        for label, values in self._topologies(pod)[0]:
            inside = LabelRule(label, "In", values).mask(nodes, nodes.rows)
            if label in BETA_TO_GA:
                absent = codes_of(nodes, label) == 0
                inside |= absent & LabelRule(BETA_TO_GA[label], "In", values).mask(nodes, nodes.rows)
            mask &= inside
        # A node without any of the labels is in a cluster of one zone.
        return (mask | ~labelled)[rows]

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        return [Reason(CONFLICT, ~self.filter(pod, nodes, nodes.rows), False)]

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        if event.node(Action.ADD, Action.LABELS) is not None:
            return True
        return event.resource in ("PersistentVolumeClaim", "PersistentVolume", "StorageClass")
