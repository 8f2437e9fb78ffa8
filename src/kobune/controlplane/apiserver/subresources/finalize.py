"""namespaces/finalize: lets go of a namespace whose content is gone."""

from typing import TYPE_CHECKING

from kobune.api.errors import Json, MethodNotAllowed
from kobune.controlplane.apiserver.negotiation import accepted
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.update import update
from kobune.controlplane.apiserver.rendering import render_object
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.resources import new_call, read_object
from kobune.controlplane.apiserver.routes import RequestInfo

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer


async def finalize(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """Replace spec.finalizers; once they are empty, a namespace being deleted is gone."""
    if info.verb not in ("update", "create"):
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    call = new_call(server, request, info)
    call.namespace = ""
    obj = read_object(server, request, call)
    server.registry.default(call.kind, obj)
    outcome = await update(server.registry, call, obj, prepare=_finalizers)
    form = accepted(request.headers.get("accept") or "")
    return render_object(server, call.kind, outcome.body, form, request.query)


def _finalizers(call: Call, new: Json, old: Json) -> Json:
    return {**new, "spec": new.get("spec") or {}, "status": old.get("status") or {}}
