"""How far and how fast the number of replicas may follow what metrics ask for. Pure but for the history that it keeps.

Source: upstream's horizontal controller: stabilisation windows, scaling policies, limits.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from kobune.api.objects.autoscaling import Behavior, ScalingRules

DOWN_WINDOW = 300.0  # Seconds. Source: upstream --horizontal-pod-autoscaler-downscale-stabilization.
UP_FACTOR, UP_MINIMUM = 2.0, 4.0  # Without a behaviour: at most doubled, or to four.
WITHIN_RANGE = "DesiredWithinRange", "the desired count is within the acceptable range"
STABILIZED_DOWN = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)
STABILIZED_UP = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
READY = "ReadyForNewScale", "recommended size matches current size"
UP_LIMIT = "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"
DOWN_LIMIT = "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"
TOO_MANY = "TooManyReplicas", "the desired replica count is more than the maximum replica count"
TOO_FEW = "TooFewReplicas", "the desired replica count is less than the minimum replica count"

Reason = tuple[str, str]  # Of a condition, and its message.


class Past(NamedTuple):
    """A number of replicas at a time: a recommendation, or a change."""

    replicas: int
    at: float  # By the monotonic clock.


@dataclass(slots=True)
class History:
    """What an autoscaler has recommended and done of late."""

    recommendations: list[Past] = field(default_factory=list)
    ups: list[Past] = field(default_factory=list)
    downs: list[Past] = field(default_factory=list)

    def remember(self, replicas: int, now: float) -> None:
        """What the target has when it is first seen counts as recommended."""
        self.recommendations.append(Past(replicas, now))

    def did(self, before: int, after: int, now: float, behavior: Behavior | None) -> None:
        """The target has been scaled. Without a behaviour nobody asks for it later."""
        if behavior is None:
            return
        if after > before:
            self.ups = [*_since(self.ups, now - _longest(behavior.scale_up)), Past(after - before, now)]
        else:
            self.downs = [*_since(self.downs, now - _longest(behavior.scale_down)), Past(before - after, now)]


class Decision(NamedTuple):
    replicas: int
    able: Reason  # Of the condition AbleToScale.
    limited: bool
    limit: Reason  # Of the condition ScalingLimited.


def decide(
    history: History, behavior: Behavior | None, *, current: int, wanted: int, least: int, most: int, now: float
) -> Decision:
    """What may be had of `wanted` now; the history is told of the wish."""
    if behavior is None:
        stable = _stabilize(history, wanted, now)
        able = STABILIZED_DOWN if stable != wanted else READY
        replicas, limit = _limit(current, stable, least, most)
    else:
        up, down = behavior.scale_up or ScalingRules(), behavior.scale_down or ScalingRules()
        stable = _stabilize_with(history, up, down, current, wanted, now)
        towards = STABILIZED_UP if wanted >= current else STABILIZED_DOWN
        able = towards if stable != wanted else READY
        replicas, limit = _limit_with(history, up, down, current, stable, least, most, now)
    return Decision(replicas, able, replicas != stable, limit)


def _stabilize(history: History, wanted: int, now: float) -> int:
    recent = [each for each in history.recommendations if each.at >= now - DOWN_WINDOW]
    history.recommendations = [*recent, Past(wanted, now)]
    return max([wanted, *(each.replicas for each in recent)])


def _limit(current: int, wanted: int, least: int, most: int) -> tuple[int, Reason]:
    up = int(max(UP_FACTOR * current, UP_MINIMUM))
    highest, why = (up, UP_LIMIT) if most > up else (most, TOO_MANY)
    if wanted < least:
        return least, TOO_FEW
    return (highest, why) if wanted > highest else (wanted, WITHIN_RANGE)


def _stabilize_with(
    history: History, up: ScalingRules, down: ScalingRules, current: int, wanted: int, now: float
) -> int:
    up_window = float(up.stabilization_window_seconds or 0)
    given = down.stabilization_window_seconds
    down_window = DOWN_WINDOW if given is None else float(given)
    past = history.recommendations
    lowest = min([wanted, *(each.replicas for each in past if each.at > now - up_window)])
    highest = max([wanted, *(each.replicas for each in past if each.at > now - down_window)])
    kept = [each for each in past if each.at >= now - max(up_window, down_window)]
    history.recommendations = [*kept, Past(wanted, now)]
    return min(max(current, lowest), highest)


def _limit_with(
    history: History, up: ScalingRules, down: ScalingRules, current: int, wanted: int, least: int, most: int, now: float
) -> tuple[int, Reason]:
    if wanted > current:
        limit = max(_farthest(up, history, current, now, upwards=True), current)
        highest, why = (limit, UP_LIMIT) if most > limit else (most, TOO_MANY)
        if wanted > highest:
            return highest, why
    elif wanted < current:
        limit = min(_farthest(down, history, current, now, upwards=False), current)
        lowest, why = (limit, DOWN_LIMIT) if least < limit else (least, TOO_FEW)
        if wanted < lowest:
            return lowest, why
    return wanted, WITHIN_RANGE


def _farthest(rules: ScalingRules, history: History, current: int, now: float, *, upwards: bool) -> int:
    """The number of replicas that the policies allow by now."""
    if rules.select_policy == "Disabled":
        return current
    proposals = []
    for policy in rules.policies:
        since = now - policy.period_seconds
        added = sum(each.replicas for each in history.ups if each.at > since)
        removed = sum(each.replicas for each in history.downs if each.at > since)
        start = current - added + removed
        if policy.type == "Pods":
            proposals.append(start + policy.value if upwards else start - policy.value)
        elif upwards:
            # Rounded up, or a small number would never grow.
            proposals.append(math.ceil(start * (1 + policy.value / 100)))
        else:
            proposals.append(int(start * (1 - policy.value / 100)))
    boldest, mildest = (max, min) if upwards else (min, max)
    return (mildest if rules.select_policy == "Min" else boldest)(proposals, default=current)


def _since(past: Iterable[Past], cutoff: float) -> list[Past]:
    return [each for each in past if each.at >= cutoff]


def _longest(rules: ScalingRules | None) -> float:
    return float(max((policy.period_seconds for policy in rules.policies), default=0)) if rules is not None else 0.0
