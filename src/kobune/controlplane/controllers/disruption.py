"""PodDisruptionBudget: counts healthy pods, so that the eviction API knows how many it may take."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from kobune.api.catalogue import Resource
from kobune.api.errors import ApiError, Conflict, Json, NotFound
from kobune.api.objects.apps import Deployment, ReplicaSet, StatefulSet
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Condition, Key, Object, OwnerReference, find_condition
from kobune.api.objects.policy import PodDisruptionBudget
from kobune.api.selectors import labels_from_json
from kobune.api.timestamps import format_time
from kobune.client.client import Patch
from kobune.controlplane.controllers.conditions import to_json
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps
from kobune.controlplane.controllers.deployment.rolling import share
from kobune.controlplane.controllers.ownership import index_by_namespace
from kobune.controlplane.controllers.replicaset import ReplicationController
from kobune.controlplane.controllers.scales import find_resource, get_scale
from kobune.controlplane.controllers.service_pods import Label, labels_of

DELETION_SECONDS = 120.0  # An evicted pod should be marked for deletion by then. Source: upstream DeletionTimeout.
STALE_SECONDS = (
    120.0  # A DisruptionTarget condition without a deletion is taken back. Source: stalePodDisruptionTimeout.
)
STALE_EXEMPT = "TerminationByKubelet"
# Kinds that manage pods and say how many they want; all others are asked for their scale.
SCALED: dict[tuple[str, str], type[Object]] = {
    (view.gvk.group, view.gvk.kind): view for view in (ReplicaSet, ReplicationController, StatefulSet)
}


class CannotCount(Exception):
    """How many pods there should be cannot be told; nothing may be disrupted then."""


class Count(NamedTuple):
    expected: int
    desired: int
    healthy: int
    disrupted: dict[str, datetime]  # Pods evicted but not marked for deletion yet.

    @property
    def allowed(self) -> int:
        return max(self.healthy - self.desired, 0) if self.expected > 0 else 0


async def reconcile(key: Key, context: Context) -> float | None:
    """Recount; returns when an eviction on its way will be given up."""
    budget = context.informer(PodDisruptionBudget).get(key)
    if budget is None:
        return None
    pods = pods_of(context, budget)
    if not pods:
        context.events.normal(budget, "NoPods", "No matching pods found")
    now = context.clock.now()
    try:
        scale = await expected_scale(context, budget, pods) if counts_shares(budget) else 0
        count = plan(budget, pods, scale, now)
    except (CannotCount, ApiError) as error:
        message = f"Failed to calculate the number of expected pods: {error}"
        context.events.warning(budget, "CalculateExpectedPodCountFailed", message)
        # The numbers stay those of the last count, and so does the generation that they are of.
        counted = budget.status.observed_generation
        failed = _condition(budget, "False", "SyncFailed", str(error), now, generation=counted)
        await _write(context, budget, {"disruptionsAllowed": 0, "conditions": _to_json(failed)})
        return None
    for pod in pods:
        if not pod.is_deleting and pod.name in budget.status.disrupted_pods and pod.name not in count.disrupted:
            message = f"Pod was expected by PDB {budget.key} to be deleted but it wasn't"
            context.events.warning(pod, "NotDeleted", message)
    await _report(context, budget, count, now)
    waits = [(moment - now).total_seconds() + DELETION_SECONDS for moment in count.disrupted.values()]
    return min(waits, default=None)


def counts_shares(budget: PodDisruptionBudget) -> bool:
    """Whether it matters how many pods their managers want."""
    return budget.spec.max_unavailable is not None or isinstance(budget.spec.min_available, str)


def plan(budget: PodDisruptionBudget, pods: Sequence[Pod], scale: int, now: datetime) -> Count:
    """`scale` is how many pods their managers want, where that counts. Source: upstream getExpectedPodCount."""
    most, least = budget.spec.max_unavailable, budget.spec.min_available
    if most is not None:
        expected = scale
        desired = max(expected - share(most, expected, up=True), 0)
    elif isinstance(least, str):
        expected = scale
        desired = share(least, expected, up=True)
    else:
        expected, desired = len(pods), least or 0
    staying = {pod.name for pod in pods if not pod.is_deleting}
    patience = timedelta(seconds=DELETION_SECONDS)
    disrupted = {
        name: moment
        for name, moment in budget.status.disrupted_pods.items()
        # Over at that very moment: else it would be looked at again without any wait, as long as the moment lasts.
        if name in staying and moment + patience > now
    }
    healthy = sum(pod.is_ready and not pod.is_deleting and pod.name not in disrupted for pod in pods)
    return Count(expected, desired, healthy, disrupted)


def pods_of(context: Context, budget: PodDisruptionBudget) -> list[Pod]:
    """The pods that the budget selects; found by the rarest of the labels that it asks for."""
    if budget.spec.selector is None:
        return []
    selector = labels_from_json(budget.spec.selector)
    pods = context.informer(Pod)
    exact = [Label(budget.namespace, *pair) for pair in (budget.spec.selector.get("matchLabels") or {}).items()]
    if exact:
        candidates = pods.index("label", min(exact, key=lambda label: pods.index_size("label", label)))
    else:
        candidates = pods.index("namespace", budget.namespace)
    return [pod for pod in candidates if selector.matches(pod.metadata.labels)]


async def expected_scale(context: Context, budget: PodDisruptionBudget, pods: Sequence[Pod]) -> int:
    """The sum of what the pods' managers ask for. Raises CannotCount, and ApiError where a scale cannot be read."""
    scales: dict[str, int] = {}
    unmanaged = []
    for pod in pods:
        owner = pod.metadata.controller
        if owner is None:
            unmanaged.append(pod.name)
        elif owner.uid not in scales:
            uid, scale = await _scale_of(context, pod, owner)
            scales[uid] = scale
            scales.setdefault(owner.uid, 0)
    if unmanaged:
        message = (
            f"Pods selected by this PodDisruptionBudget (selector: {labels_from_json(budget.spec.selector)}) were found to "
            "be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined "
            'behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an integer value.'
        )
        context.events.warning(budget, "UnmanagedPods", message)
    return sum(scales.values())


