"""persistentVolumeClaim: the volume bound to a claim, where it lies on this node (local and hostPath volumes)."""

import os
from pathlib import Path
from typing import ClassVar

import msgspec

from kobune.api.objects.meta import GVK, Key, Object, View
from kobune.api.objects.storage import LOCAL_PROVISIONER, PROVISIONED_BY
from kobune.node.kubelet.pod import HostPathSource
from kobune.node.kubelet.volumes.host_path import check_host_path
from kobune.node.kubelet.volumes.ownership import give_to_group
from kobune.node.kubelet.volumes.volume import Request, VolumeProblem


class ClaimSpec(View):
    volume_name: str = ""


class ClaimStatus(View):
    phase: str = ""


class Claim(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "PersistentVolumeClaim")
    spec: ClaimSpec = msgspec.field(default_factory=ClaimSpec)
    status: ClaimStatus = msgspec.field(default_factory=ClaimStatus)


class LocalSource(View):
    path: str


class PersistentVolumeSpec(View):
    host_path: HostPathSource | None = None
    local: LocalSource | None = None


class PersistentVolume(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "PersistentVolume")
    spec: PersistentVolumeSpec = msgspec.field(default_factory=PersistentVolumeSpec)


async def set_up(request: Request) -> Path:
    named = request.volume.persistent_volume_claim
    name = named.claim_name if named is not None else f"{request.pod.name}-{request.volume.name}"
    claim = await request.client.find(Claim, Key(request.pod.namespace, name))
    if claim is None:
        raise VolumeProblem(
            f"error getting PVC {request.pod.namespace}/{name}: could not find v1.PersistentVolumeClaim"
        )
    if claim.status.phase != "Bound" or not claim.spec.volume_name:
        raise VolumeProblem(f"PVC {request.pod.namespace}/{name} is not bound")
    volume = await request.client.find(PersistentVolume, Key("", claim.spec.volume_name))
    if volume is None:
        raise VolumeProblem(f'persistentvolumes "{claim.spec.volume_name}" not found')
    source = volume.spec.local or volume.spec.host_path
    if volume.metadata.annotations.get(PROVISIONED_BY) == LOCAL_PROVISIONER and source is not None:
        _make(Path(source.path))
    if volume.spec.local is not None:
        path = Path(volume.spec.local.path)
        if not os.path.exists(path):  # noqa: ASYNC240 (a stat takes microseconds)
            raise VolumeProblem(f'path "{path}" does not exist')
    elif volume.spec.host_path is not None:
        path = check_host_path(Path(volume.spec.host_path.path), volume.spec.host_path.type or "DirectoryOrCreate")
    else:
        raise VolumeProblem(f'no volume plugin matched for volume "{claim.spec.volume_name}"')
    security = request.pod.spec.security_context
    if security is not None and security.fs_group is not None and path.is_dir():
        lazily = security.fs_group_change_policy == "OnRootMismatch"
        await request.offload(give_to_group, path, security.fs_group, only_when_needed=lazily)
    return path


def _make(path: Path) -> None:
    """The directory of a provisioned volume, when a pod first uses it; whoever the pod runs as may write there."""
    if not path.exists():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)
