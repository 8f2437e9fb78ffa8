"""The provisioner of local volumes: a directory on the node that the scheduler has chosen, or one that all nodes share.

It plays the part of an external provisioner: it serves the claims of storage classes that name it, makes them a volume,
expands it, and deletes it when it is released. The kubelet makes the directory when a pod first uses it. Parameters of a
class: `shared: "true"` for a directory that every node of the machine sees, `capacityPerNode` for a limit to what volumes
of the class may promise on one node.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kobune.api.errors import AlreadyExists, Json, NotFound
from kobune.api.objects.core import Node
from kobune.api.objects.meta import Key
from kobune.api.objects.storage import (
    LOCAL_PROVISIONER,
    PROVISIONED_BY,
    PROVISIONER_ANNOTATIONS,
    SELECTED_NODE,
    WAIT_FOR_CONSUMER,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
    claim_reference,
)
from kobune.api.quantity import to_bytes
from kobune.controlplane.controllers.controller import Context, Controller, Maps
from kobune.controlplane.controllers.storage.matching import capacity, requested

HOSTNAME = "kubernetes.io/hostname"
SHARED = "shared"  # As parameter and, in place of a node's name, as directory: no node is named so, names have a dash.


class Place(NamedTuple):
    """Where a volume goes."""

    node: Node | None  # None: everywhere.
    directory: str


class Refusal(NamedTuple):
    message: str
    elsewhere: bool = False  # Another node might do.


async def reconcile(key: Key, context: Context) -> None:
    """A claim to make a volume for or to expand; or (without a namespace) a volume to delete."""
    root = context.settings.local_volumes
    if root is None:
        return
    if not key.namespace:
        volume = context.informer(PersistentVolume).get(key)
        if volume is not None:
            await _delete(volume, root, context)
        return
    claim = context.informer(PersistentVolumeClaim).get(key)
    if claim is None or claim.is_deleting:
        return
    if claim.spec.volume_name:
        if claim.status.phase == "Bound":
            await _expand(claim, context)
        return
    storage_class = context.informer(StorageClass).get(Key("", claim.storage_class))
    if storage_class is None or storage_class.provisioner != LOCAL_PROVISIONER:
        return
    if claim.metadata.annotations.get(PROVISIONER_ANNOTATIONS[0]) != LOCAL_PROVISIONER:
        return  # The binder has not found yet that no volume suits.
    name = f"pvc-{claim.uid}"
    if context.informer(PersistentVolume).get(Key("", name)) is None:
        await _provision(claim, storage_class, name, root, context)


async def _provision(
    claim: PersistentVolumeClaim, storage_class: StorageClass, name: str, root: Path, context: Context
) -> None:
    volumes = context.informer(PersistentVolume)
    chosen = claim.metadata.annotations.get(SELECTED_NODE, "")
    nodes = list(context.informer(Node).items.values())
    place = plan_place(claim, storage_class, chosen, nodes, list(volumes.index("provisioner", LOCAL_PROVISIONER)))
    if place is None:
        return  # The scheduler has not chosen, or there is no node yet: their changes wake us.
    message = f'External provisioner is provisioning volume for claim "{claim.key}"'
    context.events.normal(claim, "Provisioning", message)
    if isinstance(place, Refusal):
        message = f'failed to provision volume with StorageClass "{storage_class.name}": {place.message}'
        context.events.warning(claim, "ProvisioningFailed", message)
        if place.elsewhere and chosen:
            change = {"resourceVersion": claim.metadata.resource_version, "annotations": {SELECTED_NODE: None}}
            await context.client.patch(PersistentVolumeClaim, claim.key, {"metadata": change})
        return
    with suppress(AlreadyExists):
        await context.client.create(PersistentVolume, volume_manifest(claim, storage_class, place, name, root))
    context.events.normal(claim, "ProvisioningSucceeded", f"Successfully provisioned volume {name}")


def plan_place(
    claim: PersistentVolumeClaim,
    storage_class: StorageClass,
    chosen: str,
    nodes: Sequence[Node],
    volumes: Sequence[PersistentVolume],
) -> Place | Refusal | None:
    """Where the claim's volume goes; None while that is not known.

    Args:
        chosen: the node that the scheduler wants it on, if it has been asked.
    """
    if (claim.spec.volume_mode or "Filesystem") != "Filesystem":
        return Refusal("local volumes are directories: volumeMode Block is not supported")
    if claim.spec.data_source is not None:
        return Refusal("local volumes begin empty: dataSource is not supported")
    if storage_class.parameters.get(SHARED) == "true":
        return Place(None, SHARED)
    if storage_class.volume_binding_mode == WAIT_FOR_CONSUMER and not chosen:
        return None
    able = [node for node in nodes if node.name == chosen] if chosen else [each for each in nodes if each.takes_pods]
    able = [node for node in able if _is_allowed(storage_class, node)]
    if not able:
        return Refusal(f'node "{chosen}" is not there or not allowed', elsewhere=True) if chosen else None
    limit = storage_class.parameters.get("capacityPerNode")
    promised = {node.name: 0 for node in able}
    for volume in volumes:
        node_name = _node_of(volume)
        if node_name in promised and volume.storage_class == storage_class.name:
            promised[node_name] += capacity(volume)
    best = min(able, key=lambda node: (promised[node.name], node.name))
    if limit is not None and promised[best.name] + requested(claim) > to_bytes(limit):
        left = max(to_bytes(limit) - promised[best.name], 0)
        return Refusal(f'not enough free storage on node "{best.name}": {left} bytes are left', elsewhere=True)
    return Place(best, best.name)


def volume_manifest(
    claim: PersistentVolumeClaim, storage_class: StorageClass, place: Place, name: str, root: Path
) -> Json:
    """The volume, already meant for the claim."""
    spec: Json = {
        "capacity": {"storage": claim.spec.resources.requests.get("storage", "0")},
        "accessModes": claim.spec.access_modes,
        "claimRef": claim_reference(claim.metadata),
        "persistentVolumeReclaimPolicy": storage_class.reclaim_policy,
        "storageClassName": storage_class.name,
        "volumeMode": "Filesystem",
    }
    path = str(directory_of(root, place.directory, name))
    if place.node is not None:
        spec["local"] = {"path": path}
        hostname = place.node.metadata.labels.get(HOSTNAME, place.node.name)
        rule = {"key": HOSTNAME, "operator": "In", "values": [hostname]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}}
    else:
        spec["hostPath"] = {"path": path, "type": ""}  # A local volume would need a node.
    if storage_class.mount_options:
        spec["mountOptions"] = storage_class.mount_options
    return {"metadata": {"name": name, "annotations": {PROVISIONED_BY: LOCAL_PROVISIONER}}, "spec": spec}


def directory_of(root: Path, directory: str, name: str) -> Path:
    """Where the files of a volume are."""
    return root / directory / "volumes" / name


async def _expand(claim: PersistentVolumeClaim, context: Context) -> None:
    """A directory needs nothing done to hold more: volume and claim are told the new size."""
    volume = context.informer(PersistentVolume).get(Key("", claim.spec.volume_name))
    wanted = requested(claim)
    if (
        volume is None
        or not _is_ours(volume)
        or volume.spec.claim_ref is None
        or volume.spec.claim_ref.uid != claim.uid
        or wanted <= to_bytes(claim.status.capacity.get("storage", 0))
    ):
        return
    size = claim.spec.resources.requests["storage"]
    if wanted > capacity(volume):
        context.events.normal(claim, "Resizing", f"External resizer is resizing volume {volume.name}")
        await context.client.patch(PersistentVolume, volume.key, {"spec": {"capacity": {"storage": size}}})
    status = {"capacity": {"storage": size}, "conditions": None, "allocatedResources": None}
    await context.client.patch_status(PersistentVolumeClaim, claim.key, status)
    context.events.normal(claim, "VolumeResizeSuccessful", "Resize volume succeeded")


async def _delete(volume: PersistentVolume, root: Path, context: Context) -> None:
    """A released volume whose policy says so goes, with all it holds."""
    released = volume.status.phase == "Released" and volume.spec.persistent_volume_reclaim_policy == "Delete"
    if not released or not _is_ours(volume) or volume.is_deleting:
        return
    path = _path_of(volume)
    # Only what this provisioner would have made: whoever may write volumes may not have any directory removed.
    if path is not None and path == directory_of(root, _directory_name(volume), volume.name):
        await context.settings.offload(_remove_tree, path)
    with suppress(NotFound):
        await context.client.delete(PersistentVolume, volume.key, uid=volume.uid)


def _remove_tree(path: Path) -> None:
    """A file system mounted below by mistake, or a link, is not followed."""
    if not os.path.islink(path) and path.is_dir():
        shutil.rmtree(path, ignore_errors=True)


def _is_ours(volume: PersistentVolume) -> bool:
    return volume.metadata.annotations.get(PROVISIONED_BY) == LOCAL_PROVISIONER


def _path_of(volume: PersistentVolume) -> Path | None:
    source = volume.spec.local or volume.spec.host_path
    return Path(source.path) if source is not None and source.path else None


def _directory_name(volume: PersistentVolume) -> str:
    """The part of the path that names node or share; what is not safe as such is nobody's."""
    path = _path_of(volume)
    name = path.parent.parent.name if path is not None else ""
    return name if name and name not in (".", "..") else "-"


