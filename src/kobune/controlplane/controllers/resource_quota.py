"""Counts what each ResourceQuota limits, and writes it into its status.

Admission charges a quota for what is created, before it is there to be counted. So a count may find too little, of which
others would take advantage: only when something has been freed, and now and then, is the record lowered.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any, ClassVar

import msgspec

from kobune.api.errors import Json
from kobune.api.objects.apps import DaemonSet, Deployment, ReplicaSet, StatefulSet
from kobune.api.objects.batch import CronJob, Job
from kobune.api.objects.core import Quantities, Service
from kobune.api.objects.lean import AnyObject, Pod
from kobune.api.objects.meta import GVK, Key, Object, View
from kobune.api.objects.storage import PersistentVolumeClaim
from kobune.api.quantity import format_binary, format_decimal, parse_quantity
from kobune.api.quota.amounts import Amounts
from kobune.api.quota.scopes import scopes_of
from kobune.api.quota.usage import Measure, measure_of
from kobune.client.client import resource_of
from kobune.controlplane.controllers.controller import Context, Controller, Maps
from kobune.controlplane.controllers.devices.resource_claim import ResourceClaim
from kobune.controlplane.controllers.ownership import index_by_namespace
from kobune.controlplane.controllers.quota_kinds import OtherKinds
from kobune.controlplane.controllers.replicaset import ReplicationController

RESYNC_SECONDS = 300.0  # Finds what was charged and never created. Source: upstream --resource-quota-sync-period.
LOOK_SECONDS = 0.1  # While a kind that a quota names has not been counted for the first time.
Number = int | Fraction


class ResourceQuotaSpec(View):
    hard: Quantities = msgspec.field(default_factory=dict)
    scopes: list[str] = msgspec.field(default_factory=list)
    scope_selector: dict[str, Any] | None = None


class ResourceQuotaStatus(View):
    hard: Quantities = msgspec.field(default_factory=dict)
    used: Quantities = msgspec.field(default_factory=dict)


class ResourceQuota(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "ResourceQuota")
    spec: ResourceQuotaSpec = msgspec.field(default_factory=ResourceQuotaSpec)
    status: ResourceQuotaStatus = msgspec.field(default_factory=ResourceQuotaStatus)


class ConfigMapName(AnyObject):
    """ConfigMaps, to count them."""

    gvk: ClassVar[GVK] = GVK("", "v1", "ConfigMap")


class SecretName(AnyObject):
    """Secrets, to count them."""

    gvk: ClassVar[GVK] = GVK("", "v1", "Secret")


COUNTED: tuple[type[Object], ...] = (
    Pod, Service, PersistentVolumeClaim, ResourceClaim, ConfigMapName, SecretName, ReplicationController, ResourceQuota, Deployment,
    ReplicaSet, StatefulSet, DaemonSet, Job, CronJob,
)  # fmt: skip
MEASURES: dict[type[Object], Measure] = {
    view: measure_of(resource_of(view).group, resource_of(view).plural) for view in COUNTED
}

# Kinds of which more than the number counts; nothing need be known of the others' objects.
WEIGHED = (Pod, Service, PersistentVolumeClaim, ResourceClaim)


class Charged:
    """What each pod was found to use, by uid, while its resourceVersion stays."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Amounts]] = {}

    def usage(self, view: type[Object], item: Object, now: datetime) -> Amounts:
        """What an object uses now."""
        if view not in WEIGHED:
            return MEASURES[view].usage({}, now)
        if view is not Pod or item.is_deleting:  # What is being deleted stops counting with time.
            return MEASURES[view].usage(to_wire(item), now)
        meta = item.metadata
        known = self._known.get(meta.uid)
        if known is None or known[0] != meta.resource_version:
            known = self._known[meta.uid] = (meta.resource_version, MEASURES[view].usage(to_wire(item), now))
        return known[1]

    def forget(self, uid: str) -> None:
        self._known.pop(uid, None)


class Freed:
    """Which quotas have had something freed since their last count, and when each was last counted downwards."""

    def __init__(self) -> None:
        self.keys: set[Key] = set()
        self.counted: dict[Key, float] = {}


async def reconcile(key: Key, context: Context) -> float | None:
    """Recount one quota; the seconds until the next count."""
    quota = context.informer(ResourceQuota).get(key)
    freed, now = context.own(Freed), context.clock.monotonic()
    if quota is None or quota.is_deleting:
        freed.keys.discard(key)
        freed.counted.pop(key, None)
        return None
    namespace = key.namespace
    items = {view: context.informer(view).index("namespace", namespace) for view in COUNTED}
    moment, charged = context.clock.now(), context.own(Charged)
    used = plan(quota, items, lambda view, item: charged.usage(view, item, moment))
    unknown = [name for name in quota.spec.hard if name.startswith("count/") and name not in used]
    counts, missing = await context.own(OtherKinds).counts(unknown, namespace, context)
    used |= counts
    hard = {name: str(amount) for name, amount in quota.spec.hard.items()}
    status = quota.status
    settled = hard == {name: str(amount) for name, amount in status.hard.items()}
    if settled and key not in freed.keys and now - freed.counted.get(key, now) < RESYNC_SECONDS:
        used = {name: _greater(amount, status.used.get(name)) for name, amount in used.items()}
    else:
        freed.counted[key] = now
    freed.counted.setdefault(key, now)
    was_freed = key in freed.keys
    freed.keys.discard(key)
    again = RESYNC_SECONDS if not missing else LOOK_SECONDS
    if settled and used == status.used:
        return again
    gone: Json = {name: None for name in status.used if name not in used}
    gone_hard: Json = {name: None for name in status.hard if name not in hard}
    # Only over the record that was looked at: what admission has charged since would be lost.
    version = {"resourceVersion": quota.metadata.resource_version}
    wanted = {"hard": {**gone_hard, **hard}, "used": {**gone, **used}}
    try:
        await context.client.patch(ResourceQuota, key, {"metadata": version, "status": wanted}, subresource="status")
    except BaseException:
        if was_freed:
            freed.keys.add(key)
        raise
    return again


