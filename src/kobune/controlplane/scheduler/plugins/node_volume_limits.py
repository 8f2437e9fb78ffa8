"""NodeVolumeLimits: a node attaches no more volumes of a CSI driver than its CSINode says."""

from collections import Counter

import numpy as np

from kobune.api.objects.meta import Key
from kobune.controlplane.scheduler.arrays import Mask, Rows
from kobune.controlplane.scheduler.csi_translation import SOURCES, csi_of, csi_of_inline, driver_of
from kobune.controlplane.scheduler.events import Action, ClusterEvent
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Scope
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.storage import claims_used, uses_claims

TOO_MANY = "node(s) exceed max volume count"
AttachedVolume = tuple[str, str]  # (driver, handle); a volume not made yet has its claim for a handle.


class NodeVolumeLimits:
    name = "NodeVolumeLimits"
    scope = Scope.CLUSTER

    def __init__(self, listers: Listers) -> None:
        self._listers = listers
        self._attached: dict[int, set[AttachedVolume]] = {}  # By row.
        self._seen = (-1, -1)  # Positions of the storage objects and of the table's pods.

    def concerns(self, pod: PodInfo) -> bool:
        return uses_claims(pod.shape.volumes) or any(volume.kind in SOURCES for volume in pod.shape.volumes)

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        mask = np.ones(nodes.size, dtype=np.bool_)
        wanted = self._volumes_of(pod)
        if not wanted:
            return mask[rows]
        self._refresh(nodes)
        for key, csi_node in self._listers.csi_nodes.items():
            row = nodes.row_of.get(key.name)
            limits = {one.name: one.allocatable.count for one in csi_node.spec.drivers if one.allocatable}
            if row is None or not any(driver in limits for driver, _ in wanted):
                continue
            attached = self._on(row, nodes)
            counts = Counter(driver for driver, _ in attached)
            new = Counter(driver for driver, handle in wanted if (driver, handle) not in attached)
            for driver, number in new.items():
                limit = limits.get(driver)
                if limit is not None and counts[driver] + number > limit:
                    mask[row] = False
        return mask[rows]

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        return [Reason(TOO_MANY, ~self.filter(pod, nodes, nodes.rows), True)]

    def _refresh(self, nodes: NodeTable) -> None:
        """Forget what may have changed since the last look."""
        changes = self._listers.changes
        kinds = ("PersistentVolumeClaim", "PersistentVolume", "StorageClass", "VolumeAttachment")
        storage, position = sum(changes[kind] for kind in kinds), self._seen[1]
        rows = nodes.pod_changes.since(position) if position >= 0 else None
        if rows is None or storage != self._seen[0]:
            self._attached.clear()
        else:
            for row in rows:
                self._attached.pop(row, None)
        self._seen = (storage, nodes.pod_changes.end)

    def _on(self, row: int, nodes: NodeTable) -> set[AttachedVolume]:
        """The volumes of the pods on a node, and those attached there for pods that have gone."""
        attached = self._attached.get(row)
        if attached is None:
            attached = set()
            for pod in nodes.storage_pods.get(row, {}).values():
                attached |= self._volumes_of(pod)
            for attachment in self._listers.attachments.values():
                spec = attachment.spec
                volume = self._listers.volumes.get(Key("", spec.source.persistent_volume_name))
                if spec.node_name == nodes.names[row] and volume is not None and volume.spec.csi is not None:
                    attached.add((spec.attacher, volume.spec.csi.volume_handle))
            self._attached[row] = attached
        return attached

    def _volumes_of(self, pod: PodInfo) -> set[AttachedVolume]:
        inline = (csi_of_inline(volume.kind, volume.source) for volume in pod.shape.volumes)
        volumes = {(one.driver, one.volume_handle) for one in inline if one is not None}
        for key, _ in claims_used(pod):
            claim = self._listers.claims.get(key)
            if claim is None:
                continue
            volume = self._listers.volumes.get(Key("", claim.spec.volume_name))
            if volume is not None:
                source = csi_of(volume)
                if source is not None:
                    volumes.add((source.driver, source.volume_handle))
                continue
            storage_class = self._listers.storage_classes.get(Key("", claim.storage_class))
            if storage_class is not None:
                volumes.add((driver_of(storage_class.provisioner), str(key)))
        return volumes

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """A new node, a limit raised, a pod gone, a volume detached, a claim that has come."""
        if event.freed() is not None:
            return self.concerns(event.old)
        if event.resource == "VolumeAttachment":
            return Action.DELETE in event.action
        if event.resource == "PersistentVolumeClaim":
            return Action.ADD in event.action
        return event.resource == "CSINode" or event.node(Action.ADD) is not None
