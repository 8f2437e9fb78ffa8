"""Keeps each Deployment rolled out: a ReplicaSet per template, sized step by step, and a status that tells how far it is."""

from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple

from kobune.api.errors import AlreadyExists, ApiError, Conflict, Json, NotFound
from kobune.api.objects.apps import Deployment, DeploymentStatus, ReplicaSet
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key, find_condition
from kobune.api.selectors import labels_from_json
from kobune.controlplane.controllers.conditions import omit_zeros, to_json
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps, Owns
from kobune.controlplane.controllers.deployment import progress, revisions, rolling
from kobune.controlplane.controllers.deployment.progress import Note
from kobune.controlplane.controllers.ownership import claim, index_by_namespace, owners_matching
from kobune.controlplane.controllers.pods import Unseen, index_by_controller, is_namespace_terminating

BEHIND_SECONDS = 1.0  # How soon to look again when the informer lags; its news comes by itself, this is the safety net.
NO_CHANGE: rolling.Sizes = MappingProxyType({})


class _Step(NamedTuple):
    """What one pass does to ReplicaSets."""

    create: int | None = None  # A new ReplicaSet of so many replicas.
    sizes: rolling.Sizes = NO_CHANGE
    clean_up: tuple[ReplicaSet, ...] = ()


async def reconcile(key: Key, context: Context) -> float | None:
    """One pass: at most one step of the rollout; the change it makes wakes the next."""
    deployment = context.informer(Deployment).get(key)
    if deployment is None:
        return None
    if not deployment.spec.selector:
        await _refuse_selecting_all(context, deployment)
        return None
    if context.own(Unseen).is_behind(key, ReplicaSet, context.informer(ReplicaSet), context.clock.monotonic()):
        return BEHIND_SECONDS
    sets = await claim(context, deployment, labels_from_json(deployment.spec.selector), ReplicaSet)
    new, old = revisions.by_template(deployment, sets)
    now = context.clock.now()
    if deployment.is_deleting:
        await _report(
            context, deployment, progress.status_counts(deployment, sets, new, deployment.status.conditions, now)
        )
        return None
    conditions = progress.conditions_on_pause(deployment, now)
    if new is not None:
        new, note = await _mark_new(context, deployment, new, old)
    else:
        note = None
    scaling = deployment.spec.paused or rolling.was_scaled(deployment, sets)
    step = (
        plan_scaling(deployment, new, old) if scaling else plan(deployment, new, old, _old_pods_run(context, new, old))
    )
    if step.create is not None:
        new, note = await _create(context, deployment, old, step.create)
    sized = {
        each.name: await _resize(context, deployment, each, step.sizes) for each in (*old, *([new] if new else []))
    }
    for each in step.clean_up:
        await _delete(context, each)
    if note is not None and progress.has_deadline(deployment):
        conditions = progress.with_note(conditions, note, now)
    new = sized[new.name] if new else None
    everything = list(sized.values())
    status = progress.status_counts(deployment, everything, new, conditions, now)
    if not scaling:
        status = progress.with_progress(deployment, status, everything, new, now)
    await _report(
        context, deployment, status, revision=new.metadata.annotations.get(revisions.REVISION) if new else None
    )
    return progress.seconds_to_deadline(deployment, status, now)


def plan(deployment: Deployment, new: ReplicaSet | None, old: list[ReplicaSet], old_pods_run: bool) -> _Step:
    """The next step of a rollout. `old_pods_run` matters to Recreate: it never runs two revisions at once."""
    everything = [*old, *([new] if new else [])]
    done = progress.is_complete(deployment, deployment.status)
    clean_up = tuple(revisions.to_clean_up(deployment, old)) if done else ()
    if deployment.spec.strategy.type == "Recreate":
        to_zero = {each.name: 0 for each in old if each.spec.replicas > 0}
        if to_zero:
            return _Step(sizes=to_zero)
        if old_pods_run:
            return _Step()
        if new is None:
            return _Step(create=deployment.spec.replicas)
        return _Step(sizes=_changed(new, deployment.spec.replicas), clean_up=clean_up)
    if new is None:
        return _Step(create=rolling.size_of_new(deployment, everything, 0))
    sizes = _changed(new, rolling.size_of_new(deployment, everything, new.spec.replicas))
    if not sizes and any(each.spec.replicas > 0 for each in old):
        sizes = rolling.sizes_of_old(deployment, old, new)
    return _Step(sizes=sizes, clean_up=() if sizes else clean_up)


