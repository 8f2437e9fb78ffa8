"""StatefulSet: pods with names and claims of their own, made, updated and removed in order."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from kobune.api.errors import AlreadyExists, ApiError, Json, NotFound
from kobune.api.objects.apps import ControllerRevision, StatefulSet
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key, OwnerReference
from kobune.api.objects.storage import PersistentVolumeClaim
from kobune.api.selectors import labels_from_json
from kobune.controlplane.controllers.conditions import omit_zeros
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps, Owns
from kobune.controlplane.controllers.deployment.rolling import share
from kobune.controlplane.controllers.history import POD_LABEL, History, sync_history, template_of, truncate
from kobune.controlplane.controllers.ownership import claim, index_by_namespace, owners_matching
from kobune.controlplane.controllers.pods import (
    Unseen,
    controller_reference,
    index_by_controller,
    is_available,
    next_availability,
    pod_manifest,
    watch_deletions,
)

BEHIND_SECONDS = 1.0
NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"


class Plan(NamedTuple):
    create: list[int]  # Ordinals.
    delete: list[Pod]
    claims_for: list[int]  # Ordinals whose claims must be there: of pods to create and of pods that still wait.


async def reconcile(key: Key, context: Context) -> float | None:
    """One pass: in order one step, in parallel all at once."""
    item = context.informer(StatefulSet).get(key)
    if item is None:
        return None
    unseen, now = context.own(Unseen), context.clock.monotonic()
    for view in (Pod, ControllerRevision):
        if unseen.is_behind(key, view, context.informer(view), now):
            return BEHIND_SECONDS
    selector = labels_from_json(item.spec.selector or None)
    pods = [pod for pod in await claim(context, item, selector, Pod) if ordinal_of(item, pod.name) is not None]
    history = await sync_history(context, item)
    current = next((each for each in history.revisions if each.name == item.status.current_revision), history.update)
    if not item.is_deleting:
        settled = [pod for pod in pods if not unseen.is_condemned(pod.uid, now) or pod.is_deleting]
        hidden = {pod.name for pod in pods} - {pod.name for pod in settled}
        step = plan(item, settled, history.update.name, context.clock.now())
        # A pod whose deletion is on its way leaves its name taken.
        step.create[:] = [each for each in step.create if f"{item.name}-{each}" not in hidden]
        await _act(context, item, step, current, history.update, pods)
    await _report(context, item, pods, current, history)
    live = {current.name, history.update.name, *(pod.metadata.labels.get(POD_LABEL, "") for pod in pods)}
    await truncate(context, history.revisions, live, item.spec.revision_history_limit)
    return next_availability(pods, item.spec.min_ready_seconds, context.clock.now())


def plan(item: StatefulSet, pods: Sequence[Pod], update: str, now: datetime) -> Plan:
    """What to do next. Ordered sets do one thing and wait for it. Source: upstream updateStatefulSet."""
    start, count = item.spec.ordinals.start, item.spec.replicas
    by_ordinal = {ordinal_of(item, pod.name): pod for pod in pods}
    replicas = [by_ordinal.get(ordinal) for ordinal in range(start, start + count)]
    condemned = [by_ordinal[each] for each in sorted((each for each in by_ordinal if each is not None), reverse=True)]
    condemned = [pod for pod in condemned if pod not in replicas]
    ready_seconds = item.spec.min_ready_seconds
    step = Plan([], [], [])
    ordered = item.spec.pod_management_policy != "Parallel"
    for ordinal, pod in enumerate(replicas, start):
        if pod is None:
            step.create.append(ordinal)
            step.claims_for.append(ordinal)
        elif pod.is_finished:
            if not pod.is_deleting:
                step.delete.append(pod)
        else:
            if pod.status.phase == "Pending":
                step.claims_for.append(ordinal)
            if is_up(pod, ready_seconds, now):
                continue
        if ordered:
            return step
    unhealthy = next(
        (pod for pod in (*replicas, *reversed(condemned)) if pod is None or not is_up(pod, ready_seconds, now)), None
    )
    for pod in condemned:
        if ordered and (pod.is_deleting or (not is_up(pod, ready_seconds, now) and pod is not unhealthy)):
            return step
        if not pod.is_deleting:
            step.delete.append(pod)
            if ordered:
                return step
    if item.spec.update_strategy.type == "RollingUpdate":
        step.delete.extend(_to_update(item, replicas, update, now))
    return step


def is_up(pod: Pod, min_ready_seconds: int, now: datetime) -> bool:
    """Running, ready long enough, and not on its way out."""
    return pod.status.phase == "Running" and not pod.is_deleting and is_available(pod, min_ready_seconds, now)


def ordinal_of(item: StatefulSet, name: str) -> int | None:
    """The number at the end of a pod's name; None when it is not this set's."""
    parent, _, number = name.rpartition("-")
    return int(number) if parent == item.name and number.isdigit() else None


def revision_for(
    item: StatefulSet, ordinal: int, current: ControllerRevision, update: ControllerRevision
) -> ControllerRevision:
    """The revision that a new pod is made from: below the partition the old one. Source: newVersionedStatefulSetPod."""
    strategy, start = item.spec.update_strategy, item.spec.ordinals.start
    if strategy.type != "RollingUpdate":
        return update
    limit = strategy.rolling_update.partition if strategy.rolling_update else item.status.current_replicas
    return current if ordinal < start + limit else update


def new_pod(item: StatefulSet, ordinal: int, revision: ControllerRevision) -> Json:
    """The pod of an ordinal: its name is also its host name, and its claims are its own."""
    name = f"{item.name}-{ordinal}"
    labels = {NAME_LABEL: name, INDEX_LABEL: str(ordinal), POD_LABEL: revision.name}
    manifest = pod_manifest(template_of(revision), item, name=name, labels=labels)
    spec = manifest["spec"]
    spec["hostname"] = name
    if item.spec.service_name:
        spec["subdomain"] = item.spec.service_name
    claims = {each["metadata"]["name"] for each in item.spec.volume_claim_templates}
    others = [volume for volume in spec.get("volumes") or () if volume["name"] not in claims]
    own = [{"name": each, "persistentVolumeClaim": {"claimName": f"{each}-{name}"}} for each in sorted(claims)]
    if own or others:
        spec["volumes"] = own + others
    return manifest


def claim_owners(
    item: StatefulSet, references: Sequence[OwnerReference], pod: Pod | None, *, scaled_down: bool
) -> list[OwnerReference] | None:
    """The owner references that a claim should have by the retention policy; None when it has them.

    A claim that another controller manages is left to it. Source: upstream updateClaimOwnerRefForSetAndPod.
    """
    policy = item.spec.persistent_volume_claim_retention_policy
    foreign = [each for each in references if each.uid != item.uid and (pod is None or each.uid != pod.uid)]
    if any(each.controller for each in foreign):
        return None
    own = []
    if policy.when_scaled == "Delete" and scaled_down and pod is not None:
        own.append(_controller_of("v1", "Pod", pod.name, pod.uid))
    elif policy.when_deleted == "Delete":
        own.append(_controller_of("apps/v1", "StatefulSet", item.name, item.uid))
    wanted = [*foreign, *own]
    return None if wanted == list(references) else wanted


def _controller_of(api_version: str, kind: str, name: str, uid: str) -> OwnerReference:
    return OwnerReference(
        api_version=api_version, kind=kind, name=name, uid=uid, controller=True, block_owner_deletion=True
    )


def _to_update(item: StatefulSet, replicas: Sequence[Pod | None], update: str, now: datetime) -> list[Pod]:
    """Pods of other revisions to delete, highest ordinal first, as many as may be missing at once."""
    rolling = item.spec.update_strategy.rolling_update
    partition = rolling.partition if rolling else 0
    allowed = 1
    if rolling is not None and rolling.max_unavailable is not None:
        allowed = max(share(rolling.max_unavailable, item.spec.replicas, up=True), 1)
    missing = sum(pod is None or not is_up(pod, item.spec.min_ready_seconds, now) for pod in replicas)
    room = max(allowed - missing, 0)
    outdated = [
        pod
        for pod in reversed(replicas[partition:])
        if pod is not None and not pod.is_deleting and pod.metadata.labels.get(POD_LABEL) != update
    ]
    return outdated[:room]


async def _act(
    context: Context,
    item: StatefulSet,
    step: Plan,
    current: ControllerRevision,
    update: ControllerRevision,
    pods: Sequence[Pod],
) -> None:
    async with asyncio.TaskGroup() as group:
        for ordinal in step.claims_for:
            for template in item.spec.volume_claim_templates:
                group.create_task(_ensure_claim(context, item, template, ordinal))
    await _keep_claims(context, item, pods)
    async with asyncio.TaskGroup() as group:
        for ordinal in step.create:
            revision = revision_for(item, ordinal, current, update)
            group.create_task(_create_pod(context, item, new_pod(item, ordinal, revision)))
        for pod in step.delete:
            group.create_task(_delete_pod(context, item, pod))


async def _create_pod(context: Context, item: StatefulSet, manifest: Json) -> None:
    name = manifest["metadata"]["name"]
    try:
        pod = await context.client.create(Pod, manifest)
    except AlreadyExists:
        raise
    except ApiError as error:
        message = f"Create Pod {name} in StatefulSet {item.name} failed error: {error}"
        context.events.warning(item, "FailedCreate", message)
        raise
    context.own(Unseen).wrote(item.key, pod, context.clock.monotonic())
    context.events.normal(item, "SuccessfulCreate", f"Create Pod {name} in StatefulSet {item.name} successful")


async def _delete_pod(context: Context, item: StatefulSet, pod: Pod) -> None:
    unseen = context.own(Unseen)
    unseen.condemn(pod.uid, context.clock.monotonic())
    try:
        await context.client.delete(Pod, pod.key, uid=pod.uid)
    except NotFound:
        return
    except ApiError as error:
        unseen.spare(pod.uid)
        message = f"Delete Pod {pod.name} in StatefulSet {item.name} failed error: {error}"
        context.events.warning(item, "FailedDelete", message)
        raise
    context.events.normal(item, "SuccessfulDelete", f"Delete Pod {pod.name} in StatefulSet {item.name} successful")


async def _ensure_claim(context: Context, item: StatefulSet, template: dict[str, Any], ordinal: int) -> None:
    name = f"{template['metadata']['name']}-{item.name}-{ordinal}"
    key = Key(item.namespace, name)
    if context.informer(PersistentVolumeClaim).get(key) is not None:
        return
    metadata = {**template["metadata"], "name": name, "namespace": item.namespace}
    metadata.pop("creationTimestamp", None)
    selected = (item.spec.selector or {}).get("matchLabels") or {}
    metadata["labels"] = {**(metadata.get("labels") or {}), **selected}
    if item.spec.persistent_volume_claim_retention_policy.when_deleted == "Delete":
        metadata["ownerReferences"] = [controller_reference(item)]
    pod = f"{item.name}-{ordinal}"
    try:
        await context.client.create(PersistentVolumeClaim, {"metadata": metadata, "spec": template.get("spec") or {}})
    except AlreadyExists:
        return
    except ApiError as error:
        message = f"Create Claim {name} for Pod {pod} in StatefulSet {item.name} failed error: {error}"
        context.events.warning(item, "FailedCreate", message)
        raise
    message = f"Create Claim {name} Pod {pod} in StatefulSet {item.name} success"
    context.events.normal(item, "SuccessfulCreate", message)


async def _keep_claims(context: Context, item: StatefulSet, pods: Sequence[Pod]) -> None:
    """Bring the claims' owners in line with the retention policy."""
    start = item.spec.ordinals.start
    for pod in pods:
        ordinal = ordinal_of(item, pod.name)
        scaled_down = ordinal is None or not start <= ordinal < start + item.spec.replicas
        for template in item.spec.volume_claim_templates:
            known = context.informer(PersistentVolumeClaim).get(
                Key(item.namespace, f"{template['metadata']['name']}-{pod.name}")
            )
            if known is None:
                continue
            owners = claim_owners(item, known.metadata.owner_references, pod, scaled_down=scaled_down)
            if owners is not None:
                metadata = {
                    "resourceVersion": known.metadata.resource_version,
                    "ownerReferences": [
                        {
                            "apiVersion": each.api_version,
                            "kind": each.kind,
                            "name": each.name,
                            "uid": each.uid,
                            "controller": each.controller,
                            "blockOwnerDeletion": each.block_owner_deletion,
                        }
                        for each in owners
                    ],
                }
                with suppress(NotFound):
                    await context.client.patch(PersistentVolumeClaim, known.key, {"metadata": metadata})


