"""A pod's claims and the volumes behind them, as plugins need them: which are bound, which wait for the pod's node.

Source: Kubernetes documentation, Persistent Volumes, Volume Binding Mode; upstream volumebinding binder.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kobune.api.objects.meta import Key
from kobune.api.objects.storage import (
    BIND_COMPLETED,
    NO_PROVISIONER,
    WAIT_FOR_CONSUMER,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
)
from kobune.api.quantity import to_bytes
from kobune.api.selectors import labels_from_json
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.pod_info import PodInfo, Volume

UNBOUND_IMMEDIATE = "pod has unbound immediate PersistentVolumeClaims"


class Uses(NamedTuple):
    """A volume of a pod that is a claim, or will be one."""

    key: Key
    is_ephemeral: bool


class Claims(NamedTuple):
    """A pod's claims by what is to be done about them; `problem`: why the pod cannot go anywhere yet."""

    bound: tuple[PersistentVolumeClaim, ...] = ()
    waiting: tuple[PersistentVolumeClaim, ...] = ()  # For the pod's node.
    problem: str = ""


def uses_claims(volumes: Iterable[Volume]) -> bool:
    return any(volume.kind in ("persistentVolumeClaim", "ephemeral") for volume in volumes)


def claims_used(pod: PodInfo) -> list[Uses]:
    """The claims that the pod's volumes name; an ephemeral volume's claim is named after pod and volume."""
    uses = []
    for volume in pod.shape.volumes:
        if volume.kind == "persistentVolumeClaim":
            uses.append(Uses(Key(pod.shape.namespace, str(volume.source.get("claimName", ""))), False))
        elif volume.kind == "ephemeral":
            uses.append(Uses(Key(pod.shape.namespace, f"{pod.name}-{volume.name}"), True))
    return uses


def sort_claims(pod: PodInfo, listers: Listers) -> Claims:
    """The pod's claims, bound and waiting; or the first problem in upstream's words."""
    found: list[PersistentVolumeClaim] = []
    for key, is_ephemeral in claims_used(pod):
        claim = listers.claims.get(key)
        problem = _problem(pod, key, claim, is_ephemeral)
        if problem or claim is None:
            return Claims(problem=problem)
        found.append(claim)
    bound, waiting = [], []
    for claim in found:
        if is_bound(claim):
            bound.append(claim)
            continue
        name = claim.storage_class
        storage_class = listers.storage_classes.get(Key("", name)) if name else None
        if name and storage_class is None:
            return Claims(problem=f'storageclass.storage.k8s.io "{name}" not found')
        delayed = storage_class is not None and storage_class.volume_binding_mode == WAIT_FOR_CONSUMER
        if not delayed or claim.spec.volume_name:
            return Claims(problem=UNBOUND_IMMEDIATE)
        waiting.append(claim)
    return Claims(tuple(bound), tuple(waiting))


def _problem(pod: PodInfo, key: Key, claim: PersistentVolumeClaim | None, is_ephemeral: bool) -> str:
    if claim is None:
        if is_ephemeral:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{key.name}"'
        return f'persistentvolumeclaim "{key.name}" not found'
    if claim.status.phase == "Lost":
        volume = claim.spec.volume_name
        return f'persistentvolumeclaim "{key.name}" bound to non-existent persistentvolume "{volume}"'
    if claim.is_deleting:
        return f'persistentvolumeclaim "{key.name}" is being deleted'
    owner = claim.metadata.controller
    if is_ephemeral and (owner is None or owner.uid != pod.uid):
        return f"PVC {key} was not created for pod {pod.key} (pod is not owner)"
    return ""


def is_bound(claim: PersistentVolumeClaim) -> bool:
    return claim.spec.volume_name != "" and BIND_COMPLETED in claim.metadata.annotations


def size_of(claim: PersistentVolumeClaim) -> int:
    """Bytes asked for."""
    return to_bytes(claim.spec.resources.requests.get("storage", 0))


def suits(claim: PersistentVolumeClaim, volume: PersistentVolume) -> bool:
    """Whether an existing volume could be bound to the claim, whatever the node. Source: upstream FindMatchingVolume."""
    spec = volume.spec
    if volume.is_deleting or (claim.spec.volume_mode or "Filesystem") != (spec.volume_mode or "Filesystem"):
        return False
    reference = spec.claim_ref
    if reference is not None:
        same = (reference.namespace, reference.name) == (claim.namespace, claim.name)
        return same and reference.uid in ("", claim.uid)
    selector = claim.spec.selector
    return (
        volume.status.phase == "Available"
        and volume.storage_class == claim.storage_class
        and set(claim.spec.access_modes) <= set(spec.access_modes)
        and to_bytes(spec.capacity.get("storage", 0)) >= size_of(claim)
        and (selector is None or labels_from_json(selector).matches(volume.metadata.labels))
    )


def candidates(claim: PersistentVolumeClaim, listers: Listers, taken: Mapping[str, Key]) -> list[PersistentVolume]:
    """The existing volumes that suit the claim, the one prebound to it first, then the smallest first.

    Args:
        taken: volumes promised to claims already, by name.
    """
    found = [
        volume
        for volume in listers.volumes.values()
        if suits(claim, volume) and taken.get(volume.name, claim.key) == claim.key
    ]
    return sorted(
        found, key=lambda one: (one.spec.claim_ref is None, to_bytes(one.spec.capacity.get("storage", 0)), one.name)
    )


def is_provisioned(storage_class: StorageClass | None) -> bool:
    """Whether the class makes new volumes."""
    return storage_class is not None and storage_class.provisioner not in ("", NO_PROVISIONER)
