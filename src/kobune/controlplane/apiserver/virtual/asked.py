"""What the kinds that are asked have in common."""

from typing import TYPE_CHECKING

import orjson

from kobune.api.errors import Json, MethodNotAllowed
from kobune.controlplane.apiserver.answers import document
from kobune.controlplane.apiserver.negotiation import accepted
from kobune.controlplane.apiserver.request import Request, Response, User
from kobune.controlplane.apiserver.routes import RequestInfo
from kobune.controlplane.apiserver.subresources.posted import read_as

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer


def read_review(server: "ApiServer", request: Request, info: RequestInfo) -> Json:
    """The posted review. Raises MethodNotAllowed, BadRequest."""
    if info.verb != "create" or info.kind is None or info.name:
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    review = read_as(server, request, info.kind)
    review.setdefault("spec", {})
    return review


def answer(request: Request, review: Json, status: Json) -> Response:
    review["status"] = status
    return document(orjson.dumps(review), accepted(request.headers.get("accept") or "", plain=True), 201)


def user_info(user: User) -> Json:
    """A user as reviews show one."""
    info: Json = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {name: list(values) for name, values in user.extra.items()}
    return info
