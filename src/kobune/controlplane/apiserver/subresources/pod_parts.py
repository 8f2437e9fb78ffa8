"""pods/ephemeralcontainers and pods/resize: the parts of a running pod's spec that may change."""

from typing import TYPE_CHECKING

from kobune.api.errors import Json
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.strategy import count_generation
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.resources import part
from kobune.controlplane.apiserver.routes import RequestInfo

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer


async def ephemeral_containers(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """The pod, of which only spec.ephemeralContainers can be changed."""
    return await part(server, request, info, _with_ephemeral_containers)


async def resize(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """The pod, of which only the resources of its containers can be changed."""
    return await part(server, request, info, _resized)


def _with_ephemeral_containers(call: Call, new: Json, old: Json) -> Json:
    spec = dict(old["spec"])
    wanted = (new.get("spec") or {}).get("ephemeralContainers")
    if wanted:
        spec["ephemeralContainers"] = wanted
    else:
        spec.pop("ephemeralContainers", None)
    return _with_spec(call, old, spec)


def _resized(call: Call, new: Json, old: Json) -> Json:
    spec = dict(old["spec"])
    for field in ("containers", "initContainers"):
        wanted = {one.get("name"): one for one in (new.get("spec") or {}).get(field) or ()}
        if field in spec:
            spec[field] = [_with_resources(one, wanted.get(one["name"])) for one in spec[field]]
    return _with_spec(call, old, spec)


def _with_resources(container: Json, wanted: Json | None) -> Json:
    if wanted is None:
        return container
    result = dict(container)
    for field in ("resources", "resizePolicy"):
        if field in wanted:
            result[field] = wanted[field]
    return result


def _with_spec(call: Call, old: Json, spec: Json) -> Json:
    result = {**old, "metadata": dict(old["metadata"]), "spec": spec}
    count_generation(call.kind, result, old)
    return result
