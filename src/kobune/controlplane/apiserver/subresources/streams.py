"""pods/exec, attach and portforward: a WebSocket passed through to the pod's kubelet."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import aiohttp
import orjson
from aiohttp import WSMsgType, web

from kobune.api.errors import ApiError, BadRequest, Json, MethodNotAllowed, status_of
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.options import flag
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.resources import new_call
from kobune.controlplane.apiserver.routes import RequestInfo
from kobune.controlplane.apiserver.subresources.pod_location import choose_container, find_node, find_pod

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

# The API's names of the streams and the kubelet's.
STREAMS = (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty"))
PING_SECONDS = 30.0
# Protocols whose error channel takes a Status. Source: upstream remotecommand.
STATUS_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
ERROR_CHANNEL = b"\x03"


async def execute(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """pods/exec"""
    command = [value for name, value in request.repeated if name == "command"]
    options = {**_stream_options("PodExecOptions", request), "command": command}
    return await _container_stream(server, request, info, "exec", options, [("command", one) for one in command])


async def attach(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """pods/attach"""
    return await _container_stream(server, request, info, "attach", _stream_options("PodAttachOptions", request), [])


async def port_forward(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """pods/portforward"""
    query = [("port", value) for name, value in request.repeated if name == "ports"]
    ports = [int(value) for _, value in query if value.isdecimal()]
    pod = await _prepare(
        server, request, info, {"kind": "PodPortForwardOptions", "apiVersion": "v1", **({"ports": ports} if ports else {})}
    )  # fmt: skip
    call = new_call(server, request, info, writing=False)
    node = await find_node(server, pod)
    return await _pass_through(server, _websocket(request), node, f"/portForward/{call.namespace}/{call.name}", query)


async def _container_stream(
    server: "ApiServer", request: Request, info: RequestInfo, what: str, options: Json, query: list[tuple[str, str]]
) -> Response:
    pod = await _prepare(server, request, info, options)
    phase = (pod.get("status") or {}).get("phase")
    if phase in ("Succeeded", "Failed"):
        raise BadRequest(f"cannot {what} into a container in a completed pod; current phase is {phase}")
    container = choose_container(pod, request.query.get("container", ""))
    node = await find_node(server, pod)
    if not options.get("command", True):
        raise BadRequest("you must specify at least one command for the container")
    wanted = [("1", kubelet) for name, kubelet in STREAMS if flag(request.query, name)]
    if not any(kubelet != "tty" for _, kubelet in wanted):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    query += [(kubelet, value) for value, kubelet in wanted]
    path = f"/{what}/{info.namespace}/{info.name}/{container}"
    return await _pass_through(server, _websocket(request), node, path, query)


def _stream_options(kind: str, request: Request) -> Json:
    """What the query asks for, as the object that admission sees. Source: core/v1 PodExecOptions, PodAttachOptions."""
    options: Json = {"kind": kind, "apiVersion": "v1"}
    options |= {name: True for name, _ in STREAMS if flag(request.query, name)}
    if request.query.get("container"):
        options["container"] = request.query["container"]
    return options


async def _prepare(server: "ApiServer", request: Request, info: RequestInfo, options: Json) -> Json:
    """The pod, when the user may connect to it as `options` say. Raises NotFound, MethodNotAllowed, and what admission does."""
    if info.verb not in ("get", "create"):
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    call = new_call(server, request, info, writing=False)
    pod = await find_pod(server, call)
    attributes = Attributes("CONNECT", call, options, None)
    await server.registry.admission.admit(attributes)
    await server.registry.admission.validate(attributes)
    return pod


def _websocket(request: Request) -> web.BaseRequest:
    """The client's connection, which asks to become a WebSocket. Raises BadRequest when it asks for something else.

    Asked last: a client whose WebSocket was refused tries SPDY and shows only what it is told then.
    """
    upgrade = (request.headers.get("upgrade") or "").lower()
    if "spdy" in upgrade:
        raise BadRequest("SPDY is not served here; use a client that speaks WebSockets, such as kubectl 1.31 or newer")
    if upgrade != "websocket" or not isinstance(request.connection, web.BaseRequest):
        raise BadRequest("Upgrade request required")
    return request.connection


async def _pass_through(
    server: "ApiServer", incoming: web.BaseRequest, node: Json, path: str, query: Sequence[tuple[str, str]]
) -> Response:
    offered = [one.strip() for one in incoming.headers.get("Sec-WebSocket-Protocol", "").split(",") if one.strip()]
    # The kubelet chooses, so that the client is told the truth.
    try:
        opened = await server.kubelets.open_socket(node, path, query, offered)
    except ApiError as error:
        protocol = next((one for one in offered if one in STATUS_PROTOCOLS), None)
        if protocol is None:
            raise
        return await _refuse(incoming, protocol, error)
    async with opened as kubelet:
        chosen = (kubelet.protocol,) if kubelet.protocol else ()
        client = web.WebSocketResponse(protocols=chosen, max_msg_size=0, heartbeat=PING_SECONDS, compress=False)
        await client.prepare(incoming)
        await _both_ways(client, kubelet)
    return Response(101, taken=client)


async def _refuse(incoming: web.BaseRequest, protocol: str, error: ApiError) -> Response:
    """Tell why over the WebSocket itself: a client told by an HTTP status would try SPDY and show that answer instead."""
    client = web.WebSocketResponse(protocols=(protocol,), compress=False)
    await client.prepare(incoming)
    await client.send_bytes(ERROR_CHANNEL + orjson.dumps(status_of(error)))
    await client.close()
    return Response(101, taken=client)


async def _both_ways(client: web.WebSocketResponse, kubelet: aiohttp.ClientWebSocketResponse) -> None:
    """Until one side closes; the other is then closed alike."""
    async with asyncio.TaskGroup() as tasks:
        outward = tasks.create_task(_copy(kubelet, client), name="from kubelet")
        inward = tasks.create_task(_copy(client, kubelet), name="from client")
        await asyncio.wait((outward, inward), return_when=asyncio.FIRST_COMPLETED)
        if outward.done():
            await client.close(code=kubelet.close_code or 1000)
        else:
            await kubelet.close()
        outward.cancel()
        inward.cancel()


async def _copy(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    target: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
) -> None:
    try:
        async for message in source:
            if message.type is WSMsgType.BINARY:
                await target.send_bytes(message.data)
            elif message.type is WSMsgType.TEXT:
                await target.send_str(message.data)
            else:
                return
    except (ConnectionError, aiohttp.ClientError):
        return
