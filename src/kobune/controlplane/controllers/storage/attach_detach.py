"""Asks CSI drivers, by VolumeAttachments, for volumes to be attached to the nodes whose pods use them, and detached.

Keys are names of PersistentVolumes. A volume for one node at a time is attached to the next only when it is detached from
the one before, and it is detached only when the node's kubelet no longer reports it as in use: unless the node has been out
of order for six minutes or is marked out of service. Source: upstream's attachdetach controller.
"""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from kobune.api.errors import AlreadyExists, Json, NotFound
from kobune.api.objects.core import Node
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key
from kobune.api.objects.storage import CSIDriver, PersistentVolume, PersistentVolumeClaim, VolumeAttachment
from kobune.controlplane.controllers.controller import Context, Controller, Maps
from kobune.controlplane.controllers.protection import claims_of

FORCE_SECONDS = 360.0  # Source: upstream ReconcilerMaxWaitForUnmountDuration.
LOOK_SECONDS = 10.0  # How often a volume that is still in use is looked at.
NAMED = "csi-"  # How the names of our attachments begin.
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


@dataclass(slots=True)
class Waiting:
    """Since when volumes wait for their nodes to let them go, by attachment, and what has been said."""

    since: dict[str, float] = field(default_factory=dict)
    said: set[tuple[str, str]] = field(default_factory=set)  # (volume, node) of a multi-attach error.


class Plan(NamedTuple):
    attach: list[str]  # Names of nodes.
    detach: list[VolumeAttachment]
    blocked: list[str]  # Nodes that have to wait for another one to let go.


async def reconcile(key: Key, context: Context) -> float | None:
    """One volume. Gives the seconds to the next look while a node has to let go."""
    volume = context.informer(PersistentVolume).get(key)
    # Whoever makes attachments under names of their own looks after them, too.
    found = context.informer(VolumeAttachment).index("volume", key.name)
    attachments = [each for each in found if each.name.startswith(NAMED)]
    users = _users(volume, context) if volume is not None else {}
    waiting = context.own(Waiting)
    step = plan(volume, users, attachments)
    for attachment in attachments:
        if attachment not in step.detach:
            waiting.since.pop(attachment.name, None)
    again: float | None = None
    for attachment in step.detach:
        if _may_detach(attachment, volume, context, waiting):
            await _detach(attachment, volume, context)
            waiting.since.pop(attachment.name, None)
        else:
            again = LOOK_SECONDS
    if volume is not None:
        for node in step.attach:
            await _attach(volume, node, context)
        for node in step.blocked:
            if (key.name, node) not in waiting.said:
                waiting.said.add((key.name, node))
                _say_blocked(volume, node, users, context)
    waiting.said -= {each for each in waiting.said if each[0] == key.name and each[1] not in step.blocked}
    for attachment in attachments:
        if attachment.status.attached and attachment not in step.detach and volume is not None:
            if await _report(volume, attachment.spec.node_name, context, attached=True):
                for pod in users.get(attachment.spec.node_name, ()):
                    message = f'AttachVolume.Attach succeeded for volume "{volume.name}" '
                    context.events.normal(pod, "SuccessfulAttachVolume", message)
        elif attachment.status.attach_error is not None and volume is not None:
            for pod in users.get(attachment.spec.node_name, ()):
                why = attachment.status.attach_error.message
                message = f'AttachVolume.Attach failed for volume "{volume.name}" : {why}'
                context.events.warning(pod, "FailedAttachVolume", message)
    return again


def plan(volume: PersistentVolume | None, users: dict[str, list[Pod]], attachments: Iterable[VolumeAttachment]) -> Plan:
    """What to attach and detach.

    Args:
        users: the pods that need the volume attached, by node; empty for a volume that is not attached at all.
    """
    by_node = {each.spec.node_name: each for each in attachments}
    detach = [each for node, each in sorted(by_node.items()) if node not in users and not each.is_deleting]
    missing = sorted(node for node in users if node not in by_node)
    if volume is None or not missing:
        return Plan([], detach, [])
    if is_shareable(volume):
        return Plan(missing, detach, [])
    if by_node:
        return Plan([], detach, missing)
    return Plan(missing[:1], detach, missing[1:])


def is_shareable(volume: PersistentVolume) -> bool:
    """Several nodes may have it at once."""
    modes = volume.spec.access_modes
    return not modes or any(mode in ("ReadWriteMany", "ReadOnlyMany") for mode in modes)


def attachment_name(handle: str, driver: str, node: str) -> str:
    """Drivers and kubelets find the attachment by this name."""
    return f"{NAMED}{hashlib.sha256(f'{handle}{driver}{node}'.encode()).hexdigest()}"


def device_name(volume: PersistentVolume) -> str:
    """What Node statuses call the volume."""
    csi = volume.spec.csi
    return f"kubernetes.io/csi/{csi.driver}^{csi.volume_handle}" if csi is not None else ""


def _users(volume: PersistentVolume, context: Context) -> dict[str, list[Pod]]:
    """The pods on each node that need the volume attached."""
    reference, csi = volume.spec.claim_ref, volume.spec.csi
    if reference is None or csi is None:
        return {}
    driver = context.informer(CSIDriver).get(Key("", csi.driver))
    if driver is not None and not driver.spec.attach_required:
        return {}
    claim = context.informer(PersistentVolumeClaim).get(Key(reference.namespace, reference.name))
    if claim is None or claim.uid != reference.uid or claim.spec.volume_name != volume.name:
        return {}
    users: dict[str, list[Pod]] = {}
    for pod in context.informer(Pod).index("claim", claim.key):
        if pod.spec.node_name and not pod.is_finished:
            users.setdefault(pod.spec.node_name, []).append(pod)
    return users


