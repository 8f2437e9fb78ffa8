"""Files from the keys of a ConfigMap or Secret: all of them, or those chosen by `items`."""

import base64
from collections.abc import Mapping, Sequence

from kobune.api.objects.core import ConfigMap, Secret
from kobune.node.kubelet.pod import KeyToPath
from kobune.node.kubelet.volumes.atomic_writer import File
from kobune.node.kubelet.volumes.volume import Request, VolumeProblem


def contents(source: ConfigMap | Secret) -> dict[str, bytes]:
    """What each key holds."""
    if isinstance(source, Secret):
        return {key: base64.b64decode(value) for key, value in source.data.items()}
    binary = {key: base64.b64decode(value) for key, value in source.binary_data.items()}
    return {key: value.encode() for key, value in source.data.items()} | binary


def files_of(
    values: Mapping[str, bytes], items: Sequence[KeyToPath], *, mode: int, optional: bool, what: str
) -> dict[str, File]:
    """The files by path.

    Args:
        what: "configmap" or "secret", for the message.
    Raises:
        VolumeProblem: a chosen key is missing and not optional.
    """
    if not items:
        return {key: File(value, mode) for key, value in values.items()}
    files: dict[str, File] = {}
    for item in items:
        if item.key in values:
            files[item.path] = File(values[item.key], item.mode if item.mode is not None else mode)
        elif not optional:
            raise VolumeProblem(
                f"{what} references non-existent {'config' if what == 'configmap' else 'secret'} key: {item.key}"
            )
    return files


async def config_map_files(
    request: Request, name: str, items: Sequence[KeyToPath], *, mode: int, optional: bool
) -> dict[str, File]:
    """The files of a ConfigMap; none when it is missing and optional. Raises VolumeProblem, ApiError."""
    found = await request.sources.config_map(request.pod.namespace, name)
    if found is None and not optional:
        raise VolumeProblem(f'configmap "{name}" not found')
    return files_of(
        contents(found) if found else {}, items if found else (), mode=mode, optional=optional, what="configmap"
    )


async def secret_files(
    request: Request, name: str, items: Sequence[KeyToPath], *, mode: int, optional: bool
) -> dict[str, File]:
    """The files of a Secret; none when it is missing and optional. Raises VolumeProblem, ApiError."""
    found = await request.sources.secret(request.pod.namespace, name)
    if found is None and not optional:
        raise VolumeProblem(f'secret "{name}" not found')
    return files_of(
        contents(found) if found else {}, items if found else (), mode=mode, optional=optional, what="secret"
    )
