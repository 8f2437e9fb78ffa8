"""VolumeAttributesClasses in use by a claim or a volume are not deleted: a finalizer holds them."""

from collections.abc import Iterable
from contextlib import suppress
from typing import ClassVar

from kobune.api.errors import NotFound
from kobune.api.objects.lean import AnyObject
from kobune.api.objects.meta import GVK, Key
from kobune.api.objects.storage import PersistentVolume, PersistentVolumeClaim
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps

FINALIZER = "kubernetes.io/vac-protection"


class VolumeAttributesClass(AnyObject):
    gvk: ClassVar[GVK] = GVK("storage.k8s.io", "v1", "VolumeAttributesClass")


async def reconcile(key: Key, context: Context) -> None:
    item = context.informer(VolumeAttributesClass).get(key)
    if item is None:
        return
    finalizers = item.metadata.finalizers
    if not item.is_deleting:
        wanted = finalizers if FINALIZER in finalizers else [*finalizers, FINALIZER]
    elif any(
        context.informer(view).index_size("attributes class", key.name)
        for view in (PersistentVolumeClaim, PersistentVolume)
    ):
        return  # Its last user's change wakes us.
    else:
        wanted = [each for each in finalizers if each != FINALIZER]
    if wanted != finalizers:
        metadata = {"resourceVersion": item.metadata.resource_version, "finalizers": wanted or None}
        with suppress(NotFound):
            await context.client.patch(VolumeAttributesClass, key, {"metadata": metadata})


def _classes_of_claim(claim: PersistentVolumeClaim) -> tuple[str, ...]:
    names = {claim.spec.volume_attributes_class_name, claim.status.current_volume_attributes_class_name}
    return tuple(sorted(name for name in names if name))


def _classes_of_volume(volume: PersistentVolume) -> tuple[str, ...]:
    name = volume.spec.volume_attributes_class_name
    return (name,) if name else ()


def _claim_changed(
    _context: Context, old: PersistentVolumeClaim | None, _new: PersistentVolumeClaim | None
) -> Iterable[Key]:
    return [Key("", name) for name in _classes_of_claim(old)] if old is not None else ()


def _volume_changed(_context: Context, old: PersistentVolume | None, _new: PersistentVolume | None) -> Iterable[Key]:
    return [Key("", name) for name in _classes_of_volume(old)] if old is not None else ()


def _prepare(context: Context) -> None:
    context.informer(PersistentVolumeClaim).add_index("attributes class", _classes_of_claim)
    context.informer(PersistentVolume).add_index("attributes class", _classes_of_volume)


CONTROLLER = Controller(
    "volumeattributesclass-protection-controller",
    (For(VolumeAttributesClass), Maps(PersistentVolumeClaim, _claim_changed), Maps(PersistentVolume, _volume_changed)),
    reconcile,
    prepare=_prepare,
)
