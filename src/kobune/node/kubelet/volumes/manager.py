"""Sets up all volumes of a pod, brings their contents up to date, and removes every trace of them."""

import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from kobune.api.clock import Clock
from kobune.api.errors import ApiError
from kobune.client.client import Client
from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.environment import expand
from kobune.node.kubelet.fields import Place
from kobune.node.kubelet.pod import Container, Pod, Volume
from kobune.node.kubelet.sources import Sources
from kobune.node.kubelet.together import together
from kobune.node.kubelet.volumes import (
    config_map,
    downward_api,
    empty_dir,
    host_path,
    persistent_volume_claim,
    projected,
    secret,
)
from kobune.node.kubelet.volumes.mounts import Mounter
from kobune.node.kubelet.volumes.subpath import prepare_subpath
from kobune.node.kubelet.volumes.volume import Offload, Request, VolumeProblem
from kobune.node.runtime.runtime import Mount


class _Kind(NamedTuple):
    field: str  # Of `Volume`.
    directory: str  # Below the pod's `volumes`, as upstream names it.
    set_up: Callable[[Request], Awaitable[Path]]
    changes: bool  # Its contents follow objects that may change.


class VolumeFailure(Exception):
    """A volume could not be set up; the message is that of the FailedMount event."""


class Volumes:
    """The volumes of all pods of this node."""

    def __init__(
        self,
        client: Client,
        sources: Sources,
        config: KubeletConfig,
        mounter: Mounter,
        *,
        clock: Clock,
        offload: Offload,
    ) -> None:
        self._client = client
        self._sources = sources
        self._config = config
        self._mounter = mounter
        self._clock = clock
        self._offload = offload
        self._tokens = projected.Tokens()
        self._kinds = (
            _Kind("empty_dir", "kubernetes.io~empty-dir", empty_dir.set_up, changes=False),
            _Kind("config_map", "kubernetes.io~configmap", config_map.set_up, changes=True),
            _Kind("secret", "kubernetes.io~secret", secret.set_up, changes=True),
            _Kind("projected", "kubernetes.io~projected", self._projected, changes=True),
            _Kind("downward_api", "kubernetes.io~downward-api", downward_api.set_up, changes=True),
            _Kind("host_path", "kubernetes.io~host-path", host_path.set_up, changes=False),
            _Kind(
                "persistent_volume_claim", "kubernetes.io~local-volume", persistent_volume_claim.set_up, changes=False
            ),
            _Kind("ephemeral", "kubernetes.io~local-volume", persistent_volume_claim.set_up, changes=False),
        )

    async def set_up(self, pod: Pod, place: Place) -> dict[str, Path]:
        """Host paths by volume name; volumes set up before are brought up to date.

        Raises:
            VolumeFailure: one could not be set up.
        """
        paths = await together(*(self._set_up(pod, volume, place) for volume in pod.spec.volumes))
        return dict(zip((volume.name for volume in pod.spec.volumes), paths, strict=True))

    async def refresh(self, pod: Pod, place: Place) -> None:
        """Bring volumes whose contents follow objects up to date. Raises VolumeFailure."""
        changing = [volume for volume in pod.spec.volumes if self._kind(volume).changes]
        await together(*(self._set_up(pod, volume, place) for volume in changing))

    def has_changing(self, pod: Pod) -> bool:
        """Whether `refresh` has anything to do for the pod."""
        return any(self._kind(volume).changes for volume in pod.spec.volumes)

    async def _set_up(self, pod: Pod, volume: Volume, place: Place) -> Path:
        kind = self._kind(volume)
        path = self._config.pods_dir / pod.uid / "volumes" / kind.directory / volume.name
        request = Request(
            pod, volume, path, place, self._sources, self._client, self._mounter, self._clock, self._offload
        )
        try:
            return await kind.set_up(request)
        except (VolumeProblem, ApiError, OSError) as error:
            raise VolumeFailure(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error

    def _kind(self, volume: Volume) -> _Kind:
        for kind in self._kinds:
            if getattr(volume, kind.field) is not None:
                return kind
        return _Kind("", "kubernetes.io~unknown", _unsupported, changes=False)

    async def _projected(self, request: Request) -> Path:
        return await projected.set_up(request, self._tokens)

    def mounts(self, pod: Pod, container: Container, paths: Mapping[str, Path], env: Mapping[str, str]) -> list[Mount]:
        """The container's mounts. Raises VolumeProblem."""
        by_name = {volume.name: volume for volume in pod.spec.volumes}
        result = []
        for number, mount in enumerate(container.volume_mounts):
            if mount.name not in paths:
                raise VolumeProblem(f'cannot find volume "{mount.name}" to mount into container "{container.name}"')
            path, sub_path = paths[mount.name], mount.sub_path or expand(mount.sub_path_expr, env)
            if sub_path:
                target = self._subpaths(pod.uid) / mount.name / container.name / str(number)
                path = prepare_subpath(path, sub_path, target, self._mounter)
            volume = by_name[mount.name]
            claim = volume.persistent_volume_claim
            # Their contents are the API's; what a container writes there would vanish at the next update.
            fixed = self._kind(volume).changes or (claim is not None and claim.read_only)
            container_path = mount.mount_path if mount.mount_path.startswith("/") else f"/{mount.mount_path}"
            result.append(Mount(container_path, str(path), mount.read_only or fixed, mount.mount_propagation))
        return result

    def _subpaths(self, uid: str) -> Path:
        return self._config.pods_dir / uid / "volume-subpaths"

    async def take_down(self, uid: str) -> None:
        """Unmount and remove everything of the pod; claims' and hostPath's contents stay. Nothing to do twice."""
        self._tokens.forget(uid)
        directory = self._config.pods_dir / uid
        if directory.exists():
            await self._offload(self._remove, directory)

    def _remove(self, directory: Path) -> None:
        for mounted in sorted(_mount_points(directory), key=len, reverse=True):
            self._mounter.unmount(Path(mounted))
        # A mount that would not go must not have its contents deleted through it.
        if not _mount_points(directory):
            shutil.rmtree(directory, ignore_errors=True)

    async def used_bytes(self, pod: Pod) -> dict[str, int]:
        """What each emptyDir of the pod holds."""
        root = self._config.pods_dir / pod.uid / "volumes" / "kubernetes.io~empty-dir"
        names = [volume.name for volume in pod.spec.volumes if volume.empty_dir is not None]
        sizes = await self._offload(lambda: [directory_bytes(root / name) for name in names])
        return dict(zip(names, sizes, strict=True))


async def _unsupported(request: Request) -> Path:
    raise VolumeProblem("no volume plugin matched")


def _mount_points(directory: Path) -> list[str]:
    """What is mounted below `directory`, by the kernel's own table."""
    prefix = os.path.realpath(directory) + "/"
    try:
        with open("/proc/self/mountinfo") as table:
            points = [line.split(" ", 5)[4] for line in table]
    except OSError:
        return []
    decoded = (point.replace("\\040", " ").replace("\\134", "\\") for point in points)
    return [point for point in decoded if point.startswith(prefix)]


def directory_bytes(path: Path) -> int:
    """Bytes on disk of everything below `path`; what vanishes meanwhile counts nothing."""
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except OSError:
                continue
    return total
