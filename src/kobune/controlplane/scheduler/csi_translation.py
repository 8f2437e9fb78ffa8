"""Volumes of plugins that have moved from Kubernetes into CSI drivers: the driver's names for them.

Source: upstream csi-translation-lib; which of its plugins the scheduler translates is in isCSIMigrationOn of
nodevolumelimits and volumebinding.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from kobune.api.objects.core import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from kobune.api.objects.storage import CSISource, PersistentVolume, PersistentVolumeSpec, VolumeNodeAffinity

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
OLD_ZONE, OLD_REGION = "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region"
ZONES = "__"  # Between the zones of a volume's label.
MIGRATED = "storage.alpha.kubernetes.io/migrated-plugins"  # On a CSINode: plugins whose driver its kubelet uses.

Source = Mapping[str, Any]
Labels = Mapping[str, str]


class InTree(NamedTuple):
    """A plugin of old, and the driver in its place."""

    source: str  # The field of a volume that it was asked for in.
    attribute: str  # The same in views.
    name: str
    driver: str
    topology: str  # The driver's label for zones; empty: node affinity is left as it is.
    handle: Callable[[Source, Labels], str]  # What the driver calls a volume, of its source and its labels.


def _ebs_handle(source: Source, labels: Labels) -> str:
    name = str(source.get("volumeID", ""))
    return name.removeprefix("aws://").partition("/")[2].strip("/") if name.startswith("aws://") else name


def _gce_handle(source: Source, labels: Labels) -> str:
    zones = (labels.get(OLD_ZONE) or labels.get(ZONE) or "").split(ZONES)
    if len(zones) > 1:
        where = f"regions/{zones[0].rpartition('-')[0]}"
    else:
        where = f"zones/{zones[0] or 'UNSPECIFIED'}"
    return f"projects/UNSPECIFIED/{where}/disks/{source.get('pdName', '')}"


def _field(name: str) -> Callable[[Source, Labels], str]:
    return lambda source, labels: str(source.get(name, ""))


IN_TREE = (
    InTree(
        "awsElasticBlockStore", "aws_elastic_block_store", "kubernetes.io/aws-ebs", "ebs.csi.aws.com",
        "topology.ebs.csi.aws.com/zone", _ebs_handle,
    ),
    InTree("azureDisk", "azure_disk", "kubernetes.io/azure-disk", "disk.csi.azure.com", "", _field("diskURI")),
    InTree(
        "gcePersistentDisk", "gce_persistent_disk", "kubernetes.io/gce-pd", "pd.csi.storage.gke.io", "topology.gke.io/zone",
        _gce_handle,
    ),
    InTree(
        "cinder", "cinder", "kubernetes.io/cinder", "cinder.csi.openstack.org", "topology.cinder.csi.openstack.org/zone",
        _field("volumeID"),
    ),
    InTree("portworxVolume", "portworx_volume", "kubernetes.io/portworx-volume", "pxd.portworx.com", "", _field("volumeID")),
)  # fmt: skip
SOURCES = frozenset(row.source for row in IN_TREE)
_BY_SOURCE = {row.source: row for row in IN_TREE}
_BY_NAME = {row.name: row for row in IN_TREE}


def in_tree_of(spec: PersistentVolumeSpec) -> InTree | None:
    """The plugin that a volume was made for."""
    return next((row for row in IN_TREE if getattr(spec, row.attribute) is not None), None)


def csi_of(volume: PersistentVolume) -> CSISource | None:
    """What a CSI driver calls a volume; None when no driver has it."""
    if volume.spec.csi is not None:
        return volume.spec.csi
    row = in_tree_of(volume.spec)
    if row is None:
        return None
    source = getattr(volume.spec, row.attribute)
    if row.source == "azureDisk" and str(source.get("kind") or "Managed").lower() != "managed":
        return None
    return CSISource(row.driver, row.handle(source, volume.metadata.labels))


def csi_of_inline(source: str, value: Source) -> CSISource | None:
    """The same for a volume that is written in the pod itself."""
    row = _BY_SOURCE.get(source)
    return None if row is None else CSISource(row.driver, row.handle(value, {}))


def driver_of(provisioner: str) -> str:
    """The driver that makes volumes in a provisioner's place, or the provisioner."""
    row = _BY_NAME.get(provisioner)
    return provisioner if row is None else row.driver


def migrated_plugins(annotations: Mapping[str, str]) -> frozenset[str]:
    """The plugins whose drivers a node uses, by its CSINode's annotations."""
    return frozenset(filter(None, annotations.get(MIGRATED, "").split(",")))


def translated_affinity(volume: PersistentVolume, plugin: InTree) -> VolumeNodeAffinity | None:
    """Where the volume can be used, in the driver's words. Source: upstream translateTopologyFromInTreeToCSI."""
    affinity, labels = volume.spec.node_affinity, volume.metadata.labels
    terms = list(affinity.required.node_selector_terms) if affinity is not None and affinity.required else []
    keys = {rule.key for term in terms for rule in term.match_expressions or ()}
    old = ZONE not in keys and (OLD_ZONE in keys or (ZONE not in labels and OLD_ZONE in labels))
    zone = OLD_ZONE if old else ZONE
    if zone not in keys:
        zones = sorted({one.strip() for one in labels.get(zone, "").split(ZONES) if one.strip()})
        if not zones:
            return affinity
        rule = NodeSelectorRequirement(key=plugin.topology, operator="In", values=zones)
        terms = [_with(term, [*(term.match_expressions or ()), rule]) for term in terms or [NodeSelectorTerm()]]
    renamed = {zone: plugin.topology, **({OLD_REGION: REGION} if old else {})}
    return VolumeNodeAffinity(
        required=NodeSelector(
            node_selector_terms=[
                _with(
                    term,
                    [
                        msgspec.structs.replace(rule, key=renamed.get(rule.key, rule.key))
                        for rule in term.match_expressions or ()
                    ],
                )
                for term in terms
            ]
        )
    )


def _with(term: NodeSelectorTerm, rules: list[NodeSelectorRequirement]) -> NodeSelectorTerm:
    return msgspec.structs.replace(term, match_expressions=rules)
