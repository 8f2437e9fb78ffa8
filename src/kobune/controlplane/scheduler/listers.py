"""The objects beside pods and nodes that plugins look at, by key. Informers keep them; plans and tests fill them in."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from kobune.api.features import GENERIC_WORKLOAD
from kobune.api.objects import storage
from kobune.api.objects.meta import Key, Object
from kobune.controlplane.scheduler import views
from kobune.controlplane.scheduler.group_members import GroupMembers


@dataclass(slots=True)
class Listers:
    """The cluster's other objects, each a mapping that others keep up to date."""

    namespaces: Mapping[Key, views.Namespace] = field(default_factory=dict)
    services: Mapping[Key, views.Service] = field(default_factory=dict)
    replication_controllers: Mapping[Key, views.ReplicationController] = field(default_factory=dict)
    replica_sets: Mapping[Key, views.ReplicaSet] = field(default_factory=dict)
    stateful_sets: Mapping[Key, views.StatefulSet] = field(default_factory=dict)
    disruption_budgets: Mapping[Key, views.PodDisruptionBudget] = field(default_factory=dict)
    claims: Mapping[Key, storage.PersistentVolumeClaim] = field(default_factory=dict)
    volumes: Mapping[Key, storage.PersistentVolume] = field(default_factory=dict)
    storage_classes: Mapping[Key, storage.StorageClass] = field(default_factory=dict)
    csi_nodes: Mapping[Key, views.CSINode] = field(default_factory=dict)
    csi_drivers: Mapping[Key, storage.CSIDriver] = field(default_factory=dict)
    capacities: Mapping[Key, views.CSIStorageCapacity] = field(default_factory=dict)
    attachments: Mapping[Key, storage.VolumeAttachment] = field(default_factory=dict)
    resource_claims: Mapping[Key, views.ResourceClaim] = field(default_factory=dict)
    resource_slices: Mapping[Key, views.ResourceSlice] = field(default_factory=dict)
    device_classes: Mapping[Key, views.DeviceClass] = field(default_factory=dict)
    pod_groups: Mapping[Key, views.PodGroup] = field(default_factory=dict)
    members: GroupMembers = field(default_factory=GroupMembers)  # Of those groups.
    # By kind, how often such objects changed in what plugins read: whoever remembers an answer remembers this beside it.
    changes: Counter[str] = field(default_factory=Counter)

    @property
    def selector_changes(self) -> int:
        """Changes of the kinds that say which pods belong together."""
        changes = self.changes
        return changes["Service"] + changes["ReplicationController"] + changes["ReplicaSet"] + changes["StatefulSet"]

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """The labels of a namespace; none when it is not known."""
        namespace = self.namespaces.get(Key("", name))
        return namespace.metadata.labels if namespace is not None else {}


def overlaid(below: Listers, above: Listers) -> Listers:
    """Both, what is in `above` in place of what has the same key in `below`."""
    both = Listers()
    for name in KINDS:
        setattr(both, name, {**getattr(below, name), **getattr(above, name)})
    return both


# The kinds that `Listers` holds: field name to view.
KINDS: dict[str, type[Object]] = {
    "namespaces": views.Namespace,
    "services": views.Service,
    "replication_controllers": views.ReplicationController,
    "replica_sets": views.ReplicaSet,
    "stateful_sets": views.StatefulSet,
    "disruption_budgets": views.PodDisruptionBudget,
    "claims": storage.PersistentVolumeClaim,
    "volumes": storage.PersistentVolume,
    "storage_classes": storage.StorageClass,
    "csi_nodes": views.CSINode,
    "csi_drivers": storage.CSIDriver,
    "capacities": views.CSIStorageCapacity,
    "attachments": storage.VolumeAttachment,
    "resource_claims": views.ResourceClaim,
    "resource_slices": views.ResourceSlice,
    "device_classes": views.DeviceClass,
    "pod_groups": views.PodGroup,
}
# Of those, the ones that a scheduler looks at only while a feature gate is on.
GATED = {"pod_groups": GENERIC_WORKLOAD}