async def _attach(volume: PersistentVolume, node: str, context: Context) -> None:
    csi = volume.spec.csi
    if csi is None:
        return
    spec = {"attacher": csi.driver, "nodeName": node, "source": {"persistentVolumeName": volume.name}}
    with suppress(AlreadyExists):
        name = attachment_name(csi.volume_handle, csi.driver, node)
        await context.client.create(VolumeAttachment, {"metadata": {"name": name}, "spec": spec})


def _may_detach(
    attachment: VolumeAttachment, volume: PersistentVolume | None, context: Context, waiting: Waiting
) -> bool:
    now = context.clock.monotonic()
    since = waiting.since.setdefault(attachment.name, now)
    node = context.informer(Node).get(Key("", attachment.spec.node_name))
    if node is None or volume is None or device_name(volume) not in node.status.volumes_in_use:
        return True
    if any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints):
        return True
    return not node.is_ready and now - since > FORCE_SECONDS


async def _detach(attachment: VolumeAttachment, volume: PersistentVolume | None, context: Context) -> None:
    """First the node's status: from then on its kubelet does not mount the volume any more."""
    if volume is not None:
        await _report(volume, attachment.spec.node_name, context, attached=False)
    with suppress(NotFound):
        await context.client.delete(VolumeAttachment, attachment.key, uid=attachment.uid)


async def _report(volume: PersistentVolume, name: str, context: Context, *, attached: bool) -> bool:
    """Name the volume in the node's status or no longer; whether that was news."""
    node = context.informer(Node).get(Key("", name))
    device = device_name(volume)
    if node is None or not device or (device in {each.name for each in node.status.volumes_attached}) == attached:
        return False
    fresh = await context.client.find(Node, node.key)
    if fresh is None:
        return False
    listed = [each for each in fresh.status.volumes_attached if each.name != device]
    entries: list[Json] = [{"name": each.name, "devicePath": each.device_path} for each in listed]
    if attached:
        entries.append({"name": device, "devicePath": ""})
    change: Json = {
        "metadata": {"resourceVersion": fresh.metadata.resource_version},
        "status": {"volumesAttached": entries or None},
    }
    await context.client.patch(Node, node.key, change, subresource="status")
    return True


def _say_blocked(volume: PersistentVolume, node: str, users: dict[str, list[Pod]], context: Context) -> None:
    others = sorted(pod.name for other, pods in users.items() if other != node for pod in pods)
    why = "Volume is already exclusively attached to one node and can't be attached to another"
    if others:
        why = f"Volume is already used by pod(s) {', '.join(others)}"
    for pod in users.get(node, ()):
        message = f'Multi-Attach error for volume "{volume.name}" {why}'
        context.events.warning(pod, "FailedAttachVolume", message)


def _volume_itself(_context: Context, old: PersistentVolume | None, new: PersistentVolume | None) -> Iterable[Key]:
    volume = new or old
    return (volume.key,) if volume is not None and volume.spec.csi is not None else ()


def _volume_attached(_context: Context, old: VolumeAttachment | None, new: VolumeAttachment | None) -> Iterable[Key]:
    attachment = new or old
    return (Key("", attachment.spec.source.persistent_volume_name),) if attachment is not None else ()


def _volume_of_claim(
    context: Context, old: PersistentVolumeClaim | None, new: PersistentVolumeClaim | None
) -> Iterable[Key]:
    claim = new or old
    return _csi_volumes(context, [claim.key]) if claim is not None else ()


def _volumes_of_pod(context: Context, old: Pod | None, new: Pod | None) -> Iterable[Key]:
    pod = new or old
    if pod is None or not pod.spec.node_name:
        return ()
    if old is not None and new is not None and old.spec.node_name and old.is_finished == new.is_finished:
        return ()
    return _csi_volumes(context, claims_of(pod))


def _csi_volumes(context: Context, claims: Iterable[Key]) -> list[Key]:
    keys = []
    for key in claims:
        claim = context.informer(PersistentVolumeClaim).get(key)
        volume = context.informer(PersistentVolume).get(Key("", claim.spec.volume_name)) if claim is not None else None
        if volume is not None and volume.spec.csi is not None:
            keys.append(volume.key)
    return keys


def _volumes_of_node(context: Context, old: Node | None, new: Node | None) -> Iterable[Key]:
    """A kubelet has let a volume go, or the node is gone or given up."""
    if old is None or (
        new is not None
        and old.status.volumes_in_use == new.status.volumes_in_use
        and old.spec.taints == new.spec.taints
    ):
        return ()
    attachments = context.informer(VolumeAttachment).index("node", old.name)
    return [Key("", each.spec.source.persistent_volume_name) for each in attachments]


def _prepare(context: Context) -> None:
    context.informer(Pod).add_index("claim", claims_of)
    attachments = context.informer(VolumeAttachment)
    attachments.add_index("volume", lambda each: (each.spec.source.persistent_volume_name,))
    attachments.add_index("node", lambda each: (each.spec.node_name,))


CONTROLLER = Controller(
    "persistentvolume-attach-detach-controller",
    (
        Maps(PersistentVolume, _volume_itself),
        Maps(VolumeAttachment, _volume_attached),
        Maps(PersistentVolumeClaim, _volume_of_claim),
        Maps(Pod, _volumes_of_pod),
        Maps(Node, _volumes_of_node),
        Maps(CSIDriver),
    ),
    reconcile,
    prepare=_prepare,
    component="attachdetach-controller",
)
