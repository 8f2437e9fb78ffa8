"""Pods as controllers see and make them: pods from templates, pods not seen yet, and which pod to delete first."""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import orjson

from kobune.api.errors import ApiError, Json, NotFound
from kobune.api.objects.core import PENDING, RUNNING, AnyPod
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key, Object
from kobune.api.timestamps import format_time
from kobune.client.client import Patch
from kobune.client.informer import Informer
from kobune.controlplane.controllers.controller import Context

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def index_by_controller(context: Context, view: type[Object] = Pod) -> None:
    """Let `dependents` find objects by the uid of what manages them, or by namespace when nothing does."""
    context.informer(view).add_index("controller", controller_index)


def controller_index(item: Object) -> tuple[str]:
    """The uid of the managing owner; of an object without one, `orphans_of` its namespace."""
    owner = item.metadata.controller
    return (owner.uid if owner is not None else orphans_of(item.metadata.namespace),)


def orphans_of(namespace: str) -> str:
    """The entry of a namespace's unmanaged objects; no uid has a slash."""
    return f"orphans/{namespace}"


def index_by_node(context: Context) -> None:
    """Let pods be found by node."""
    context.informer(Pod).add_index("node", lambda pod: (pod.spec.node_name,))


def pod_manifest(template: bytes, owner: Object, *, name: str = "", labels: dict[str, str] | None = None) -> Json:
    """A pod as a workload's template describes it, managed by `owner`; named, or with a generated name."""
    parts = orjson.loads(template)
    given = parts.get("metadata") or {}
    metadata: Json = {
        "namespace": owner.namespace,
        "labels": {**(given.get("labels") or {}), **(labels or {})},
        "ownerReferences": [controller_reference(owner)],
    }
    for field in ("annotations", "finalizers"):
        if given.get(field):
            metadata[field] = given[field]
    if name:
        metadata["name"] = name
    metadata["generateName"] = f"{owner.name}-"
    return {"metadata": metadata, "spec": parts.get("spec") or {}}


