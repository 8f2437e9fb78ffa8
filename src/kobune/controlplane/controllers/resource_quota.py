"""Counts what each ResourceQuota limits, and writes it into its status.

Admission charges a quota for what is created, before it is there to be counted. So a count may find too little, of which
others would take advantage: only when something has been freed, and now and then, is the record lowered.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar

import msgspec

from kobune.api.errors import Json
from kobune.api.objects.apps import DaemonSet, Deployment, ReplicaSet, StatefulSet
from kobune.api.objects.batch import CronJob, Job
from kobune.api.objects.core import Quantities, Service
from kobune.api.objects.lean import AnyObject, LeanContainer, Pod
from kobune.api.objects.meta import GVK, Key, Object, View
from kobune.api.objects.storage import PersistentVolumeClaim
from kobune.api.quantity import format_binary, format_decimal, parse_quantity
from kobune.client.client import resource_of
from kobune.controlplane.controllers.controller import Context, Controller, Maps
from kobune.controlplane.controllers.ownership import index_by_namespace
from kobune.controlplane.controllers.quota_kinds import OtherKinds
from kobune.controlplane.controllers.replicaset import ReplicationController

RESYNC_SECONDS = 300.0  # Finds what was charged and never created. Source: upstream --resource-quota-sync-period.
LOOK_SECONDS = 0.1  # While a kind that a quota names has not been counted for the first time.
COMPUTE = ("cpu", "memory", "ephemeral-storage")
Number = int | Fraction


class ScopeRequirement(View):
    scope_name: str = ""
    operator: str = "Exists"
    values: list[str] = msgspec.field(default_factory=list)


class ScopeSelector(View):
    match_expressions: list[ScopeRequirement] = msgspec.field(default_factory=list)


class ResourceQuotaSpec(View):
    hard: Quantities = msgspec.field(default_factory=dict)
    scopes: list[str] = msgspec.field(default_factory=list)
    scope_selector: ScopeSelector | None = None


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
    Pod, Service, PersistentVolumeClaim, ConfigMapName, SecretName, ReplicationController, ResourceQuota, Deployment, ReplicaSet,
    StatefulSet, DaemonSet, Job, CronJob,
)  # fmt: skip
# Kinds that are counted under their plain name too.
BY_PLAIN_NAME = (Service, ConfigMapName, SecretName, ReplicationController, ResourceQuota, PersistentVolumeClaim)


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
    used = plan(quota, items)
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


def plan(quota: ResourceQuota, items: Mapping[type[Object], Sequence[Any]]) -> dict[str, str]:
    """What is used of each resource that the quota limits and that is counted here."""
    used: dict[str, str] = {}
    scopes = _scopes(quota)
    pods = [pod for pod in items.get(Pod, ()) if not pod.is_finished and all(matches(pod, each) for each in scopes)]
    for name in quota.spec.hard:
        amounts = _pod_amounts(name, pods)
        if amounts is None and not scopes:
            amounts = _other_amounts(name, items)
        if amounts is not None:
            used[name] = total(amounts)
    return used


def matches(pod: Pod, scope: ScopeRequirement) -> bool:
    """The pod is within the scope. Source: upstream podMatchesScopeFunc."""
    name = scope.scope_name
    if name in ("Terminating", "NotTerminating"):
        return (pod.spec.active_deadline_seconds is not None) == (name == "Terminating")
    if name in ("BestEffort", "NotBestEffort"):
        plain = not any(each.resources.requests or each.resources.limits for each in _containers(pod))
        return plain == (name == "BestEffort")
    if name == "PriorityClass":
        priority = pod.spec.priority_class_name
        return {
            "Exists": bool(priority),
            "DoesNotExist": not priority,
            "In": priority in scope.values,
            "NotIn": priority not in scope.values,
        }.get(scope.operator, False)
    return False


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


def _scopes(quota: ResourceQuota) -> list[ScopeRequirement]:
    selector = quota.spec.scope_selector
    named = [ScopeRequirement(scope_name=each) for each in quota.spec.scopes]
    return [*named, *(selector.match_expressions if selector else ())]


def _pod_amounts(name: str, pods: Sequence[Pod]) -> list[str | int | float] | None:
    """Each pod's amount of a resource; None for what is no resource of pods."""
    if name in ("pods", "count/pods"):
        return [1 for _ in pods]
    kind, _, resource = name.partition(".")
    if name in COMPUTE:
        kind, resource = "requests", name
    if kind not in ("requests", "limits") or resource == "storage":
        return None
    return [_pod_amount(pod, lambda each: getattr(each.resources, kind), resource) for pod in pods]


def _pod_amount(pod: Pod, of: Callable[[LeanContainer], Quantities], resource: str) -> str:
    """What the pod needs at its busiest: its containers and sidecars together, or an init container on top of sidecars."""
    running = [of(each).get(resource, "0") for each in pod.spec.containers]
    sidecars: list[str | int | float] = []
    busiest = "0"
    for each in pod.spec.init_containers:
        amount = of(each).get(resource, "0")
        if each.restart_policy == "Always":
            sidecars.append(amount)
        else:
            busiest = max(busiest, total([*sidecars, amount]), key=parse_quantity)
    return max(total([*running, *sidecars]), busiest, key=parse_quantity)


def _containers(pod: Pod) -> list[LeanContainer]:
    return [*pod.spec.containers, *pod.spec.init_containers]


def _other_amounts(name: str, items: Mapping[type[Object], Sequence[Any]]) -> list[str | int | float] | None:
    claims: Sequence[PersistentVolumeClaim] = items.get(PersistentVolumeClaim, ())
    services: Sequence[Service] = items.get(Service, ())
    storage_class, found, rest = name.partition(".storageclass.storage.k8s.io/")
    if found:
        claims = [each for each in claims if each.spec.storage_class_name == storage_class]
        name = rest
    if name == "requests.storage":
        return [each.spec.resources.requests.get("storage", "0") for each in claims]
    if found:
        return [1 for _ in claims] if name == "persistentvolumeclaims" else None
    if name == "services.loadbalancers":
        return [1 for each in services if each.spec.type == "LoadBalancer"]
    if name == "services.nodeports":
        return [sum(port.node_port > 0 for port in each.spec.ports) for each in services]
    for view in COUNTED:
        resource = resource_of(view)
        full = f"count/{resource.plural}.{resource.group}" if resource.group else f"count/{resource.plural}"
        if name == full or (view in BY_PLAIN_NAME and name == resource.plural):
            return [1 for _ in items.get(view, ())]
    return None


def _quotas_of(context: Context, old: Object | None, new: Object | None) -> Iterable[Key]:
    """Creations and deletions count, and of pods, Services and claims what changes their amounts."""
    item = new or old
    if item is None:
        return ()
    if isinstance(old, Pod) and isinstance(new, Pod):
        # Being sent to a node frees nothing, and a recount now might miss pods that were charged a moment ago.
        before = msgspec.structs.replace(old.spec, node_name=new.spec.node_name)
        if (old.is_finished, before) == (new.is_finished, new.spec):
            return ()
    elif isinstance(old, Service | PersistentVolumeClaim) and isinstance(new, Service | PersistentVolumeClaim):
        if old.spec == new.spec:
            return ()
    elif old is not None and new is not None:
        return ()
    keys = [each.key for each in context.informer(ResourceQuota).index("namespace", item.namespace)]
    if old is not None:
        context.own(Freed).keys.update(keys)
    return keys


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
