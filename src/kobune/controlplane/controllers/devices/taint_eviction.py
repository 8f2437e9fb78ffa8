"""Deletes pods whose devices have NoExecute taints that their claims do not tolerate, or no longer.

Keys of pods have their namespace; keys of DeviceTaintRules, which are told how far their evictions are, have none.
Source: upstream's devicetainteviction.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key, find_condition
from kobune.api.timestamps import format_time
from kobune.client.client import Patch
from kobune.controlplane.controllers.controller import Context, Controller, Maps
from kobune.controlplane.controllers.devices.resource_claim import ResourceClaim, is_for
from kobune.controlplane.controllers.devices.taints import (
    NO_EXECUTE,
    AllocatedDevice,
    DeviceTaintRule,
    Eviction,
    PoolName,
    ResourceSlice,
    allocated_devices,
    claim_eviction,
    earlier,
    matches_rule,
    newest,
    pool_of,
)
from kobune.controlplane.controllers.pods import disrupt

STATUS_SECONDS = 10.0  # Between two reports about one rule. Source: upstream ruleStatusPeriod.
CONDITION = "EvictionInProgress"


@dataclass(slots=True)
class Memory:
    """What has been begun: by pod's uid, and by rule's uid."""

    sentenced: set[str] = field(default_factory=set)
    evicted: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)  # Pods evicted since the start.


async def reconcile(key: Key, context: Context) -> float | None:
    """One pod's time, or one rule's status; returns when to look again."""
    if not key.namespace:
        rule = context.informer(DeviceTaintRule).get(key)
        return await _report(rule, context) if rule is not None else None
    pod = context.informer(Pod).get(key)
    memory = context.own(Memory)
    if pod is None or pod.is_deleting or pod.is_finished or pod.uid in memory.evicted:
        return None
    eviction = pod_eviction(context, pod, _evicting_rules(context))
    if eviction is None:
        if pod.uid in memory.sentenced:
            memory.sentenced.discard(pod.uid)
            context.events.normal(pod, "DeviceTaintManagerEviction", "Cancelling deletion")
        return None
    _report_soon(context, eviction)
    left = (eviction.when - context.clock.now()).total_seconds()
    if left > 0:
        memory.sentenced.add(pod.uid)
        return left
    await _evict(pod, context)
    memory.sentenced.discard(pod.uid)
    memory.evicted.add(pod.uid)
    memory.counts.update(eviction.rules)
    return None


async def _evict(pod: Pod, context: Context) -> None:
    context.events.normal(pod, "DeviceTaintManagerEviction", "Marking for deletion")
    message = "Device Taint manager: deleting due to NoExecute taint"
    await disrupt(context, pod, "DeletionByDeviceTaintManager", message)


def pod_eviction(context: Context, pod: Pod, rules: Sequence[DeviceTaintRule]) -> Eviction | None:
    """When the pod must leave its node for the sake of its devices; None: it may stay."""
    if not pod.spec.node_name:
        return None
    made = {each.name: each.resource_claim_name for each in pod.status.resource_claim_statuses}
    found: Eviction | None = None
    for wanted in pod.spec.resource_claims:
        name = wanted.resource_claim_name or made.get(wanted.name)
        claim = context.informer(ResourceClaim).get(Key(pod.namespace, name)) if name else None
        if claim is None or not any(user.uid == pod.uid for user in claim.status.reserved_for):
            continue
        if wanted.resource_claim_name is None and not is_for(claim, pod):
            continue
        found = earlier(found, claim_eviction(_devices(claim), partial(_slices, context), rules))
    return found


async def _report(rule: DeviceTaintRule, context: Context) -> float | None:
    """Write how far the rule's evictions are, at most so often; returns the seconds until it may be said."""
    now = context.clock.now()
    known = find_condition(rule.status.conditions, CONDITION)
    generation = rule.metadata.generation
    if known is not None and known.last_transition_time is not None and known.observed_generation == generation:
        left = STATUS_SECONDS - (now - known.last_transition_time).total_seconds()
        if left > 0:
            return left
    status, reason, message = _verdict(rule, context)
    after = (status, reason, message, generation)
    if known is None or (known.status, known.reason, known.message, known.observed_generation) != after:
        condition = {
            "type": CONDITION,
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": generation,
            "lastTransitionTime": format_time(now),
        }
        patch = {"metadata": {"uid": rule.uid}, "status": {"conditions": [condition]}}
        await context.client.patch(DeviceTaintRule, rule.key, patch, how=Patch.STRATEGIC, subresource="status")
    return None


def _verdict(rule: DeviceTaintRule, context: Context) -> tuple[str, str, str]:
    """The condition's status, reason and message, in upstream's words."""
    evicted = context.own(Memory).counts[rule.uid]
    status, message = "False", ""
    match rule.spec.taint.effect:
        case effect if effect == NO_EXECUTE:
            pods, namespaces = _pending(rule, _evicting_rules(context), context)
            reason = "Completed" if evicted else "NotStarted"
            if pods:
                status, reason = "True", "PodsPendingEviction"
                message = f"{_count(pods, 'pod needs', 'pods need')} to be evicted in {_places(namespaces)}."
        case "None":
            reason = "NoEffect"
            pods, namespaces = _pending(rule, [rule], context)
            published, allocated = _selected(rule, context)
            message = (
                f"{_count(published, 'published device', 'published devices')} selected. "
                f"{_count(allocated, 'allocated device', 'allocated devices')} selected. "
                f"{_count(pods, 'pod', 'pods')} would be evicted in {_places(namespaces)} if the effect was NoExecute. "
                "This information will not be updated again. Recreate the DeviceTaintRule to trigger an update."
            )
        case _:
            reason, message = "OtherEffect", "Eviction only happens for the NoExecute effect."
    if evicted:
        told = f"{_count(evicted, 'pod', 'pods')} evicted since starting the controller."
        message = f"{message} {told}" if message else told
    return status, reason, message


