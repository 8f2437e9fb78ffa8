"""ReplicaSet and ReplicationController: as many live pods as asked for."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, NamedTuple

import orjson

from kobune.api.errors import ApiError, Json
from kobune.api.objects.apps import ReplicaSet
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import GVK, Condition, Key, find_condition
from kobune.api.selectors import LabelSelector, labels_from_json, labels_from_map
from kobune.controlplane.controllers.conditions import omit_zeros, to_json
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps, Owns
from kobune.controlplane.controllers.ownership import claim, index_by_namespace, owners_matching
from kobune.controlplane.controllers.pods import (
    Unseen,
    create_pod,
    delete_pod,
    first_to_delete,
    index_by_controller,
    is_available,
    next_availability,
    pod_manifest,
    slow_start,
    watch_deletions,
)

BURST = 500  # Pods changed per pass. Source: upstream ReplicaSet controller, BurstReplicas.
BEHIND_SECONDS = 1.0  # How soon to look again when the informer lags; its news comes by itself, this is the safety net.


class ReplicationController(ReplicaSet):
    """The same in the core group, but for its selector, which is a plain map."""

    gvk: ClassVar[GVK] = GVK("", "v1", "ReplicationController")


class Change(NamedTuple):
    create: int
    delete: Sequence[Pod]


def selector_of(owner: Any) -> LabelSelector:
    """Whom the ReplicaSet or ReplicationController selects; an empty selector selects nothing."""
    if isinstance(owner, ReplicationController):
        return labels_from_map(owner.spec.selector) if owner.spec.selector else labels_from_json(None)
    return labels_from_json(owner.spec.selector or None)


async def reconcile(view: type[ReplicaSet], key: Key, context: Context) -> float | None:
    """One pass: count, correct, report."""
    rs = context.informer(view).get(key)
    if rs is None:
        return None
    unseen, now = context.own(Unseen), context.clock.monotonic()
    if unseen.is_behind(key, Pod, context.informer(Pod), now):
        return BEHIND_SECONDS
    pods = await claim(context, rs, selector_of(rs), Pod)
    live = [pod for pod in pods if pod.is_active and not unseen.is_condemned(pod.uid, now)]
    failure: BaseException | None = None
    if not rs.is_deleting:
        change = plan(rs, live, lambda: related_pods(context, view, rs, live), context.clock.now())
        try:
            await act(context, rs, change)
        except* ApiError as errors:
            failure = first_of(errors)
    terminating = [pod for pod in pods if pod.is_deleting and not pod.is_finished]
    now_utc = context.clock.now()
    status = replica_status(rs, live, len(terminating), failure, now_utc)
    if status is not None:
        await context.client.patch_status(view, key, status)
    if failure is not None:
        raise failure
    return next_availability(live, rs.spec.min_ready_seconds, now_utc)


def plan(rs: ReplicaSet, live: Sequence[Pod], related: Any, now: datetime) -> Change:
    """The pods to add or remove, never both. `related` is called only when pods must go."""
    missing = rs.spec.replicas - len(live)
    if missing >= 0:
        return Change(create=min(missing, BURST), delete=())
    return Change(create=0, delete=first_to_delete(live, related(), now)[: min(-missing, BURST)])


async def act(context: Context, rs: ReplicaSet, change: Change) -> None:
    """Create and delete as planned; failures come as a group."""
    if change.create:
        template = bytes(rs.spec.template)

        async def create() -> None:
            await create_pod(context, rs, pod_manifest(template, rs))

        await slow_start(change.create, create)
    async with asyncio.TaskGroup() as group:
        for pod in change.delete:
            group.create_task(delete_pod(context, rs, pod))


def related_pods(context: Context, view: type[ReplicaSet], rs: ReplicaSet, live: Sequence[Pod]) -> Sequence[Pod]:
    """Live pods of all ReplicaSets with the same manager, so that a rollout's scale-down empties crowded nodes first."""
    manager = rs.metadata.controller
    if manager is None:
        return live
    siblings = context.informer(view).index("controller", manager.uid)
    pods = context.informer(Pod)
    return [pod for sibling in siblings for pod in pods.index("controller", sibling.uid) if pod.is_active]


def replica_status(
    rs: ReplicaSet, live: Sequence[Pod], terminating: int, failure: BaseException | None, now: datetime
) -> Json | None:
    """The status to write; None when it says so already."""
    wanted = labels_from_map((orjson.loads(bytes(rs.spec.template)).get("metadata") or {}).get("labels"))
    ready = [pod for pod in live if pod.is_ready]
    counts = {
        "replicas": len(live),
        "fullyLabeledReplicas": sum(wanted.matches(pod.metadata.labels) for pod in live),
        "readyReplicas": len(ready),
        "availableReplicas": sum(is_available(pod, rs.spec.min_ready_seconds, now) for pod in ready),
        "observedGeneration": rs.metadata.generation,
    }
    if not isinstance(rs, ReplicationController):
        counts["terminatingReplicas"] = terminating
    conditions = _failure_conditions(rs, len(live), failure, now)
    old = rs.status
    before = {
        "replicas": old.replicas,
        "fullyLabeledReplicas": old.fully_labeled_replicas,
        "readyReplicas": old.ready_replicas,
        "availableReplicas": old.available_replicas,
        "observedGeneration": old.observed_generation,
        "terminatingReplicas": old.terminating_replicas,
    }
    if conditions == old.conditions and all(before[name] == value for name, value in counts.items()):
        return None
    # Zero replicas and terminating replicas are said, the other zeros left out, as upstream writes them.
    status = omit_zeros(counts, keep=("replicas", "terminatingReplicas"))
    if conditions or old.conditions:
        status["conditions"] = to_json(conditions) or None
    return status


def _failure_conditions(rs: ReplicaSet, live: int, failure: BaseException | None, now: datetime) -> list[Condition]:
    known = find_condition(rs.status.conditions, "ReplicaFailure")
    if failure is not None and known is None:
        reason = "FailedCreate" if live < rs.spec.replicas else "FailedDelete"
        moment = now.replace(microsecond=0)
        found = Condition(
            type="ReplicaFailure", status="True", reason=reason, message=str(failure), last_transition_time=moment
        )
        return [*rs.status.conditions, found]
    if failure is None and known is not None:
        return [condition for condition in rs.status.conditions if condition is not known]
    return rs.status.conditions


def first_of(errors: BaseExceptionGroup[ApiError]) -> BaseException:
    """One error that stands for a group of the like."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _prepare(view: type[ReplicaSet], context: Context) -> None:
    index_by_controller(context)
    index_by_controller(context, view)
    index_by_namespace(context, view)
    watch_deletions(context)


def _controller(name: str, view: type[ReplicaSet], component: str) -> Controller:
    return Controller(
        name,
        (For(view), Owns(Pod), Maps(Pod, owners_matching(view, selector_of))),
        partial(reconcile, view),
        component=component,
        prepare=partial(_prepare, view),
    )


CONTROLLERS = (
    _controller("replicaset-controller", ReplicaSet, "replicaset-controller"),
    _controller("replicationcontroller-controller", ReplicationController, "replication-controller"),
)
