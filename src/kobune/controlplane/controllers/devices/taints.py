"""Which taints the devices of a claim have, from their slices and from rules, and until when the claim tolerates them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

import msgspec

from kobune.api.objects.meta import GVK, Condition, Object, View

NO_EXECUTE = "NoExecute"


class DeviceTaint(View):
    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: datetime | None = None


class TaintedDevice(View):
    name: str
    taints: list[DeviceTaint] = msgspec.field(default_factory=list)


class Pool(View):
    name: str = ""
    generation: int = 0


class SliceSpec(View):
    driver: str = ""
    pool: Pool = msgspec.field(default_factory=Pool)
    devices: list[TaintedDevice] = msgspec.field(default_factory=list)


class ResourceSlice(Object):
    """The devices of a slice, as far as their taints go."""

    gvk: ClassVar[GVK] = GVK("resource.k8s.io", "v1", "ResourceSlice")
    spec: SliceSpec = msgspec.field(default_factory=SliceSpec)


class DeviceSelector(View):
    driver: str | None = None
    pool: str | None = None
    device: str | None = None


class RuleSpec(View):
    device_selector: DeviceSelector | None = None
    taint: DeviceTaint = msgspec.field(default_factory=DeviceTaint)


class RuleStatus(View):
    conditions: list[Condition] = msgspec.field(default_factory=list)


class DeviceTaintRule(Object):
    gvk: ClassVar[GVK] = GVK("resource.k8s.io", "v1", "DeviceTaintRule")
    spec: RuleSpec = msgspec.field(default_factory=RuleSpec)
    status: RuleStatus = msgspec.field(default_factory=RuleStatus)


class DeviceToleration(View):
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class AllocatedDevice(View):
    """A device that a claim has been given, with what the claim's request tolerates."""

    driver: str = ""
    pool: str = ""
    device: str = ""
    tolerations: list[DeviceToleration] = msgspec.field(default_factory=list)


class PoolName(NamedTuple):
    driver: str
    pool: str


class Eviction(NamedTuple):
    """When a pod must go, and which rules (by uid) have a part in it."""

    when: datetime
    rules: frozenset[str] = frozenset()


def allocated_devices(allocation: dict[str, Any] | None) -> list[AllocatedDevice]:
    """The devices in a claim's `status.allocation`."""
    results = ((allocation or {}).get("devices") or {}).get("results") or []
    return msgspec.convert(results, list[AllocatedDevice])


def pool_of(item: ResourceSlice) -> PoolName:
    return PoolName(item.spec.driver, item.spec.pool.name)


def newest(slices: Sequence[ResourceSlice]) -> list[ResourceSlice]:
    """Of a pool's slices those of its newest generation; the others are on their way out."""
    generation = max((each.spec.pool.generation for each in slices), default=0)
    return [each for each in slices if each.spec.pool.generation == generation]


def matches_rule(rule: DeviceTaintRule, driver: str, pool: str, device: str) -> bool:
    """A rule without a selector taints nothing; what the selector leaves out matches all."""
    selector = rule.spec.device_selector
    return selector is not None and all(
        wanted is None or wanted == found
        for wanted, found in ((selector.driver, driver), (selector.pool, pool), (selector.device, device))
    )


def claim_eviction(
    devices: Iterable[AllocatedDevice],
    slices_of: Callable[[PoolName], Sequence[ResourceSlice]],
    rules: Sequence[DeviceTaintRule],
) -> Eviction | None:
    """When the users of these devices must go: at the earliest taint that is not tolerated, or no longer by then.

    Args:
        rules: those whose taints evict.
    Source: upstream devicetainteviction, claimEvictionTime.
    """
    when: datetime | None = None
    involved: set[str] = set()
    for device in devices:
        for taint, rule in _taints(device, slices_of, rules):
            moment = tolerated_until(taint, device.tolerations)
            if moment is None:
                continue
            if rule is not None:
                involved.add(rule.uid)
            when = moment if when is None else min(when, moment)
    return Eviction(when, frozenset(involved)) if when is not None else None


def earlier(one: Eviction | None, other: Eviction | None) -> Eviction | None:
    """Of two reasons to go the earlier moment and the rules of both."""
    if one is None or other is None:
        return one or other
    return Eviction(min(one.when, other.when), one.rules | other.rules)


def tolerated_until(taint: DeviceTaint, tolerations: Iterable[DeviceToleration]) -> datetime | None:
    """When patience with a NoExecute taint ends; None: never. One that has no time is no reason to go."""
    seconds: list[int] = []
    for each in tolerations:
        if each.effect == NO_EXECUTE and tolerates(each, taint):
            if each.toleration_seconds is None:
                return None
            seconds.append(max(each.toleration_seconds, 0))
    if taint.time_added is None:
        return None
    return taint.time_added + timedelta(seconds=min(seconds, default=0))


def tolerates(toleration: DeviceToleration, taint: DeviceTaint) -> bool:
    """Source: upstream dynamic-resource-allocation, ToleratesTaint."""
    if toleration.effect and toleration.effect != NO_EXECUTE:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    return toleration.operator == "Exists" or (toleration.operator in ("", "Equal") and toleration.value == taint.value)


def _taints(
    device: AllocatedDevice, slices_of: Callable[[PoolName], Sequence[ResourceSlice]], rules: Iterable[DeviceTaintRule]
) -> Iterator[tuple[DeviceTaint, DeviceTaintRule | None]]:
    """The taints that evict users of the device, each with the rule that it comes from."""
    for item in newest(slices_of(PoolName(device.driver, device.pool))):
        for known in item.spec.devices:
            if known.name == device.device:
                yield from ((taint, None) for taint in known.taints if taint.effect == NO_EXECUTE)
    for rule in rules:
        if matches_rule(rule, device.driver, device.pool, device.device):
            yield rule.spec.taint, rule
