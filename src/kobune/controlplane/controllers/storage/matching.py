"""Which volume suits which claim. Pure. Source: upstream FindMatchingVolume and checkVolumeSatisfyClaim."""

from collections.abc import Iterable

from kobune.api.objects.meta import Key
from kobune.api.objects.storage import PersistentVolume, PersistentVolumeClaim
from kobune.api.quantity import to_bytes
from kobune.api.selectors import labels_from_json


def capacity(volume: PersistentVolume) -> int:
    """Bytes."""
    return to_bytes(volume.spec.capacity.get("storage", 0))


def requested(claim: PersistentVolumeClaim) -> int:
    """Bytes."""
    return to_bytes(claim.spec.resources.requests.get("storage", 0))


def is_meant_for(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """The volume names the claim; without a uid it is kept for whichever claim has the name."""
    reference = volume.spec.claim_ref
    if reference is None or (reference.namespace, reference.name) != claim.key:
        return False
    return reference.uid in ("", claim.uid)


def claim_key(volume: PersistentVolume) -> Key | None:
    """The claim that the volume names."""
    reference = volume.spec.claim_ref
    return Key(reference.namespace, reference.name) if reference is not None else None


def same_mode(claim: PersistentVolumeClaim, volume: PersistentVolume) -> bool:
    return (claim.spec.volume_mode or "Filesystem") == (volume.spec.volume_mode or "Filesystem")


def mismatch(volume: PersistentVolume, claim: PersistentVolumeClaim) -> str | None:
    """Why the volume that the claim asks for by name cannot be its own; None when it can."""
    if volume.is_deleting:
        return f'the volume is marked for deletion "{volume.name}"'
    if capacity(volume) < requested(claim):
        return "requested PV is too small"
    if volume.storage_class != claim.storage_class:
        return "storageClassName does not match"
    if (volume.spec.volume_attributes_class_name or "") != (claim.spec.volume_attributes_class_name or ""):
        return "volumeAttributesClassName does not match"
    if not same_mode(claim, volume):
        return "incompatible volumeMode"
    if not set(claim.spec.access_modes) <= set(volume.spec.access_modes):
        return "incompatible accessMode"
    return None


def best_match(
    claim: PersistentVolumeClaim, volumes: Iterable[PersistentVolume], *, delayed: bool
) -> PersistentVolume | None:
    """The volume kept for the claim, else of those that suit it the one that does least besides: few access modes, small.

    Args:
        delayed: the scheduler binds the claim, but for a volume kept for it.
    """
    selector = labels_from_json(claim.spec.selector) if claim.spec.selector is not None else None
    best: tuple[tuple[object, ...], PersistentVolume] | None = None
    for volume in volumes:
        meant = is_meant_for(volume, claim)
        if volume.spec.claim_ref is not None and not meant:
            continue
        if not set(claim.spec.access_modes) <= set(volume.spec.access_modes):
            continue
        size = capacity(volume)
        attributes = (volume.spec.volume_attributes_class_name or "", claim.spec.volume_attributes_class_name or "")
        if size < requested(claim) or not same_mode(claim, volume) or volume.is_deleting or len(set(attributes)) > 1:
            continue
        if not meant and (
            delayed
            or volume.status.phase != "Available"
            or volume.storage_class != claim.storage_class
            or (selector is not None and not selector.matches(volume.metadata.labels))
        ):
            continue
        rank = (not meant, len(volume.spec.access_modes), size, volume.name)
        if best is None or rank < best[0]:
            best = rank, volume
    return best[1] if best is not None else None
