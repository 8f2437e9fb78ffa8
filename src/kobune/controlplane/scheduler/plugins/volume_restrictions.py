"""VolumeRestrictions: some disks can be mounted once, and a ReadWriteOncePod claim serves one pod in the whole cluster."""

from collections.abc import Iterable

import numpy as np

from kobune.controlplane.scheduler.arrays import Mask, Rows
from kobune.controlplane.scheduler.events import Action, ClusterEvent
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Refusal, Scope
from kobune.controlplane.scheduler.pod_info import PodInfo, Volume
from kobune.controlplane.scheduler.storage import claims_used

DISK_CONFLICT = "node(s) had no available disk"
ONE_POD = (
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
)
EXCLUSIVE = ("gcePersistentDisk", "awsElasticBlockStore", "rbd", "iscsi")


class VolumeRestrictions:
    name = "VolumeRestrictions"
    scope = Scope.CLUSTER

    def __init__(self, listers: Listers) -> None:
        self._listers = listers

    def concerns(self, pod: PodInfo) -> bool:
        return any(volume.kind in (*EXCLUSIVE, "persistentVolumeClaim") for volume in pod.shape.volumes)

    def refuse(self, pod: PodInfo, nodes: NodeTable) -> Refusal | None:
        if not pod.shape.volumes:
            return None
        for key, is_ephemeral in claims_used(pod):
            if not is_ephemeral and key not in self._listers.claims:
                return Refusal(f'persistentvolumeclaim "{key.name}" not found')
        return None

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        if self._is_taken(pod, nodes):
            return np.zeros(nodes.size, dtype=np.bool_)[rows]
        return (~self._conflicts(pod, nodes))[rows]

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        conflicts = self._conflicts(pod, nodes)
        taken = np.full(nodes.size, self._is_taken(pod, nodes))
        return [Reason(DISK_CONFLICT, conflicts, True), Reason(ONE_POD, taken & ~conflicts, True)]

    def _is_taken(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Another pod uses a claim of this one that is for one pod only."""
        for key, is_ephemeral in claims_used(pod):
            claim = None if is_ephemeral else self._listers.claims.get(key)
            if claim is not None and "ReadWriteOncePod" in claim.spec.access_modes and nodes.claim_users.get(key):
                return True
        return False

    def _conflicts(self, pod: PodInfo, nodes: NodeTable) -> Mask:
        mask = np.zeros(nodes.size, dtype=np.bool_)
        wanted = [volume for volume in pod.shape.volumes if volume.kind in EXCLUSIVE]
        if wanted:
            for row, pods in nodes.storage_pods.items():
                if any(clash(wanted, other.shape.volumes) for other in pods.values()):
                    mask[row] = True
        return mask

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """A pod gone that held a disk or claim, a new node, a new claim."""
        freed = event.freed()
        if freed is not None:
            wanted = [volume for volume in pod.shape.volumes if volume.kind in EXCLUSIVE]
            held = {use.key for use in claims_used(freed)}
            return clash(wanted, freed.shape.volumes) or any(use.key in held for use in claims_used(pod))
        if event.resource == "PersistentVolumeClaim" and Action.ADD in event.action:
            return any(use.key == event.new.key for use in claims_used(pod))
        return event.node(Action.ADD) is not None


def clash(wanted: Iterable[Volume], held: Iterable[Volume]) -> bool:
    """Whether two pods want the same disk in a way that one node cannot give to both."""
    return any(one.kind == other.kind and _same_disk(one, other) for one in wanted for other in held)


def _same_disk(one: Volume, other: Volume) -> bool:
    a, b = one.source, other.source
    both_read = bool(a.get("readOnly") and b.get("readOnly"))
    match one.kind:
        case "gcePersistentDisk":
            return a.get("pdName") == b.get("pdName") and not both_read
        case "awsElasticBlockStore":
            return bool(a.get("volumeID") == b.get("volumeID"))
        case "iscsi":
            return a.get("iqn") == b.get("iqn") and not both_read
        case "rbd":
            shared = set(a.get("monitors") or ()) & set(b.get("monitors") or ())
            same = (a.get("pool") or "rbd", a.get("image")) == (b.get("pool") or "rbd", b.get("image"))
            return bool(shared) and same and not both_read
    return False