def _pending(rule: DeviceTaintRule, rules: Sequence[DeviceTaintRule], context: Context) -> tuple[int, int]:
    """How many pods the rule has yet to evict, in how many namespaces."""
    namespaces = Counter[str]()
    for pod in _users(context, lambda claim: any(_is_selected(rule, each) for each in _devices(claim))):
        found = pod_eviction(context, pod, rules) if not pod.is_deleting else None
        if found is not None and rule.uid in found.rules:
            namespaces[pod.namespace] += 1
    return namespaces.total(), len(namespaces)


def _selected(rule: DeviceTaintRule, context: Context) -> tuple[int, int]:
    """How many devices that are offered, and how many that are in claims, the rule selects."""
    pools = {pool_of(each) for each in context.informer(ResourceSlice).items.values()}
    offered = sum(
        matches_rule(rule, pool.driver, pool.pool, device.name)
        for pool in pools
        for item in newest(_slices(context, pool))
        for device in item.spec.devices
    )
    claims = context.informer(ResourceClaim).items.values()
    return offered, sum(_is_selected(rule, each) for claim in claims for each in _devices(claim))


def _is_selected(rule: DeviceTaintRule, device: AllocatedDevice) -> bool:
    return matches_rule(rule, device.driver, device.pool, device.device)


def _devices(claim: ResourceClaim) -> list[AllocatedDevice]:
    return allocated_devices(claim.status.allocation)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _places(namespaces: int) -> str:
    return _count(namespaces, "namespace", "different namespaces")


def _evicting_rules(context: Context) -> list[DeviceTaintRule]:
    rules = context.informer(DeviceTaintRule).items.values()
    return [rule for rule in rules if rule.spec.taint.effect == NO_EXECUTE]


def _slices(context: Context, pool: PoolName) -> list[ResourceSlice]:
    return context.informer(ResourceSlice).index("pool", pool)


def _report_soon(context: Context, eviction: Eviction) -> None:
    for rule in context.informer(DeviceTaintRule).items.values():
        if rule.uid in eviction.rules:
            context.queue.add_after(rule.key, STATUS_SECONDS)


def _users(context: Context, concerns: Callable[[ResourceClaim], bool]) -> list[Pod]:
    """The pods for which claims are reserved."""
    found: dict[str, Pod] = {}
    for claim in context.informer(ResourceClaim).items.values():
        if claim.status.reserved_for and concerns(claim):
            for key in _pods_of(claim):
                pod = context.informer(Pod).get(key)
                if pod is not None:
                    found[pod.uid] = pod
    return list(found.values())


def _pods_of(claim: ResourceClaim) -> list[Key]:
    return [
        Key(claim.namespace, user.name)
        for user in claim.status.reserved_for
        if not user.api_group and user.resource == "pods"
    ]


def _pod_changed(context: Context, old: Pod | None, new: Pod | None) -> Iterable[Key]:
    if new is None:
        if old is not None:
            memory = context.own(Memory)
            memory.sentenced.discard(old.uid)
            memory.evicted.discard(old.uid)
        return ()
    if not new.spec.resource_claims or not new.spec.node_name:
        return ()
    before = (old.spec.node_name, old.status.resource_claim_statuses) if old is not None else None
    return () if before == (new.spec.node_name, new.status.resource_claim_statuses) else (new.key,)


def _claim_changed(_context: Context, old: ResourceClaim | None, new: ResourceClaim | None) -> Iterable[Key]:
    if old is not None and new is not None and old.status == new.status:
        return ()
    return {key: None for claim in (old, new) if claim is not None for key in _pods_of(claim)}


def _slice_changed(context: Context, old: ResourceSlice | None, new: ResourceSlice | None) -> Iterable[Key]:
    """Other taints, or other slices in force: whoever uses devices of the pools."""
    if old is not None and new is not None and old.spec == new.spec:
        return ()
    pools = {pool_of(each) for each in (old, new) if each is not None}
    claims = {claim.key: claim for pool in pools for claim in context.informer(ResourceClaim).index("pool", pool)}
    return {key: None for claim in claims.values() for key in _pods_of(claim)}


def _rule_changed(context: Context, old: DeviceTaintRule | None, new: DeviceTaintRule | None) -> Iterable[Key]:
    """The rule itself, first, and the users of what it selects or did."""
    if old is not None and new is not None and old.spec == new.spec:
        return ()
    if new is None and old is not None:
        del context.own(Memory).counts[old.uid]
    rules = [each for each in (old, new) if each is not None]
    users = _users(context, lambda claim: any(_is_selected(rule, each) for rule in rules for each in _devices(claim)))
    return [*((new.key,) if new is not None else ()), *(pod.key for pod in users)]


def _pools_of_claim(claim: ResourceClaim) -> set[PoolName]:
    return {PoolName(each.driver, each.pool) for each in _devices(claim)}


def _prepare(context: Context) -> None:
    context.informer(ResourceSlice).add_index("pool", lambda item: (pool_of(item),))
    context.informer(ResourceClaim).add_index("pool", _pools_of_claim)


CONTROLLER = Controller(
    "device-taint-eviction-controller",
    (
        Maps(ResourceSlice, _slice_changed),
        Maps(DeviceTaintRule, _rule_changed, optional=True),
        Maps(ResourceClaim, _claim_changed),
        Maps(Pod, _pod_changed),
    ),
    reconcile,
    workers=10,
    prepare=_prepare,
)