def _greater(amount: str, recorded: str | int | float | None) -> str:
    return amount if recorded is None or parse_quantity(amount) > parse_quantity(recorded) else str(recorded)


def plan(
    quota: ResourceQuota,
    items: Mapping[type[Object], Sequence[Any]],
    usage: Callable[[type[Object], Object], Amounts],
) -> dict[str, str]:
    """What is used of each resource that the quota limits and that is counted here; `usage` tells it of one object."""
    used: dict[str, str] = {}
    scopes = scopes_of(to_wire(quota))
    for view, measure in MEASURES.items():
        names = [name for name in quota.spec.hard if measure.covers(name)]
        if not names:
            continue
        amounts: dict[str, list[str]] = {name: [] for name in names}
        for item in items.get(view, ()):
            if scopes and (view not in WEIGHED or not _in_scopes(scopes, measure, to_wire(item))):
                continue
            found = usage(view, item)
            for name in names:
                if name in found:
                    amounts[name].append(found[name])
        used |= {name: total(each) for name, each in amounts.items()}
    return used


def _in_scopes(scopes: Iterable[Json], measure: Measure, obj: Json) -> bool:
    return all(measure.in_scope(scope, obj) for scope in scopes)


def to_wire(item: Object) -> Json:
    """The object as far as its view goes, as the API has it."""
    wire: Json = msgspec.to_builtins(item)
    return wire


def total(amounts: Iterable[str | int | float]) -> str:
    """The sum, in the family of units of the first amount that is not zero, as upstream adds."""
    value: Number = 0
    binary: bool | None = None
    for amount in amounts:
        number = parse_quantity(amount)
        if number and binary is None:
            binary = str(amount).endswith("i")
        value += number
    return format_binary(value) if binary else format_decimal(value)


def _quotas_of(context: Context, old: Object | None, new: Object | None) -> Iterable[Key]:
    """Creations and deletions count, and of pods, Services and claims what changes their amounts."""
    item = new or old
    quotas = context.informer(ResourceQuota)
    if item is None:
        return ()
    if old is not None and new is not None and not quotas.index_size("namespace", item.namespace):
        return ()  # As in most namespaces.
    if isinstance(old, Pod) and isinstance(new, Pod):
        # Being sent to a node frees nothing, and a recount now might miss pods that were charged a moment ago.
        before = msgspec.structs.replace(old.spec, node_name=new.spec.node_name)
        if (old.is_finished, before, _granted(old)) == (new.is_finished, new.spec, _granted(new)):
            return ()
    elif isinstance(old, PersistentVolumeClaim) and isinstance(new, PersistentVolumeClaim):
        if (old.spec, old.status) == (new.spec, new.status):
            return ()
    elif isinstance(old, Service | ResourceClaim) and isinstance(new, Service | ResourceClaim):
        if old.spec == new.spec:
            return ()
    elif old is not None and new is not None:
        return ()
    keys = [each.key for each in quotas.index("namespace", item.namespace)]
    if old is not None:
        context.own(Freed).keys.update(keys)
        if new is None:
            context.own(Charged).forget(old.uid)
    return keys


def _granted(pod: Pod) -> list[object]:
    """What its containers have, which a resize changes."""
    return [each.resources for each in pod.status.container_statuses]


def _changed(context: Context, old: ResourceQuota | None, new: ResourceQuota | None) -> Iterable[Key]:
    """A quota whose limits are new or others; what admission charges is right already."""
    if new is None:
        return _quotas_of(context, old, new)
    return () if old is not None and old.spec == new.spec else (new.key,)


def _prepare(context: Context) -> None:
    for view in COUNTED:
        index_by_namespace(context, view)


async def _watch_other_kinds(context: Context) -> None:
    others = context.own(OtherKinds)

    def on_change(old: Object | None, new: Object | None) -> None:
        for key in _quotas_of(context, old, new):
            context.queue.add(key)

    others.on_change = on_change
    await others.run()


CONTROLLER = Controller(
    "resourcequota-controller",
    (Maps(ResourceQuota, _changed), *(Maps(view, _quotas_of) for view in COUNTED if view is not ResourceQuota)),
    reconcile,
    prepare=_prepare,
    beside=_watch_other_kinds,
)
