"""Makes the claim of each generic ephemeral volume; it belongs to the pod and goes with it."""

from collections.abc import Iterable

from kobune.api.errors import AlreadyExists, ApiError
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key
from kobune.api.objects.storage import PersistentVolumeClaim
from kobune.controlplane.controllers.controller import Context, Controller, Maps
from kobune.controlplane.controllers.pods import controller_reference


async def reconcile(key: Key, context: Context) -> None:
    """Create the claims that are missing. A claim of that name that is another's is never used."""
    pod = context.informer(Pod).get(key)
    if pod is None or pod.is_deleting or pod.is_finished:
        return
    for volume in pod.spec.volumes:
        if volume.ephemeral is None:
            continue
        name = f"{pod.name}-{volume.name}"
        known = context.informer(PersistentVolumeClaim).get(Key(pod.namespace, name))
        if known is not None:
            owner = known.metadata.controller
            if owner is None or owner.uid != pod.uid:
                message = f"PVC {pod.namespace}/{name} was not created for pod {pod.key} (pod is not owner)"
                context.events.warning(pod, "FailedBinding", f"ephemeral volume: {message}")
                raise ApiError(message)
            continue
        template = volume.ephemeral.get("volumeClaimTemplate") or {}
        given = template.get("metadata") or {}
        metadata = {
            "name": name,
            "namespace": pod.namespace,
            "labels": given.get("labels") or {},
            "annotations": given.get("annotations") or {},
            "ownerReferences": [controller_reference(pod)],
        }
        try:
            await context.client.create(
                PersistentVolumeClaim, {"metadata": metadata, "spec": template.get("spec") or {}}
            )
        except AlreadyExists:
            raise
        except ApiError as error:
            context.events.warning(pod, "FailedBinding", f"ephemeral volume: create PVC {name}: {error}")
            raise


def _with_ephemeral_volumes(_context: Context, _old: Pod | None, new: Pod | None) -> Iterable[Key]:
    if new is None or new.is_deleting or not any(volume.ephemeral is not None for volume in new.spec.volumes):
        return ()
    return (new.key,)


CONTROLLER = Controller(
    "ephemeral-volume-controller",
    (Maps(Pod, _with_ephemeral_volumes), Maps(PersistentVolumeClaim)),
    reconcile,
    component="ephemeral_volume",
)
