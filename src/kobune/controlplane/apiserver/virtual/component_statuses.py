"""ComponentStatus: a list, out of use upstream since 1.19, of how components feel; only the store can be asked here."""

from typing import TYPE_CHECKING

import orjson

from kobune.api.errors import Json, MethodNotAllowed, not_found
from kobune.controlplane.apiserver.negotiation import accepted
from kobune.controlplane.apiserver.paths.health import store_problem
from kobune.controlplane.apiserver.registry.reading import Results
from kobune.controlplane.apiserver.rendering import render_list, render_object
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.routes import RequestInfo

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

NAME = "etcd-0"
DEPRECATED = "v1 ComponentStatus is deprecated in v1.19+"


async def component_statuses(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    assert info.kind is not None
    request.warnings.append(DEPRECATED)
    problem = await store_problem(server)
    condition = {"type": "Healthy", "status": "False" if problem else "True", "message": problem or "ok"}
    status: Json = {
        "kind": "ComponentStatus",
        "apiVersion": "v1",
        "metadata": {"name": NAME},
        "conditions": [condition],
    }
    form = accepted(request.headers.get("accept") or "")
    if info.verb == "list":
        return render_list(server, info.kind, Results([orjson.dumps(status)], 0, "", 0), form, request.query)
    if info.verb != "get":
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    if info.name != NAME:
        raise not_found("componentstatuses", info.name)
    return render_object(server, info.kind, orjson.dumps(status), form, request.query)
