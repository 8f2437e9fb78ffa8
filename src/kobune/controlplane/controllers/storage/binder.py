"""Binds claims to volumes, both ways, and gives volumes whose claim is gone what their policy says.

Source: upstream's persistentvolume controller. In a key without a namespace the name is a volume's, else a claim's. One
worker: two would bind two claims to one volume and find out by the conflict.
"""

from collections.abc import Iterable
from contextlib import suppress

from kobune.api.errors import Conflict, Json, NotFound
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key
from kobune.api.objects.storage import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    PROVISIONED_BY,
    PROVISIONER_ANNOTATIONS,
    SELECTED_NODE,
    WAIT_FOR_CONSUMER,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
    claim_reference,
)
from kobune.controlplane.controllers.controller import Context, Controller, Maps
from kobune.controlplane.controllers.pods import Unseen
from kobune.controlplane.controllers.protection import claims_of
from kobune.controlplane.controllers.storage.matching import best_match, claim_key, is_meant_for, mismatch, same_mode

RESYNC_SECONDS = 15.0  # How often a claim that waits says so. Source: upstream --pvclaimbinder-sync-period.
BEHIND_SECONDS = 0.2
IN_TREE = "kubernetes.io/"


async def reconcile(key: Key, context: Context) -> float | None:
    """One claim or one volume."""
    unseen, now = context.own(Unseen), context.clock.monotonic()
    for view in (PersistentVolume, PersistentVolumeClaim):
        if unseen.is_behind(key, view, context.informer(view), now):
            return BEHIND_SECONDS
    if not key.namespace:
        volume = context.informer(PersistentVolume).get(key)
        if volume is not None:
            await _sync_volume(volume, context)
        return None
    claim = context.informer(PersistentVolumeClaim).get(key)
    if claim is None:
        return None
    if BIND_COMPLETED in claim.metadata.annotations:
        await _sync_bound(claim, context)
        return None
    return await _sync_unbound(claim, context)


# Claims.


async def _sync_unbound(claim: PersistentVolumeClaim, context: Context) -> float | None:
    """A claim that never was bound: find it a volume, have one made, or say what it waits for."""
    if claim.spec.volume_name:
        return await _sync_requested(claim, context)
    name = claim.storage_class
    storage_class = context.informer(StorageClass).get(Key("", name)) if name else None
    delayed = storage_class is not None and storage_class.volume_binding_mode == WAIT_FOR_CONSUMER
    volumes = context.informer(PersistentVolume)
    candidates = [*volumes.index("claim", claim.key), *volumes.index("free", name)]
    volume = best_match(claim, candidates, delayed=delayed)
    if volume is not None:
        await _bind(volume, claim, context)
        return None
    if not claim.names_class and (default := _default_class(context)) is not None:
        await _change_claim(claim, {"spec": {"storageClassName": default.name}}, context)
        return None
    if delayed and SELECTED_NODE not in claim.metadata.annotations:
        _say_who_waits(claim, context)
    elif name:
        if not await _have_made(claim, storage_class, context):
            return RESYNC_SECONDS
    else:
        message = "no persistent volumes available for this claim and no storage class is set"
        context.events.normal(claim, "FailedBinding", message)
    await _set_claim_phase(claim, "Pending", None, context)
    return RESYNC_SECONDS


async def _sync_requested(claim: PersistentVolumeClaim, context: Context) -> float | None:
    """The claim asks for one volume by name."""
    volume = context.informer(PersistentVolume).get(Key("", claim.spec.volume_name))
    if volume is None:
        await _set_claim_phase(claim, "Pending", None, context)
        return None  # The volume's coming wakes us.
    if volume.spec.claim_ref is None:
        why = mismatch(volume, claim)
        if why is not None:
            message = f'Cannot bind to requested volume "{volume.name}": {why}'
            context.events.warning(claim, "VolumeMismatch", message)
            await _set_claim_phase(claim, "Pending", None, context)
            return RESYNC_SECONDS
        await _bind(volume, claim, context)
        return None
    if is_meant_for(volume, claim):
        await _bind(volume, claim, context)
        return None
    message = f'volume "{volume.name}" already bound to a different claim.'
    context.events.warning(claim, "FailedBinding", message)
    await _set_claim_phase(claim, "Pending", None, context)
    return RESYNC_SECONDS