def controller_reference(owner: Object) -> Json:
    """The owner reference by which `owner` manages an object."""
    return {
        "apiVersion": owner.gvk.api_version,
        "kind": owner.gvk.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_available(pod: AnyPod, min_ready_seconds: int, now: datetime) -> bool:
    """Ready for at least so long."""
    since = pod.ready_since
    if since is None:
        return pod.is_ready and min_ready_seconds == 0
    return min_ready_seconds == 0 or now - since >= timedelta(seconds=min_ready_seconds)


def next_availability(pods: Iterable[AnyPod], min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until the next ready pod becomes available; None when time alone will make none so."""
    if min_ready_seconds == 0:
        return None
    waits = (min_ready_seconds - (now - pod.ready_since).total_seconds() for pod in pods if pod.ready_since is not None)
    return min((wait for wait in waits if wait > 0), default=None)


def first_to_delete(pods: Sequence[Pod], related: Sequence[Pod], now: datetime) -> list[Pod]:
    """The pods in the order in which a scale-down deletes them. Source: upstream ActivePodsWithRanks.

    Unscheduled before scheduled, pending before running, not ready before ready, cheap before dear, crowded before alone
    (counting `related` pods on the same node), lately ready before long ready, often restarted before steady, young
    before old. Times count by magnitude only, so that which of two pods of like age goes is left to their uids.
    """
    crowd = Counter(pod.spec.node_name for pod in related if pod.spec.node_name)
    ranks = {PENDING: 0, RUNNING: 2}

    def order(pod: Pod) -> tuple[object, ...]:
        return (
            bool(pod.spec.node_name),
            ranks.get(pod.status.phase, 1),
            pod.is_ready,
            _deletion_cost(pod),
            -crowd[pod.spec.node_name],
            _magnitude(now, pod.ready_since),
            -max((status.restart_count for status in pod.status.container_statuses), default=0),
            _magnitude(now, pod.metadata.creation_timestamp),
            pod.uid,
        )

    return sorted(pods, key=order)


async def slow_start(count: int, act: Callable[[], Awaitable[None]]) -> None:
    """Act so often, concurrently, in batches of 1, 2, 4, …; after a batch with failures stop and raise them.

    So a quota or webhook that refuses every pod is asked once, not `count` times. Source: upstream slowStartBatch.
    """
    batch, left = 1, count
    while left > 0:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(batch, left)):
                group.create_task(_act(act))
        left -= batch
        batch *= 2


class Unseen:
    """What a controller has written and its informers may not show yet, so that no stale count is acted on twice.

    Creations are waited for by resourceVersion: an informer that has come so far has shown them. Deletions are remembered
    by uid until the informer confirms them.
    """

    PATIENCE = 300.0  # Seconds. Source: upstream ExpectationsTimeout.

    def __init__(self) -> None:
        self._awaited: dict[tuple[type[Object], Key], tuple[int, float]] = {}
        self._condemned: dict[str, float] = {}

    def wrote(self, owner: Key, item: Object, now: float) -> None:
        """`item` was created or changed for `owner`."""
        revision = _revision(item.metadata.resource_version)
        key = (type(item), owner)
        if revision > self._awaited.get(key, (0, 0.0))[0]:
            self._awaited[key] = (revision, now + self.PATIENCE)

    def is_behind(self, owner: Key, view: type[Object], informer: Informer[Any], now: float) -> bool:
        """The informer does not show yet what was written for `owner`."""
        awaited = self._awaited.get((view, owner))
        if awaited is None:
            return False
        if _revision(informer.revision) >= awaited[0] or now > awaited[1]:
            del self._awaited[view, owner]
            return False
        return True

    def condemn(self, uid: str, now: float) -> None:
        """The object is being deleted by us."""
        self._condemned[uid] = now + self.PATIENCE

    def spare(self, uid: str) -> None:
        """The object's deletion is confirmed, or has failed."""
        self._condemned.pop(uid, None)

    def is_condemned(self, uid: str, now: float) -> bool:
        until = self._condemned.get(uid)
        return until is not None and now < until


def watch_deletions(context: Context) -> None:
    """Let the context's Unseen know of confirmed pod deletions."""
    unseen = context.own(Unseen)

    def on_change(_old: Pod | None, new: Pod | None) -> None:
        gone = _old if new is None else new if new.metadata.deletion_timestamp is not None else None
        if gone is not None:
            unseen.spare(gone.metadata.uid)

    context.informer(Pod).on_change(on_change)


async def create_pod(context: Context, owner: Object, manifest: Json) -> Pod:
    """Create a pod for `owner`, remember it as unseen, and say so in an event; a failure is an event too, and raised."""
    try:
        pod = await context.client.create(Pod, manifest)
    except ApiError as error:
        if not is_namespace_terminating(error):
            context.events.warning(owner, "FailedCreate", f"Error creating: {error}")
        raise
    context.own(Unseen).wrote(owner.key, pod, context.clock.monotonic())
    context.events.normal(owner, "SuccessfulCreate", f"Created pod: {pod.name}")
    return pod


async def delete_pod(context: Context, owner: Object, pod: Pod) -> None:
    """Delete a pod of `owner`'s, in the same manner."""
    unseen = context.own(Unseen)
    unseen.condemn(pod.uid, context.clock.monotonic())
    try:
        await context.client.delete(Pod, pod.key, uid=pod.uid)
    except NotFound:
        return
    except ApiError as error:
        unseen.spare(pod.uid)
        context.events.warning(owner, "FailedDelete", f"Error deleting: {error}")
        raise
    context.events.normal(owner, "SuccessfulDelete", f"Deleted pod: {pod.name}")


def disruption_target(reason: str, message: str, now: datetime) -> Json:
    """The condition that says why a pod is about to be taken from its owner."""
    return {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": format_time(now),
    }


async def disrupt(context: Context, pod: Pod, reason: str, message: str) -> None:
    """Delete a pod that has done nothing wrong, its condition saying why; one that is gone already needs nothing."""
    condition = disruption_target(reason, message, context.clock.now())
    patch = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
    with suppress(NotFound):
        await context.client.patch(Pod, pod.key, patch, how=Patch.STRATEGIC, subresource="status")
        await context.client.delete(Pod, pod.key, uid=pod.uid)


def is_namespace_terminating(error: ApiError) -> bool:
    """Creation was refused because the namespace is going away: there is nothing to do and nobody to tell."""
    return any(cause.reason == "NamespaceTerminating" for cause in error.causes)


async def _act(act: Callable[[], Awaitable[None]]) -> None:
    await act()


def _revision(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _deletion_cost(pod: Pod) -> int:
    try:
        return int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _magnitude(now: datetime, since: datetime | None) -> int:
    """Logarithm of the seconds passed; an unset time is as lately as can be."""
    if since is None:
        return -1
    seconds = (now - since).total_seconds()
    return int(math.log2(seconds)) if seconds >= 1 else 0