async def _scale_of(context: Context, pod: Pod, owner: OwnerReference) -> tuple[str, int]:
    """The uid and size of the workload at the top: a Deployment speaks for its ReplicaSets."""
    key = Key(pod.namespace, owner.name)
    group = owner.api_version.rpartition("/")[0]
    view = SCALED.get((group, owner.kind))
    if view is not None:
        item: Any = context.informer(view).get(key)
        if item is None or item.uid != owner.uid:
            raise CannotCount(f'found no controllers for pod "{pod.name}"')
        above = item.metadata.controller
        if view is ReplicaSet and above is not None and above.kind == "Deployment":
            deployment = context.informer(Deployment).get(Key(pod.namespace, above.name))
            if deployment is not None and deployment.uid == above.uid:
                return deployment.uid, deployment.spec.replicas
        return item.uid, item.spec.replicas
    resource = await find_resource(context, group, owner.kind)
    if resource is None:
        version = owner.api_version.rpartition("/")[2]
        raise CannotCount(f'no matches for kind "{owner.kind}" in version "{f"{group}/{version}".removeprefix("/")}"')
    try:
        scale = await get_scale(context, resource, key)
    except NotFound:
        if await _exists(context, resource, key):
            name = f"{resource.plural}.{resource.group}".removesuffix(".")
            raise CannotCount(f"{name} does not implement the scale subresource") from None
        raise CannotCount(f'found no controllers for pod "{pod.name}"') from None
    if scale.uid != owner.uid:
        raise CannotCount(f'found no controllers for pod "{pod.name}"')
    return scale.uid, scale.replicas


async def _exists(context: Context, resource: Resource, key: Key) -> bool:
    try:
        await context.client.call("GET", resource.path(key.namespace, key.name))
    except NotFound:
        return False
    return True


async def _report(context: Context, budget: PodDisruptionBudget, count: Count, now: datetime) -> None:
    old = budget.status
    verdict = ("True", "SufficientPods", "") if count.allowed > 0 else ("False", "InsufficientPods", "")
    conditions = _condition(budget, *verdict, now, generation=budget.metadata.generation)
    before = (old.expected_pods, old.desired_healthy, old.current_healthy, old.disruptions_allowed, old.disrupted_pods)
    after = (count.expected, count.desired, count.healthy, count.allowed, count.disrupted)
    if before == after and conditions == old.conditions and old.observed_generation == budget.metadata.generation:
        return
    gone: Json = {name: None for name in old.disrupted_pods if name not in count.disrupted}
    kept = {name: format_time(moment) for name, moment in count.disrupted.items()}
    status: Json = {
        "observedGeneration": budget.metadata.generation,
        "expectedPods": count.expected,
        "desiredHealthy": count.desired,
        "currentHealthy": count.healthy,
        "disruptionsAllowed": count.allowed,
        "conditions": _to_json(conditions),
    }
    if gone or kept:
        status["disruptedPods"] = {**gone, **kept}
    await _write(context, budget, status)


