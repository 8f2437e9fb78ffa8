"""Claims in use by a pod and volumes bound to a claim are not deleted under their users: a finalizer holds them."""

from collections.abc import Iterable
from contextlib import suppress

from kobune.api.errors import NotFound
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key, Object
from kobune.api.objects.storage import PersistentVolume, PersistentVolumeClaim
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"


async def reconcile_claim(key: Key, context: Context) -> None:
    """Hold a claim as long as it lives; let it go when it is being deleted and no pod uses it."""
    claim = context.informer(PersistentVolumeClaim).get(key)
    if claim is None:
        return
    held = CLAIM_FINALIZER in claim.metadata.finalizers
    if not claim.is_deleting:
        if not held:
            await _set_finalizers(context, claim, [*claim.metadata.finalizers, CLAIM_FINALIZER])
    elif held and not any(uses(pod) for pod in context.informer(Pod).index("claim", key)):
        await _set_finalizers(context, claim, [each for each in claim.metadata.finalizers if each != CLAIM_FINALIZER])


async def reconcile_volume(key: Key, context: Context) -> None:
    """The same for a volume, which is in use while it is bound."""
    volume = context.informer(PersistentVolume).get(key)
    if volume is None:
        return
    held = VOLUME_FINALIZER in volume.metadata.finalizers
    if not volume.is_deleting:
        if not held:
            await _set_finalizers(context, volume, [*volume.metadata.finalizers, VOLUME_FINALIZER])
    elif held and volume.status.phase != "Bound":
        await _set_finalizers(
            context, volume, [each for each in volume.metadata.finalizers if each != VOLUME_FINALIZER]
        )


def uses(pod: Pod) -> bool:
    """A pod that names a claim uses it from its scheduling to its end."""
    return bool(pod.spec.node_name) and not pod.is_finished


def claims_of(pod: Pod) -> list[Key]:
    """The claims that the pod's volumes name; a generic ephemeral volume's claim is named after pod and volume."""
    keys = []
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            keys.append(Key(pod.namespace, volume.persistent_volume_claim.claim_name))
        elif volume.ephemeral is not None:
            keys.append(Key(pod.namespace, f"{pod.name}-{volume.name}"))
    return keys


async def _set_finalizers(context: Context, item: Object, finalizers: list[str]) -> None:
    metadata = {"resourceVersion": item.metadata.resource_version, "finalizers": finalizers or None}
    with suppress(NotFound):
        await context.client.patch(type(item), item.key, {"metadata": metadata})


def _claims_freed(_context: Context, old: Pod | None, new: Pod | None) -> Iterable[Key]:
    if old is not None and (new is None or new.is_finished):
        return claims_of(old)
    return ()


def _prepare(context: Context) -> None:
    context.informer(Pod).add_index("claim", claims_of)


CONTROLLERS = (
    Controller(
        "persistentvolumeclaim-protection-controller",
        (For(PersistentVolumeClaim), Maps(Pod, _claims_freed)),
        reconcile_claim,
        prepare=_prepare,
    ),
    Controller("persistentvolume-protection-controller", (For(PersistentVolume),), reconcile_volume),
)
