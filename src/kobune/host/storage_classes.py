"""The storage classes of a managed cluster, under the names that AKS gives them."""

import logging

from kobune.api.clock import Clock
from kobune.api.errors import AlreadyExists, ApiError, Json
from kobune.api.objects.storage import LOCAL_PROVISIONER, StorageClass
from kobune.client.client import Client

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
DEFAULT = "default"
# On AKS these are disks, each for one node at a time; here a directory on the node that the pod is sent to.
DISKS = (DEFAULT, "managed", "managed-csi", "managed-csi-premium", "managed-premium")
# And these are file shares; here a directory that all nodes of the machine see.
SHARES = ("azurefile", "azurefile-csi", "azurefile-csi-premium", "azurefile-premium")


def manifests() -> list[Json]:
    """The classes; manifests written for AKS find those they name."""
    shared = {"parameters": {"shared": "true"}, "volumeBindingMode": "Immediate"}
    return [
        *(_manifest(name, {"volumeBindingMode": "WaitForFirstConsumer"}) for name in DISKS),
        *(_manifest(name, shared) for name in SHARES),
    ]


async def announce(client: Client, clock: Clock) -> None:
    """Create the classes that are missing; those that somebody has changed stay so. Tries until the server takes them."""
    for manifest in manifests():
        while True:
            try:
                await client.create(StorageClass, manifest)
            except AlreadyExists:
                break
            except ApiError as failure:
                log.info("storage classes have to wait", extra={"failure": str(failure)})
                await clock.sleep(RETRY_SECONDS)
            else:
                break


def _manifest(name: str, rest: Json) -> Json:
    metadata: Json = {"name": name, "labels": {"kubernetes.io/cluster-service": "true"}}
    if name == DEFAULT:
        metadata["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
    return {
        "metadata": metadata,
        "provisioner": LOCAL_PROVISIONER,
        "reclaimPolicy": "Delete",
        "allowVolumeExpansion": True,
        **rest,
    }
