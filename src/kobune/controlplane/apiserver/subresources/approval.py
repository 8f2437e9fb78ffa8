"""certificatesigningrequests/approval: of what a request says and is told, only the conditions can be changed."""

from typing import TYPE_CHECKING

from kobune.api.errors import Json
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.resources import part
from kobune.controlplane.apiserver.routes import RequestInfo

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer


async def approve(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    return await part(server, request, info, _with_conditions)


def _with_conditions(call: Call, new: Json, old: Json) -> Json:
    status = dict(old.get("status") or {})
    conditions = (new.get("status") or {}).get("conditions") or []
    known = {one.get("type"): one for one in status.get("conditions") or ()}
    now = format_time(call.now)
    for condition in conditions:
        before = known.get(condition.get("type"))
        condition.setdefault("lastUpdateTime", now)
        same = before is not None and before.get("status") == condition.get("status")
        condition["lastTransitionTime"] = before.get("lastTransitionTime", now) if before and same else now
    status["conditions"] = conditions
    return {**new, "spec": old["spec"], "status": status}