async def _write(context: Context, budget: PodDisruptionBudget, status: Json) -> None:
    # Evictions write this status too: ours must not undo one that it has not seen.
    metadata = {"resourceVersion": budget.metadata.resource_version}
    await context.client.patch(
        PodDisruptionBudget, budget.key, {"metadata": metadata, "status": status}, subresource="status"
    )


def _to_json(conditions: Sequence[Condition]) -> list[Json]:
    """Their message is written even when there is none: the field is required."""
    return [{"message": "", **each} for each in to_json(conditions)]


def _condition(
    budget: PodDisruptionBudget, status: str, reason: str, message: str, now: datetime, *, generation: int
) -> list[Condition]:
    known = find_condition(budget.status.conditions, "DisruptionAllowed")
    unchanged = known is not None and (known.status, known.reason, known.message) == (status, reason, message)
    if known is not None and unchanged and known.observed_generation == generation:
        return budget.status.conditions
    since = known.last_transition_time if known is not None and known.status == status else now.replace(microsecond=0)
    new = Condition(
        type="DisruptionAllowed",
        status=status,
        reason=reason,
        message=message,
        observed_generation=generation,
        last_transition_time=since,
    )
    return [*(each for each in budget.status.conditions if each.type != new.type), new]


async def reconcile_stale(key: Key, context: Context) -> float | None:
    """Take back a pod's DisruptionTarget condition when no deletion has followed; returns the seconds left."""
    pod = context.informer(Pod).get(key)
    found = stale_condition(pod)
    if pod is None or found is None or found.last_transition_time is None:
        return None
    left = STALE_SECONDS - (context.clock.now() - found.last_transition_time).total_seconds()
    if left > 0:
        return left
    condition: Mapping[str, object] = {
        "type": "DisruptionTarget",
        "status": "False",
        "lastTransitionTime": format_time(context.clock.now()),
        "reason": None,
        "message": None,
    }
    patch = {"metadata": {"resourceVersion": pod.metadata.resource_version}, "status": {"conditions": [condition]}}
    try:
        await context.client.patch(Pod, key, patch, how=Patch.STRATEGIC, subresource="status")
    except Conflict:
        return 1.0
    return None


def stale_condition(pod: Pod | None) -> Condition | None:
    """The condition that a pod should not keep for long."""
    if pod is None or pod.is_deleting or pod.is_finished:
        return None
    found = find_condition(pod.status.conditions, "DisruptionTarget")
    return found if found is not None and found.status == "True" and found.reason != STALE_EXEMPT else None


def _budgets_of(context: Context, old: Pod | None, new: Pod | None) -> Iterable[Key]:
    pod = new or old
    budgets = context.informer(PodDisruptionBudget).index("namespace", pod.namespace) if pod is not None else ()
    if not budgets or (old is not None and new is not None and _seen(old) == _seen(new)):
        return ()
    return [
        budget.key
        for budget in budgets
        if budget.spec.selector is not None
        and any(
            labels_from_json(budget.spec.selector).matches(each.metadata.labels)
            for each in (old, new)
            if each is not None
        )
    ]


def _seen(pod: Pod) -> tuple[object, ...]:
    return (pod.metadata.labels, pod.is_ready, pod.is_deleting, pod.metadata.controller)


def _budgets_of_namespace(context: Context, old: Object | None, new: Object | None) -> Iterable[Key]:
    """A workload was scaled: its namespace's budgets are recounted."""
    if old is None or new is None or old.metadata.generation == new.metadata.generation:
        return ()
    return [budget.key for budget in context.informer(PodDisruptionBudget).index("namespace", new.namespace)]


def _stale_pods(_context: Context, _old: Pod | None, new: Pod | None) -> Iterable[Key]:
    return (new.key,) if new is not None and stale_condition(new) is not None else ()


def _prepare(context: Context) -> None:
    index_by_namespace(context, PodDisruptionBudget)
    index_by_namespace(context, Pod)
    context.informer(Pod).add_index("label", labels_of)


CONTROLLERS = (
    Controller(
        "disruption-controller",
        (
            For(PodDisruptionBudget),
            Maps(Pod, _budgets_of),
            *(
                Maps(view, _budgets_of_namespace)
                for view in (Deployment, ReplicaSet, ReplicationController, StatefulSet)
            ),
        ),
        reconcile,
        prepare=_prepare,
        component="controllermanager",
    ),
    Controller("disruption-controller", (Maps(Pod, _stale_pods),), reconcile_stale),
)
