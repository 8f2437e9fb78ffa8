"""TokenReview: whose token is this? SelfSubjectReview: who am I?"""

from typing import TYPE_CHECKING

from kobune.api.errors import BadRequest
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver.request import MASTER, Request, Response
from kobune.controlplane.apiserver.routes import RequestInfo
from kobune.controlplane.apiserver.virtual.asked import answer, read_review, user_info

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer


async def review_token(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    review = read_review(server, request, info)
    token, audiences = review["spec"].get("token") or "", review["spec"].get("audiences") or []
    if not token:
        raise BadRequest("token is required for TokenReview in authentication")
    wanted = tuple(audiences) or server.config.audiences
    if server.service_account_tokens is not None:
        found = await server.service_account_tokens.review(token, wanted)
        if found is not None:
            status = {"authenticated": True, "user": user_info(found[0]), "audiences": found[1]}
            return answer(request, review, status)
    # Other tokens are for this server alone.
    shared = [audience for audience in server.config.audiences if audience in wanted]
    user = await server.authenticator.by_token(token) if shared else None
    if user is None:
        return answer(request, review, {"user": {}, "error": "[invalid bearer token, unknown]"})
    return answer(request, review, {"authenticated": True, "user": user_info(user), "audiences": shared})


async def review_self(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    review = read_review(server, request, info)
    review["metadata"]["creationTimestamp"] = format_time(server.clock.now())
    return answer(request, review, {"userInfo": user_info(request.user or MASTER)})
