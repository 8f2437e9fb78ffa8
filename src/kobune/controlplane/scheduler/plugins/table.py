"""Every plugin in one table, in the order in which a default profile asks them. Nothing registers itself."""

from collections.abc import Callable
from typing import NamedTuple

from kobune.api.errors import Json
from kobune.api.features import GANG_SCHEDULING
from kobune.controlplane.scheduler.binding_conditions import TIMEOUT_SECONDS
from kobune.controlplane.scheduler.extended_devices import ExtendedResources
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.plugins import args as read
from kobune.controlplane.scheduler.plugins.default_preemption import DefaultPreemption
from kobune.controlplane.scheduler.plugins.dynamic_resources import DynamicResources
from kobune.controlplane.scheduler.plugins.gang_scheduling import GangScheduling
from kobune.controlplane.scheduler.plugins.image_locality import ImageLocality
from kobune.controlplane.scheduler.plugins.inter_pod_affinity import HARD_WEIGHT, InterPodAffinity
from kobune.controlplane.scheduler.plugins.node_affinity import NodeAffinity
from kobune.controlplane.scheduler.plugins.node_declared_features import NodeDeclaredFeatures
from kobune.controlplane.scheduler.plugins.node_name import NodeName
from kobune.controlplane.scheduler.plugins.node_ports import NodePorts
from kobune.controlplane.scheduler.plugins.node_resources_balanced_allocation import NodeResourcesBalancedAllocation
from kobune.controlplane.scheduler.plugins.node_resources_fit import NodeResourcesFit
from kobune.controlplane.scheduler.plugins.node_unschedulable import NodeUnschedulable
from kobune.controlplane.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from kobune.controlplane.scheduler.plugins.scheduling_gates import SchedulingGates
from kobune.controlplane.scheduler.plugins.taint_toleration import TaintToleration
from kobune.controlplane.scheduler.plugins.volume_binding import BIND_TIMEOUT_SECONDS, VolumeBinding
from kobune.controlplane.scheduler.plugins.volume_restrictions import VolumeRestrictions
from kobune.controlplane.scheduler.plugins.volume_zone import VolumeZone
from kobune.controlplane.scheduler.preemption import Limits

Make = Callable[[Json, Listers], object]


class PluginRow(NamedTuple):
    name: str
    make: Make  # From the plugin's args, defaults left out, and the cluster's other objects.
    points: tuple[str, ...]  # The extension points that upstream's plugin of this name has.
    weight: int = 0  # The weight of its score in a default profile; 0: it does not score.
    gate: str = ""  # The feature gate without which there is no such plugin.


PLUGINS = (
    PluginRow("SchedulingGates", lambda args, listers: SchedulingGates(), ("preEnqueue",)),
    PluginRow("PrioritySort", lambda args, listers: None, ("queueSort",)),
    PluginRow("NodeUnschedulable", lambda args, listers: NodeUnschedulable(), ("filter",)),
    PluginRow("NodeName", lambda args, listers: NodeName(), ("filter",)),
    PluginRow("TaintToleration", lambda args, listers: TaintToleration(), ("filter", "preScore", "score"), 3),
    PluginRow(
        "NodeAffinity",
        lambda args, listers: NodeAffinity(*read.added_affinity(args)),
        ("preFilter", "filter", "preScore", "score"),
        2,
    ),
    PluginRow("NodePorts", lambda args, listers: NodePorts(), ("preFilter", "filter")),
    PluginRow(
        "NodeResourcesFit",
        lambda args, listers: NodeResourcesFit(
            delegated=ExtendedResources(listers).class_for,
            ignored=args.get("ignoredResources") or (),
            ignored_groups=args.get("ignoredResourceGroups") or (),
            strategy=read.strategy(args),
            resources=read.resources(args.get("scoringStrategy") or {}),
        ),
        ("preFilter", "filter", "preScore", "score"),
        1,
    ),
    PluginRow("VolumeRestrictions", lambda args, listers: VolumeRestrictions(listers), ("preFilter", "filter")),
    PluginRow("NodeVolumeLimits", lambda args, listers: NodeVolumeLimits(listers), ("preFilter", "filter")),
    PluginRow(
        "VolumeBinding",
        lambda args, listers: VolumeBinding(
            listers, bind_timeout_seconds=args.get("bindTimeoutSeconds", BIND_TIMEOUT_SECONDS)
        ),
        ("preFilter", "filter", "reserve", "preBind"),
    ),
    PluginRow("VolumeZone", lambda args, listers: VolumeZone(listers), ("preFilter", "filter")),
    PluginRow(
        "PodTopologySpread",
        lambda args, listers: read.topology_spread(args, listers),
        ("preFilter", "filter", "preScore", "score"),
        2,
    ),
    PluginRow(
        "InterPodAffinity",
        lambda args, listers: InterPodAffinity(
            listers,
            hard_weight=args.get("hardPodAffinityWeight", HARD_WEIGHT),
            ignore_existing=args.get("ignorePreferredTermsOfExistingPods", False),
        ),
        ("preFilter", "filter", "preScore", "score"),
        2,
    ),
    PluginRow(
        "DynamicResources",
        lambda args, listers: DynamicResources(
            listers, binding_timeout_seconds=read.seconds(args.get("bindingTimeout"), TIMEOUT_SECONDS)
        ),
        ("preFilter", "filter", "postFilter", "score", "reserve", "preBind"),
        2,
    ),
    PluginRow(
        "DefaultPreemption",
        lambda args, listers: DefaultPreemption(
            Limits(args.get("minCandidateNodesPercentage", 10), args.get("minCandidateNodesAbsolute", 100))
        ),
        ("preEnqueue", "postFilter"),
    ),
    PluginRow(
        "NodeResourcesBalancedAllocation",
        lambda args, listers: NodeResourcesBalancedAllocation(read.resources(args)),
        ("preScore", "score"),
        1,
    ),
    PluginRow("ImageLocality", lambda args, listers: ImageLocality(), ("score",), 1),
    PluginRow("DefaultBinder", lambda args, listers: None, ("bind",)),
    PluginRow("NodeDeclaredFeatures", lambda args, listers: NodeDeclaredFeatures(), ("preFilter", "filter")),
    PluginRow(
        "GangScheduling", lambda args, listers: GangScheduling(listers), ("preEnqueue", "permit"), gate=GANG_SCHEDULING
    ),
)


def plugins_with(features: frozenset[str]) -> tuple[PluginRow, ...]:
    """The plugins that there are with these feature gates on."""
    return tuple(row for row in PLUGINS if not row.gate or row.gate in features)
