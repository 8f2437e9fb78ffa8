"""configMap: the keys of a ConfigMap as files."""

from pathlib import Path

from kobune.node.kubelet.volumes.atomic_writer import write_files
from kobune.node.kubelet.volumes.keys import config_map_files
from kobune.node.kubelet.volumes.volume import Request


async def set_up(request: Request) -> Path:
    source = request.volume.config_map
    assert source is not None
    files = await config_map_files(
        request, source.name, source.items, mode=source.default_mode, optional=source.optional
    )
    request.path.mkdir(parents=True, exist_ok=True)
    request.path.chmod(0o755)
    write_files(request.path, files, group=request.fs_group, now=request.clock.now())
    return request.path
