"""How large each ReplicaSet of a Deployment should be: rolling updates and proportional scaling. All pure."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from kobune.api.objects.apps import Deployment, ReplicaSet

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
Sizes = Mapping[str, int]  # Replicas by ReplicaSet name; only those that change.

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Bounds(NamedTuple):
    """How many pods above and below the wanted number a rolling update may stand."""

    extra: int
    missing: int


def rollout_bounds(max_surge: int | str, max_unavailable: int | str, replicas: int) -> Bounds:
    """Bounds(extra, missing), both in pods.

    Args:
        max_surge, max_unavailable: a number of pods (`2`) or a share of `replicas` (`"25%"`).
        replicas: the Deployment's spec.replicas, zero or more.
    A share of surge rounds up, a share of unavailability down. Never (0, 0), which would allow no step: `missing` is
    then 1. Source: upstream ResolveFenceposts.
    """
    extra, missing = share(max_surge, replicas, up=True), share(max_unavailable, replicas, up=False)
    return Bounds(extra, missing) if extra or missing else Bounds(0, 1)


def share(amount: int | str, total: int, *, up: bool) -> int:
    """A number as it is, a percentage of `total` rounded up or down.

    Raises:
        ValueError: a string that is not a whole percentage.
    """
    if isinstance(amount, int):
        return amount
    hundredths = int(amount.removesuffix("%")) * total
    return -(-hundredths // 100) if up else hundredths // 100


def bounds_of(deployment: Deployment) -> Bounds:
    """The Deployment's own bounds; Recreate has none."""
    rolling = deployment.spec.strategy.rolling_update
    if deployment.spec.strategy.type != "RollingUpdate" or rolling is None:
        return Bounds(0, 0)
    replicas = deployment.spec.replicas
    bounds = rollout_bounds(rolling.max_surge, rolling.max_unavailable, replicas)
    return Bounds(bounds.extra, min(bounds.missing, replicas))


def replicas_annotations(deployment: Deployment) -> dict[str, str]:
    """What each scaled ReplicaSet is marked with; a later difference tells that the Deployment was scaled."""
    replicas = deployment.spec.replicas
    return {DESIRED: str(replicas), MAXIMUM: str(replicas + bounds_of(deployment).extra)}


def was_scaled(deployment: Deployment, sets: Sequence[ReplicaSet]) -> bool:
    """An active ReplicaSet was last scaled for another number of replicas."""
    marks = (annotated_number(each, DESIRED) for each in sets if each.spec.replicas > 0)
    return any(mark is not None and mark != deployment.spec.replicas for mark in marks)


def size_of_new(deployment: Deployment, sets: Sequence[ReplicaSet], current: int) -> int:
    """How large the new ReplicaSet, now at `current`, may be; `sets` are all, it among them. Source: NewRSNewReplicas."""
    wanted = deployment.spec.replicas
    if deployment.spec.strategy.type != "RollingUpdate" or current > wanted:
        return wanted
    rolling = deployment.spec.strategy.rolling_update
    # The surge as it is written: the floor of one unavailable pod has no part in it.
    room = wanted + (share(rolling.max_surge, wanted, up=True) if rolling else 0) - total(sets)
    return current + min(room, wanted - current) if room > 0 else current


def sizes_of_old(deployment: Deployment, old: Sequence[ReplicaSet], new: ReplicaSet) -> Sizes:
    """Old ReplicaSets made smaller as far as availability allows, unhealthy pods first. Source: reconcileOldReplicaSets."""
    floor = deployment.spec.replicas - bounds_of(deployment).missing
    new_unavailable = new.spec.replicas - new.status.available_replicas
    allowed = total(old) + new.spec.replicas - floor - new_unavailable
    if allowed <= 0:
        return {}
    oldest_first = sorted((each for each in old if each.spec.replicas > 0), key=age_order)
    sizes = {each.name: each.spec.replicas for each in oldest_first}
    for each in oldest_first:
        unhealthy = max(each.spec.replicas - each.status.available_replicas, 0)
        cut = min(allowed, unhealthy)
        sizes[each.name] -= cut
        allowed -= cut
    spare = sum(each.status.available_replicas for each in (*old, new)) - floor
    for each in oldest_first:
        cut = max(min(spare, sizes[each.name]), 0)
        sizes[each.name] -= cut
        spare -= cut
    return {each.name: sizes[each.name] for each in oldest_first if sizes[each.name] != each.spec.replicas}


def proportional_sizes(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> Sizes:
    """Every ReplicaSet scaled by its share, so that scaling in the midst of a rollout keeps the risk as it was.

    ReplicaSets whose size stays are named too when their annotations are not up to date. Source: upstream `scale`.
    """
    wanted = deployment.spec.replicas
    everything = [*old, *([new] if new else [])]
    active = [each for each in everything if each.spec.replicas > 0]
    if len(active) <= 1:
        only = active[0] if active else new or max(old, key=age_order, default=None)
        return {only.name: wanted} if only is not None and only.spec.replicas != wanted else {}
    if new is not None and _is_saturated(deployment, new):
        return {each.name: 0 for each in active if each is not new}
    if deployment.spec.strategy.type != "RollingUpdate":
        return {}
    limit = wanted + bounds_of(deployment).extra if wanted > 0 else 0
    to_add = limit - total(active)
    # Of like size the newer grow first, and the older shrink first.
    active.sort(key=age_order, reverse=to_add > 0)
    active.sort(key=lambda each: -each.spec.replicas)
    sizes, added = {}, 0
    for each in active:
        part = _proportion(deployment, each, to_add, added)
        sizes[each.name] = each.spec.replicas + part
        added += part
    if to_add:
        largest = active[0].name
        sizes[largest] = max(sizes[largest] + to_add - added, 0)
    marks = replicas_annotations(deployment)
    return {
        each.name: sizes[each.name]
        for each in active
        if sizes[each.name] != each.spec.replicas
        or any(each.metadata.annotations.get(name) != value for name, value in marks.items())
    }


def total(sets: Sequence[ReplicaSet]) -> int:
    """Replicas asked for."""
    return sum(each.spec.replicas for each in sets)


def age_order(item: ReplicaSet) -> tuple[datetime, str]:
    """Sorts the oldest first."""
    return (item.metadata.creation_timestamp or _LONG_AGO, item.name)


def annotated_number(item: ReplicaSet, name: str) -> int | None:
    """The number in an annotation; None when there is none."""
    text = item.metadata.annotations.get(name, "")
    return int(text) if text.isdigit() else None


def _is_saturated(deployment: Deployment, new: ReplicaSet) -> bool:
    wanted = deployment.spec.replicas
    return new.spec.replicas == annotated_number(new, DESIRED) == new.status.available_replicas == wanted


def _proportion(deployment: Deployment, item: ReplicaSet, to_add: int, added: int) -> int:
    """This ReplicaSet's part of the pods to add, or, negative, to remove. Source: GetReplicaSetProportion."""
    left = to_add - added
    if left == 0:
        return 0
    if deployment.spec.replicas == 0:
        fraction = -item.spec.replicas
    else:
        before = annotated_number(item, MAXIMUM) or deployment.status.replicas
        if before == 0:
            return 0
        after = deployment.spec.replicas + bounds_of(deployment).extra
        # Half away from zero, as upstream rounds; sizes are not negative.
        fraction = math.floor(item.spec.replicas * after / before + 0.5) - item.spec.replicas
    return min(fraction, left) if to_add > 0 else max(fraction, left)