async def _report(
    context: Context, item: StatefulSet, pods: Sequence[Pod], current: ControllerRevision, history: History
) -> None:
    status = plan_status(item, pods, current.name, history.update.name, history.collisions, context.clock.now())
    old = item.status
    before = {
        "observedGeneration": old.observed_generation,
        "replicas": old.replicas,
        "readyReplicas": old.ready_replicas,
        "availableReplicas": old.available_replicas,
        "currentReplicas": old.current_replicas,
        "updatedReplicas": old.updated_replicas,
        "currentRevision": old.current_revision,
        "updateRevision": old.update_revision,
        "collisionCount": old.collision_count,
    }
    if {name: value or 0 for name, value in status.items()} != {name: value or 0 for name, value in before.items()}:
        await context.client.patch_status(StatefulSet, item.key, status)


def plan_status(
    item: StatefulSet, pods: Sequence[Pod], current: str, update: str, collisions: int, now: datetime
) -> Json:
    """Counts and revisions; when all pods are of the new revision it becomes the current one."""
    ready = [pod for pod in pods if pod.status.phase == "Running" and pod.is_ready]
    staying = [pod.metadata.labels.get(POD_LABEL) for pod in pods if not pod.is_deleting]
    updated = staying.count(update)
    rolling = item.spec.update_strategy.rolling_update
    complete = updated == len(pods) == len(ready) and (rolling is None or rolling.partition == 0)
    if item.spec.update_strategy.type == "RollingUpdate" and complete:
        current = update
    counts = {
        "observedGeneration": item.metadata.generation,
        "replicas": len(pods),
        "readyReplicas": len(ready),
        "availableReplicas": sum(is_available(pod, item.spec.min_ready_seconds, now) for pod in ready),
        "currentReplicas": staying.count(current),
        "updatedReplicas": updated,
        "collisionCount": collisions,
    }
    written = omit_zeros(counts, keep=("replicas", "availableReplicas", "collisionCount"))
    return {**written, "currentRevision": current, "updateRevision": update}


def _prepare(context: Context) -> None:
    index_by_controller(context)
    index_by_controller(context, ControllerRevision)
    index_by_namespace(context, StatefulSet)
    watch_deletions(context)


CONTROLLER = Controller(
    "statefulset-controller",
    (
        For(StatefulSet),
        Owns(Pod),
        Maps(Pod, owners_matching(StatefulSet, lambda owner: labels_from_json(owner.spec.selector or None))),
        Owns(ControllerRevision),
        Maps(PersistentVolumeClaim),
    ),
    reconcile,
    prepare=_prepare,
)
