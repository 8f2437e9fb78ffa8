"""Says of each claim that asks for more than it has who will expand it. No volume is expanded here: all are external."""

from kobune.api.objects.meta import Key
from kobune.api.objects.storage import LOCAL_PROVISIONER, PROVISIONED_BY, PersistentVolume, PersistentVolumeClaim
from kobune.api.quantity import to_bytes
from kobune.controlplane.controllers.controller import Context, Controller, For
from kobune.controlplane.controllers.storage.matching import requested


async def reconcile(key: Key, context: Context) -> None:
    """Source: upstream's expand controller, which since the in-tree volumes went only says so."""
    claim = context.informer(PersistentVolumeClaim).get(key)
    if claim is None or claim.status.phase != "Bound":
        return
    if requested(claim) <= to_bytes(claim.status.capacity.get("storage", 0)):
        return
    volume = await context.client.find(PersistentVolume, Key("", claim.spec.volume_name))
    if volume is None or volume.metadata.annotations.get(PROVISIONED_BY) == LOCAL_PROVISIONER:
        return
    message = "waiting for an external controller to expand this PVC"
    kind = context.events.normal if volume.spec.csi is not None else context.events.warning
    kind(claim, "ExternalExpanding", message)


CONTROLLER = Controller(
    "persistentvolume-expander-controller", (For(PersistentVolumeClaim),), reconcile, component="volume_expand"
)
