"""secret: the keys of a Secret as files, in memory."""

from pathlib import Path

from kobune.node.kubelet.volumes.atomic_writer import write_files
from kobune.node.kubelet.volumes.keys import secret_files
from kobune.node.kubelet.volumes.volume import Request


async def set_up(request: Request) -> Path:
    source = request.volume.secret
    assert source is not None
    files = await secret_files(
        request, source.secret_name, source.items, mode=source.default_mode, optional=source.optional
    )
    request.path.mkdir(parents=True, exist_ok=True)
    request.mounter.tmpfs(request.path)
    write_files(request.path, files, group=request.fs_group, now=request.clock.now())
    return request.path
