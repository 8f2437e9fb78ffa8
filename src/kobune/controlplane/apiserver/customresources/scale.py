"""The scale subresource of custom kinds, by the paths that their definitions give."""

from typing import TYPE_CHECKING

from kobune.api.copying import clone
from kobune.api.custom import ScalePaths
from kobune.api.errors import ApiError, Json
from kobune.api.jsonpath import JsonPath
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.resources import missing_resource
from kobune.controlplane.apiserver.routes import RequestInfo
from kobune.controlplane.apiserver.subresources.scale import SCALE, View, serve_scale

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

_META = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


async def custom_scale(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """Get, update or patch the number of replicas where the definition says it is kept."""
    assert info.kind is not None
    paths = server.registry.custom.version(info.kind).scale
    if paths is None:
        raise missing_resource()
    view = View(
        lambda obj: shown(paths, obj, is_asked=request.method == "GET"), lambda obj, number: taken(paths, obj, number)
    )
    return await serve_scale(server, request, info, view)


def shown(paths: ScalePaths, obj: Json, *, is_asked: bool) -> Json:
    """The Scale of a custom object.

    Raises:
        ApiError: the object does not say how many replicas it wants.
    """
    meta, wanted = obj["metadata"], paths.wanted.find(obj)
    if not wanted and is_asked:
        raise ApiError(f'the spec replicas field "{paths.wanted.text}" does not exist')
    selector = paths.selector.find(obj) if paths.selector is not None else []
    status: Json = {"replicas": _number(paths.current, obj)}
    if selector and isinstance(selector[0], str) and selector[0]:
        status["selector"] = selector[0]
    return {
        "kind": SCALE.name,
        "apiVersion": SCALE.api_version,
        "metadata": {field: meta[field] for field in _META if field in meta},
        "spec": {"replicas": _number(paths.wanted, obj)},
        "status": status,
    }


def taken(paths: ScalePaths, obj: Json, replicas: int) -> Json:
    """The object with another number of replicas; what leads there is made if need be."""
    result: Json = clone(obj)
    *parents, last = paths.wanted.text.removeprefix(".").split(".")
    place = result
    for name in parents:
        inner = place.get(name)
        if not isinstance(inner, dict):
            inner = place[name] = {}
        place = inner
    place[last] = replicas
    return result


def _number(path: JsonPath, obj: Json) -> int:
    found = path.find(obj)
    return int(found[0]) if found and isinstance(found[0], int | float) else 0
