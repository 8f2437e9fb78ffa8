"""downwardAPI: what the pod knows about itself as files."""

from collections.abc import Sequence
from pathlib import Path

from kobune.node.kubelet.fields import UnknownField, field_value, resource_value
from kobune.node.kubelet.pod import DownwardFile
from kobune.node.kubelet.volumes.atomic_writer import File, write_files
from kobune.node.kubelet.volumes.volume import Request, VolumeProblem


async def set_up(request: Request) -> Path:
    source = request.volume.downward_api
    assert source is not None
    files = downward_files(request, source.items, mode=source.default_mode)
    request.path.mkdir(parents=True, exist_ok=True)
    request.mounter.tmpfs(request.path)
    write_files(request.path, files, group=request.fs_group, now=request.clock.now())
    return request.path


def downward_files(request: Request, items: Sequence[DownwardFile], *, mode: int) -> dict[str, File]:
    """The files by path. Raises VolumeProblem."""
    files: dict[str, File] = {}
    for item in items:
        try:
            if item.field_ref is not None:
                text = field_value(request.pod, item.field_ref.field_path, request.place)
            elif item.resource_field_ref is not None:
                text = resource_value(request.pod, item.resource_field_ref, request.place)
            else:
                continue
        except UnknownField as error:
            raise VolumeProblem(str(error)) from error
        files[item.path] = File(text.encode(), item.mode if item.mode is not None else mode)
    return files
