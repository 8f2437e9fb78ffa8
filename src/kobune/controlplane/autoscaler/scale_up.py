"""Which groups grow for the pods that have no node. Source: upstream cluster-autoscaler, core/scaleup."""

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from kobune.api.objects.scheduling import Pod
from kobune.controlplane.autoscaler.balance import are_similar, balance
from kobune.controlplane.autoscaler.expanders import Option, choose
from kobune.controlplane.autoscaler.model import Group, Settings, World

MAX_REACHED = "max node group size reached"
BACKED_OFF = "in backoff after failed scale-up"


@dataclass(frozen=True, slots=True)
class ScaleUp:
    """What is to grow, and who knows of it.

    Attributes:
        targets: of the groups that grow.
        helped: the pods that get a node by it.
        refused: of each pod that no group would help, why: a reason with the number of groups that have it.
    """

    targets: Mapping[str, int] = field(default_factory=dict)
    helped: tuple[Pod, ...] = ()
    refused: tuple[tuple[Pod, Counter[str]], ...] = ()


def plan_scale_up(
    world: World,
    groups: Sequence[Group],
    pods: Sequence[Pod],
    settings: Settings,
    rng: random.Random,
    *,
    backed_off: Collection[str] = (),
) -> ScaleUp:
    """One growth step: the group that the expanders choose, or several that are like it.

    Args:
        pods: those that fit on no node that is there or expected.
        backed_off: groups that failed to grow a short while ago.
    """
    options, why_not = [], {}
    for group in groups:
        if group.target >= group.max_size:
            why_not[group.name] = MAX_REACHED
        elif group.name in backed_off:
            why_not[group.name] = BACKED_OFF
        else:
            found = world.estimate(group.template, pods, group.max_size - group.target)
            if found.nodes:
                requested: Counter[str] = Counter()
                for pod in found.pods:
                    requested.update(world.amounts(pod))
                allocatable = world.allocatable(group.template)
                options.append(Option(group, found.nodes, found.pods, requested, allocatable))
    chosen = choose(options, settings.expander, world.priorities, rng)
    helpable = {pod.metadata.uid for option in options for pod in option.pods}
    refused = tuple((pod, _reasons(world, groups, why_not, pod)) for pod in pods if pod.metadata.uid not in helpable)
    if chosen is None:
        return ScaleUp(refused=refused)
    growing = [chosen.group]
    if settings.balance_similar_node_groups:
        growing += [
            option.group
            for option in options
            if option is not chosen
            and are_similar(option.group.template, chosen.group.template)
            and {pod.metadata.uid for pod in chosen.pods} <= {pod.metadata.uid for pod in option.pods}
        ]
    return ScaleUp(balance(growing, chosen.nodes), chosen.pods, refused)


def _reasons(world: World, groups: Sequence[Group], why_not: Mapping[str, str], pod: Pod) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for group in groups:
        known = why_not.get(group.name)
        reasons.update([known] if known else world.refusals(group.template, pod))
    return reasons


def triggered_text(before: Mapping[str, int], targets: Mapping[str, int], limits: Mapping[str, int]) -> str:
    """The message of TriggeredScaleUp."""
    parts = [f"{{{name} {before[name]}->{target} (max: {limits[name]})}}" for name, target in targets.items()]
    return f"pod triggered scale-up: [{' '.join(parts)}]"


def not_triggered_text(reasons: Counter[str]) -> str:
    """The message of NotTriggerScaleUp."""
    parts = [f"{count} {reason}" for reason, count in sorted(reasons.items())]
    return f"pod didn't trigger scale-up: {', '.join(parts)}"