def _node_of(volume: PersistentVolume) -> str:
    return _directory_name(volume) if volume.spec.local is not None else ""


def _is_allowed(storage_class: StorageClass, node: Node) -> bool:
    """One of the class's topologies, if it has any, holds for the node."""
    labels = node.metadata.labels
    return not storage_class.allowed_topologies or any(
        all(labels.get(rule.key) in rule.values for rule in term.match_label_expressions)
        for term in storage_class.allowed_topologies
    )


def _claim_changed(
    context: Context, old: PersistentVolumeClaim | None, new: PersistentVolumeClaim | None
) -> Iterable[Key]:
    return (new.key,) if new is not None else ()


def _volume_changed(context: Context, old: PersistentVolume | None, new: PersistentVolume | None) -> Iterable[Key]:
    if new is not None:
        reference = new.spec.claim_ref
        return (new.key,) if reference is None else (new.key, Key(reference.namespace, reference.name))
    if old is None or not _is_ours(old):
        return ()
    # There may be room now.
    return [claim.key for claim in context.informer(PersistentVolumeClaim).index("unmet", old.storage_class)]


def _class_changed(context: Context, _old: StorageClass | None, new: StorageClass | None) -> Iterable[Key]:
    if new is None or new.provisioner != LOCAL_PROVISIONER:
        return ()
    return [claim.key for claim in context.informer(PersistentVolumeClaim).index("unmet", new.name)]