def plan_scaling(deployment: Deployment, new: ReplicaSet | None, old: list[ReplicaSet]) -> _Step:
    """The step for a Deployment that is paused or was scaled: no progress of the rollout, only sizes."""
    clean_up = tuple(revisions.to_clean_up(deployment, old)) if deployment.spec.paused else ()
    return _Step(sizes=rolling.proportional_sizes(deployment, new, old), clean_up=clean_up)


def status_patch(before: DeploymentStatus, after: DeploymentStatus) -> Json:
    """The fields of the status that change."""
    fields = (
        ("observedGeneration", before.observed_generation, after.observed_generation),
        ("replicas", before.replicas, after.replicas),
        ("updatedReplicas", before.updated_replicas, after.updated_replicas),
        ("readyReplicas", before.ready_replicas, after.ready_replicas),
        ("availableReplicas", before.available_replicas, after.available_replicas),
        ("unavailableReplicas", before.unavailable_replicas, after.unavailable_replicas),
    )
    patch: Json = omit_zeros({name: new for name, old, new in fields if old != new})
    if before.terminating_replicas != after.terminating_replicas:
        patch["terminatingReplicas"] = after.terminating_replicas
    if before.collision_count != after.collision_count:
        patch["collisionCount"] = after.collision_count
    if before.conditions != after.conditions:
        patch["conditions"] = to_json(after.conditions)
    return patch


async def _mark_new(
    context: Context, deployment: Deployment, new: ReplicaSet, old: list[ReplicaSet]
) -> tuple[ReplicaSet, Note | None]:
    annotations = revisions.annotations_to_set(deployment, new, old)
    ready = deployment.spec.min_ready_seconds
    if annotations or new.spec.min_ready_seconds != ready:
        change = {"metadata": {"annotations": annotations}, "spec": {"minReadySeconds": ready}}
        new = await context.client.patch(ReplicaSet, new.key, change)
        context.own(Unseen).wrote(deployment.key, new, context.clock.monotonic())
    if find_condition(deployment.status.conditions, "Progressing") is None:
        return new, Note("True", "FoundNewReplicaSet", f'Found new replica set "{new.name}"')
    return new, None


async def _create(
    context: Context, deployment: Deployment, old: list[ReplicaSet], replicas: int
) -> tuple[ReplicaSet, Note | None]:
    manifest = revisions.new_replica_set(deployment, old, replicas)
    name = manifest["metadata"]["name"]
    try:
        new = await context.client.create(ReplicaSet, manifest)
    except AlreadyExists:
        return await _existing(context, deployment, name), None
    except ApiError as error:
        if not is_namespace_terminating(error):
            await _tell_failure(context, deployment, f'Failed to create new replica set "{name}": {error}')
        raise
    context.own(Unseen).wrote(deployment.key, new, context.clock.monotonic())
    if replicas > 0:
        message = f"Scaled up replica set {name} from 0 to {replicas}"
        context.events.normal(deployment, "ScalingReplicaSet", message)
    return new, Note("True", "NewReplicaSetCreated", f'Created new replica set "{name}"')


async def _existing(context: Context, deployment: Deployment, name: str) -> ReplicaSet:
    """The ReplicaSet that has the name already: ours after all, or another's by a collision of hashes."""
    found = await context.client.get(ReplicaSet, Key(deployment.namespace, name))
    owner = found.metadata.controller
    if owner is not None and owner.uid == deployment.uid and revisions.by_template(deployment, [found]).new is found:
        return found
    collisions = (deployment.status.collision_count or 0) + 1
    await context.client.patch_status(Deployment, deployment.key, {"collisionCount": collisions})
    raise Conflict(f'the name "{name}" is taken by another template; trying the next hash')


