"""Deletes PodCertificateRequests a quarter of an hour after they were made: whoever asked has his answer by then."""

from contextlib import suppress
from typing import ClassVar

from kobune.api.errors import NotFound
from kobune.api.objects.lean import AnyObject
from kobune.api.objects.meta import GVK, Key
from kobune.controlplane.controllers.controller import Context, Controller, For

LIFETIME_SECONDS = 15 * 60.0  # Source: upstream newPodCertificateRequestCleanerController.


class PodCertificateRequest(AnyObject):
    gvk: ClassVar[GVK] = GVK("certificates.k8s.io", "v1", "PodCertificateRequest")


async def reconcile(key: Key, context: Context) -> float | None:
    """Delete the request when its time is over; returns how long it still has."""
    request = context.informer(PodCertificateRequest).get(key)
    if request is None or request.is_deleting or request.metadata.creation_timestamp is None:
        return None
    left = LIFETIME_SECONDS - (context.clock.now() - request.metadata.creation_timestamp).total_seconds()
    if left > 0:
        return left
    with suppress(NotFound):
        await context.client.delete(PodCertificateRequest, key, uid=request.uid)
    return None


CONTROLLER = Controller(
    "podcertificaterequest-cleaner-controller", (For(PodCertificateRequest, optional=True),), reconcile, workers=1
)