def _node_changed(context: Context, old: Node | None, new: Node | None) -> Iterable[Key]:
    """Claims that wait for a node; heartbeats change nothing."""
    if new is None or (old is not None and old.takes_pods == new.takes_pods):
        return ()
    claims = context.informer(PersistentVolumeClaim)
    classes = context.informer(StorageClass).items.values()
    return [
        claim.key
        for each in classes
        if each.provisioner == LOCAL_PROVISIONER
        for claim in claims.index("unmet", each.name)
    ]


def _prepare(context: Context) -> None:
    context.informer(PersistentVolumeClaim).add_index(
        "unmet", lambda claim: () if claim.spec.volume_name else (claim.storage_class,)
    )
    context.informer(PersistentVolume).add_index(
        "provisioner", lambda volume: (volume.metadata.annotations.get(PROVISIONED_BY, ""),)
    )


CONTROLLER = Controller(
    "kobune-local-volume-controller",
    (
        Maps(PersistentVolumeClaim, _claim_changed),
        Maps(PersistentVolume, _volume_changed),
        Maps(StorageClass, _class_changed),
        Maps(Node, _node_changed),
    ),
    reconcile,
    workers=1,  # Two would promise the same room twice.
    prepare=_prepare,
    component=LOCAL_PROVISIONER,
)
