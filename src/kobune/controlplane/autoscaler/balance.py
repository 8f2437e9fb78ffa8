"""Growth shared among groups that are alike. Source: upstream cluster-autoscaler, nodegroupset."""

from collections.abc import Mapping, Sequence

from kobune.api.objects.core import Node
from kobune.controlplane.autoscaler.model import Group

# Labels in which groups that are alike may differ. Source: upstream's basic ignored labels and Azure's.
IGNORED_LABELS = frozenset({
    "agentpool",
    "creationSource",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.azure.com/agentpool",
    "kubernetes.azure.com/consolidated-additional-properties",
    "kubernetes.azure.com/mode",
    "kubernetes.azure.com/node-image-version",
    "kubernetes.io/hostname",
    "poolName",
    "topology.disk.csi.azure.com/zone",
    "topology.kubernetes.io/zone",
})  # fmt: skip


def are_similar(one: Node, other: Node) -> bool:
    """Whether pods could not tell nodes of the two groups apart, but for zone and pool."""
    return (
        _labels(one) == _labels(other)
        and one.status.capacity == other.status.capacity
        and one.status.allocatable == other.status.allocatable
    )


def balance(groups: Sequence[Group], more: int) -> Mapping[str, int]:
    """The new targets of these groups with so many nodes more, the smallest filled first; those that stay are left out."""
    targets = {group.name: group.target for group in groups}
    limits = {group.name: group.max_size for group in groups}
    for _ in range(more):
        growing = [name for name in targets if targets[name] < limits[name]]
        if not growing:
            break
        targets[min(growing, key=lambda name: targets[name])] += 1
    return {group.name: targets[group.name] for group in groups if targets[group.name] != group.target}


def _labels(node: Node) -> Mapping[str, str]:
    return {key: value for key, value in node.metadata.labels.items() if key not in IGNORED_LABELS}
