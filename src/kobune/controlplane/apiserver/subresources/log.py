"""pods/log: what a container has written, from its kubelet."""

import base64
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from aiohttp import web

from kobune.api.errors import FieldError, MethodNotAllowed, invalid
from kobune.controlplane.apiserver.kubelets import Kubelets
from kobune.controlplane.apiserver.options import number
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.resources import new_call
from kobune.controlplane.apiserver.routes import RequestInfo
from kobune.controlplane.apiserver.subresources.pod_location import choose_container, find_node, find_pod

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

PASSED_ON = (
    "follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream",
)  # fmt: skip
BINARY, BASE64 = "binary.k8s.io", "base64.binary.k8s.io"
NOT_NEGATIVE, POSITIVE = ("tailLines",), ("limitBytes", "sinceSeconds")


async def log(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """Raises BadRequest, Invalid, NotFound; ServiceUnavailable when the kubelet cannot be reached."""
    if info.verb != "get":
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    call = new_call(server, request, info, writing=False)
    _check(request)
    pod = await find_pod(server, call)
    container = choose_container(pod, request.query.get("container", ""))
    if not (pod.get("spec") or {}).get("nodeName"):
        return Response(204)  # There is nothing to read yet.
    node = await find_node(server, pod)
    path = f"/containerLogs/{call.namespace}/{call.name}/{container}"
    query = [(name, request.query[name]) for name in PASSED_ON if request.query.get(name)]
    kubelets: Kubelets = server.kubelets
    pieces = await kubelets.get(node, path, query)
    if (request.headers.get("upgrade") or "").lower() == "websocket" and isinstance(
        request.connection, web.BaseRequest
    ):
        return await _over_websocket(request.connection, pieces)
    return Response(200, pieces, "text/plain")


async def _over_websocket(incoming: web.BaseRequest, pieces: AsyncIterator[bytes]) -> Response:
    """Each piece as one message. Source: upstream wsstream, NewDefaultReaderProtocols."""
    client = web.WebSocketResponse(protocols=(BINARY, BASE64), compress=False)
    await client.prepare(incoming)
    try:
        async for piece in pieces:
            if client.ws_protocol == BASE64:
                await client.send_str(base64.b64encode(piece).decode())
            else:
                await client.send_bytes(piece)
        await client.close()
    except ConnectionError:
        pass  # Nobody reads on.
    return Response(101, taken=client)


def _check(request: Request) -> None:
    faults = []
    for name in (*NOT_NEGATIVE, *POSITIVE):
        text = request.query.get(name, "")
        if not text:
            continue
        least = 1 if name in POSITIVE else 0
        if number(request.query, name) < least:
            words = "must be greater than 0" if least else "must be greater than or equal to 0"
            faults.append(FieldError(name, "FieldValueInvalid", f"Invalid value: {text}: {words}"))
    if request.query.get("sinceSeconds") and request.query.get("sinceTime"):
        words = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        faults.append(FieldError("sinceSeconds", "FieldValueForbidden", words))
    if faults:
        raise invalid("PodLogOptions", info_name(request), *faults)


def info_name(request: Request) -> str:
    return request.path.split("/")[-2]