async def _tell_failure(context: Context, deployment: Deployment, message: str) -> None:
    context.events.warning(deployment, "ReplicaSetCreateError", message)
    if progress.has_deadline(deployment):
        note = Note("False", "ReplicaSetCreateError", message)
        conditions = progress.with_note(deployment.status.conditions, note, context.clock.now())
        if conditions != deployment.status.conditions:
            await context.client.patch_status(Deployment, deployment.key, {"conditions": to_json(conditions)})


async def _resize(context: Context, deployment: Deployment, item: ReplicaSet, sizes: rolling.Sizes) -> ReplicaSet:
    size = sizes.get(item.name)
    if size is None:
        return item
    change = {"spec": {"replicas": size}, "metadata": {"annotations": rolling.replicas_annotations(deployment)}}
    resized = await context.client.patch(ReplicaSet, item.key, change)
    context.own(Unseen).wrote(deployment.key, resized, context.clock.monotonic())
    before = item.spec.replicas
    if before != size:
        direction = "up" if before < size else "down"
        message = f"Scaled {direction} replica set {item.name} from {before} to {size}"
        context.events.normal(deployment, "ScalingReplicaSet", message)
    return resized


async def _delete(context: Context, item: ReplicaSet) -> None:
    with suppress(NotFound):
        await context.client.delete(ReplicaSet, item.key, uid=item.uid)


async def _report(
    context: Context, deployment: Deployment, status: DeploymentStatus, *, revision: str | None = None
) -> None:
    if revision is not None and deployment.metadata.annotations.get(revisions.REVISION) != revision:
        annotations = {revisions.REVISION: revision}
        await context.client.patch(Deployment, deployment.key, {"metadata": {"annotations": annotations}})
    patch = status_patch(deployment.status, status)
    if patch:
        await context.client.patch_status(Deployment, deployment.key, patch)


async def _refuse_selecting_all(context: Context, deployment: Deployment) -> None:
    message = "This deployment is selecting all pods. A non-empty selector is required."
    context.events.warning(deployment, "SelectingAll", message)
    generation = deployment.metadata.generation
    if deployment.status.observed_generation < generation:
        await context.client.patch_status(Deployment, deployment.key, {"observedGeneration": generation})


def _old_pods_run(context: Context, new: ReplicaSet | None, old: list[ReplicaSet]) -> bool:
    if any(each.status.replicas > 0 for each in old):
        return True
    pods = context.informer(Pod)
    return any(not pod.is_finished for each in old if each is not new for pod in pods.index("controller", each.uid))


def _changed(item: ReplicaSet, size: int) -> rolling.Sizes:
    return {item.name: size} if size != item.spec.replicas else {}


def _deployments_of_pod(context: Context, old: Pod | None, new: Pod | None) -> list[Key]:
    """A pod that is gone lets a Recreate go on. Other changes of pods come by way of their ReplicaSet's status."""
    if new is not None or old is None or old.metadata.controller is None:
        return []
    parent = context.informer(ReplicaSet).get(Key(old.namespace, old.metadata.controller.name))
    owner = parent.metadata.controller if parent else None
    deployment = context.informer(Deployment).get(Key(old.namespace, owner.name)) if owner else None
    if deployment is None or deployment.spec.strategy.type != "Recreate":
        return []
    return [deployment.key]


def _prepare(context: Context) -> None:
    index_by_controller(context)
    index_by_controller(context, ReplicaSet)
    index_by_namespace(context, Deployment)


CONTROLLER = Controller(
    "deployment-controller",
    (
        For(Deployment),
        Owns(ReplicaSet),
        Maps(ReplicaSet, owners_matching(Deployment, lambda owner: labels_from_json(owner.spec.selector or None))),
        Maps(Pod, _deployments_of_pod),
    ),
    reconcile,
    prepare=_prepare,
)
