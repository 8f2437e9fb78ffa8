"""emptyDir: a directory that lives as long as the pod, on disk or in memory."""

import os
from pathlib import Path

from kobune.api.quantity import to_bytes
from kobune.node.kubelet.volumes.ownership import give_to_group
from kobune.node.kubelet.volumes.volume import Request


async def set_up(request: Request) -> Path:
    source = request.volume.empty_dir
    assert source is not None
    is_new = not request.path.exists()
    request.path.mkdir(parents=True, exist_ok=True)
    if source.medium == "Memory":
        limit = to_bytes(source.size_limit) if source.size_limit else 0
        request.mounter.tmpfs(request.path, size_bytes=limit)
    if is_new:
        os.chmod(request.path, 0o777)  # mkdir's mode is subject to the umask.
        if request.fs_group is not None:
            give_to_group(request.path, request.fs_group)
    return request.path