async def _sync_bound(claim: PersistentVolumeClaim, context: Context) -> None:
    """A claim that was bound once: it stays with its volume or is lost."""
    volume = context.informer(PersistentVolume).get(Key("", claim.spec.volume_name))
    if not claim.spec.volume_name:
        why = "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
    elif volume is None:
        why = "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
    elif volume.spec.claim_ref is None or volume.spec.claim_ref.uid == claim.uid:
        await _bind(volume, claim, context)
        return
    else:
        why = "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly"
    if claim.status.phase != "Lost":
        await _set_claim_phase(claim, "Lost", None, context)
        context.events.warning(claim, *why)


def _say_who_waits(claim: PersistentVolumeClaim, context: Context) -> None:
    pods = context.informer(Pod).index("claim", claim.key)
    waiting = sorted(pod.name for pod in pods if not pod.spec.node_name and not pod.is_finished)
    if not waiting:
        context.events.normal(claim, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
        return
    word = "pod" if len(waiting) == 1 else "pods"
    context.events.normal(claim, "WaitForPodScheduled", f"waiting for {word} {','.join(waiting)} to be scheduled")


async def _have_made(claim: PersistentVolumeClaim, storage_class: StorageClass | None, context: Context) -> bool:
    """Tell the class's provisioner; False when there is none to tell."""
    if storage_class is None:
        message = f'storageclass.storage.k8s.io "{claim.storage_class}" not found'
        context.events.warning(claim, "ProvisioningFailed", message)
        await _set_claim_phase(claim, "Pending", None, context)
        return False
    provisioner = storage_class.provisioner
    if provisioner.startswith(IN_TREE):
        context.events.warning(claim, "ProvisioningFailed", f"no volume plugin matched name: {provisioner}")
        return False
    wanted = dict.fromkeys(PROVISIONER_ANNOTATIONS, provisioner)
    if {name: claim.metadata.annotations.get(name) for name in wanted} != wanted:
        await _change_claim(claim, {"metadata": {"annotations": wanted}}, context)
    message = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
        "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered."
    )
    context.events.normal(claim, "ExternalProvisioning", message)
    return True


def _default_class(context: Context) -> StorageClass | None:
    """Of those marked as the default the newest, of equally new ones the first by name."""
    marked = [each for each in context.informer(StorageClass).items.values() if each.is_default]
    age = {each.name: each.metadata.creation_timestamp for each in marked}
    marked.sort(key=lambda each: each.name)
    return max(marked, key=lambda each: age[each.name] or context.clock.now(), default=None)


# Volumes.


async def _sync_volume(volume: PersistentVolume, context: Context) -> None:
    reference, key = volume.spec.claim_ref, claim_key(volume)
    if reference is None or key is None or not reference.uid:
        await _set_volume_phase(volume, "Available", context)
        return
    claim = context.informer(PersistentVolumeClaim).get(key)
    released = volume.status.phase in ("Released", "Failed")
    if (claim is None and not released) or (claim is not None and claim.uid != reference.uid):
        claim = await context.client.find(PersistentVolumeClaim, key)  # Our copy may be older than the volume.
    if claim is None or claim.uid != reference.uid:
        if not released:
            volume = await _set_volume_phase(volume, "Released", context)
        await _reclaim(volume, context)
    elif not claim.spec.volume_name:
        if not same_mode(claim, volume):
            about_volume = f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{claim.name}"'
            about_claim = f'Cannot bind PersistentVolume "{volume.name}" to requested PersistentVolumeClaim'
            why = "due to incompatible volumeMode."
            context.events.warning(volume, "VolumeMismatch", f"{about_volume} {why}")
            context.events.warning(claim, "VolumeMismatch", f"{about_claim} {why}")
            return
        context.queue.add(claim.key)
    elif claim.spec.volume_name == volume.name:
        await _set_volume_phase(volume, "Bound", context)
    elif PROVISIONED_BY in volume.metadata.annotations and volume.spec.persistent_volume_reclaim_policy == "Delete":
        # Made for the claim, which has found another in the meantime.
        if not released:
            volume = await _set_volume_phase(volume, "Released", context)
        await _reclaim(volume, context)
    else:
        await _unbind(volume, context)


async def _reclaim(volume: PersistentVolume, context: Context) -> None:
    """What to do with a volume whose claim is gone."""
    policy = volume.spec.persistent_volume_reclaim_policy
    if policy == "Recycle":
        await _fail(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!", context)
    elif policy == "Delete":
        provisioner = volume.metadata.annotations.get(PROVISIONED_BY, "")
        external = (provisioner and not provisioner.startswith(IN_TREE)) or volume.spec.csi is not None
        if not external:  # Else its provisioner deletes it.
            why = f'error getting deleter volume plugin for volume "{volume.name}": no deletable volume plugin matched'
            await _fail(volume, "VolumeFailedDelete", why, context)
    elif policy != "Retain":
        await _fail(
            volume, "VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy", context
        )


async def _unbind(volume: PersistentVolume, context: Context) -> None:
    """The claim is bound elsewhere: undo what the controller did, or only the uid of what somebody prebound."""
    metadata: Json = {"resourceVersion": volume.metadata.resource_version}
    if BOUND_BY_CONTROLLER in volume.metadata.annotations:
        metadata["annotations"] = {BOUND_BY_CONTROLLER: None}
        spec: Json = {"claimRef": None}
    else:
        spec = {"claimRef": {"uid": None}}
    changed = await context.client.patch(PersistentVolume, volume.key, {"metadata": metadata, "spec": spec})
    _note(changed, context)
    await _set_volume_phase(changed, "Available", context)


async def _fail(volume: PersistentVolume, reason: str, message: str, context: Context) -> None:
    if volume.status.phase != "Failed":
        await _set_volume_phase(volume, "Failed", context, message)
        context.events.warning(volume, reason, message)


# Both.


async def _bind(volume: PersistentVolume, claim: PersistentVolumeClaim, context: Context) -> None:
    """Volume first, then its phase, then the claim and its phase: each step finds out what is done already."""
    reference = volume.spec.claim_ref
    if not is_meant_for(volume, claim) or reference is None or reference.uid != claim.uid:
        wanted = claim_reference(claim.metadata)
        metadata: Json = {"resourceVersion": volume.metadata.resource_version}
        if not is_meant_for(volume, claim):
            metadata["annotations"] = {BOUND_BY_CONTROLLER: "yes"}
        change = {"metadata": metadata, "spec": {"claimRef": wanted}}
        volume = await context.client.patch(PersistentVolume, volume.key, change)
        _note(volume, context, claim.key)
    volume = await _set_volume_phase(volume, "Bound", context)
    change = {}
    annotations = {}
    if claim.spec.volume_name != volume.name:
        change["spec"] = {"volumeName": volume.name}
        if BOUND_BY_CONTROLLER not in claim.metadata.annotations:
            annotations[BOUND_BY_CONTROLLER] = "yes"
    if BIND_COMPLETED not in claim.metadata.annotations:
        annotations[BIND_COMPLETED] = "yes"
    if annotations:
        change["metadata"] = {"annotations": annotations}
    if change:
        claim = await _change_claim(claim, change, context)
    await _set_claim_phase(claim, "Bound", volume, context)


async def _change_claim(claim: PersistentVolumeClaim, change: Json, context: Context) -> PersistentVolumeClaim:
    metadata = {**change.get("metadata", {}), "resourceVersion": claim.metadata.resource_version}
    changed = await context.client.patch(PersistentVolumeClaim, claim.key, {**change, "metadata": metadata})
    _note(changed, context)
    return changed


async def _set_claim_phase(
    claim: PersistentVolumeClaim, phase: str, volume: PersistentVolume | None, context: Context
) -> None:
    """The phase, and with it what the claim has of the volume. Its capacity is set when it becomes bound, not later:
    afterwards it tells of the file system, which is expanded after the volume. Source: upstream updateClaimStatus."""
    status = claim.status
    wanted: Json = {}
    if status.phase != phase:
        wanted["phase"] = phase
    if volume is None:
        if status.access_modes:
            wanted["accessModes"] = None
        if status.capacity:
            wanted["capacity"] = None
        if status.current_volume_attributes_class_name is not None:
            wanted["currentVolumeAttributesClassName"] = None
    else:
        if status.access_modes != volume.spec.access_modes:
            wanted["accessModes"] = volume.spec.access_modes
        if status.phase != phase and status.capacity != volume.spec.capacity:
            wanted["capacity"] = volume.spec.capacity
        attributes = volume.spec.volume_attributes_class_name
        becomes_bound = status.phase == "Pending" and phase == "Bound"
        if becomes_bound and status.current_volume_attributes_class_name != attributes:
            wanted["currentVolumeAttributesClassName"] = attributes
    if wanted:
        with suppress(NotFound):
            _note(await context.client.patch_status(PersistentVolumeClaim, claim.key, wanted), context)


async def _set_volume_phase(
    volume: PersistentVolume, phase: str, context: Context, message: str = ""
) -> PersistentVolume:
    if volume.status.phase == phase:
        return volume
    changed = await context.client.patch_status(
        PersistentVolume, volume.key, {"phase": phase, "message": message or None}
    )
    if changed.uid != volume.uid:
        raise Conflict(f'persistentvolume "{volume.name}" is another one')
    _note(changed, context)
    return changed


def _note(item: PersistentVolume | PersistentVolumeClaim, context: Context, *owners: Key) -> None:
    """We have written it, and judge its key no more before the informer shows it."""
    now = context.clock.monotonic()
    for key in (item.key, *owners):
        context.own(Unseen).wrote(key, item, now)


# What leads where.


def _volume_changed(context: Context, old: PersistentVolume | None, new: PersistentVolume | None) -> Iterable[Key]:
    volume = new or old
    if volume is None:
        return ()
    keys = [volume.key]
    claims = context.informer(PersistentVolumeClaim)
    mine = claim_key(volume)
    if mine is not None:
        keys.append(mine)
    keys += [claim.key for claim in claims.index("wants", volume.name)]
    if new is not None and new.spec.claim_ref is None and new.status.phase == "Available":
        keys += [claim.key for claim in claims.index("waiting", new.storage_class)]
    return keys


def _claim_changed(
    context: Context, old: PersistentVolumeClaim | None, new: PersistentVolumeClaim | None
) -> Iterable[Key]:
    claim = new or old
    if claim is None:
        return ()
    keys = [claim.key] if new is not None else []
    if claim.spec.volume_name:
        keys.append(Key("", claim.spec.volume_name))
    keys += [volume.key for volume in context.informer(PersistentVolume).index("claim", claim.key)]
    return keys


def _class_changed(context: Context, _old: StorageClass | None, new: StorageClass | None) -> Iterable[Key]:
    """Claims that wait for this class, or for any default."""
    if new is None:
        return ()
    claims = context.informer(PersistentVolumeClaim)
    waiting = [*claims.index("waiting", new.name), *(claims.index("waiting", "") if new.is_default else ())]
    return [claim.key for claim in waiting]


def _waiting(claim: PersistentVolumeClaim) -> tuple[str, ...]:
    bound = BIND_COMPLETED in claim.metadata.annotations or claim.spec.volume_name
    return () if bound else (claim.storage_class,)


def _wanted(claim: PersistentVolumeClaim) -> tuple[str, ...]:
    return (claim.spec.volume_name,) if claim.spec.volume_name else ()


def _claim_of(volume: PersistentVolume) -> tuple[Key, ...]:
    key = claim_key(volume)
    return (key,) if key is not None else ()


def _free(volume: PersistentVolume) -> tuple[str, ...]:
    return (volume.storage_class,) if volume.spec.claim_ref is None else ()


def _prepare(context: Context) -> None:
    claims, volumes = context.informer(PersistentVolumeClaim), context.informer(PersistentVolume)
    claims.add_index("waiting", _waiting)
    claims.add_index("wants", _wanted)
    volumes.add_index("claim", _claim_of)
    volumes.add_index("free", _free)
    context.informer(Pod).add_index("claim", claims_of)


CONTROLLER = Controller(
    "persistentvolume-binder-controller",
    (
        Maps(PersistentVolume, _volume_changed),
        Maps(PersistentVolumeClaim, _claim_changed),
        Maps(StorageClass, _class_changed),
        Maps(Pod),
    ),
    reconcile,
    workers=1,
    prepare=_prepare,
    component="persistentvolume-controller",
)
