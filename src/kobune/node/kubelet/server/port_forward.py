"""Port forwarding: connections into a pod's network, over a WebSocket's channels or a SPDY tunnel inside one.

Source: upstream pkg/kubelet/server (channels), and apimachinery's portforward tunneling, which kubectl has used since 1.31.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import WSMsgType, web

from kobune.node.kubelet.server.spdy_tunnel import Tunnel, TunnelStream
from kobune.node.kubelet.server.streaming import MAX_FRAME_BYTES, PING_SECONDS
from kobune.node.runtime.runtime import ByteReader, ByteWriter, Runtime, RuntimeFailure

log = logging.getLogger(__name__)

TUNNEL, CHANNELS = "SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io"
PIECE_BYTES = 32 << 10

Connect = Callable[[int], Awaitable[tuple[ByteReader, ByteWriter]]]


async def forward(
    request: web.Request, runtime: Runtime, sandbox_id: str, *, pod: str, ports: Sequence[int]
) -> web.WebSocketResponse:
    """Serve the request until the client has gone. Raises HTTPBadRequest when it speaks neither protocol.

    Args:
        ports: those named in the query; only channels need them.
    """
    offered = [each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    if TUNNEL not in offered and (CHANNELS not in offered or not ports):
        raise web.HTTPBadRequest(text=f"unable to upgrade: client offers neither {TUNNEL} nor {CHANNELS} with ports")
    socket = web.WebSocketResponse(
        protocols=(TUNNEL, CHANNELS), max_msg_size=MAX_FRAME_BYTES, heartbeat=PING_SECONDS, compress=False
    )
    await socket.prepare(request)

    async def connect(port: int) -> tuple[ByteReader, ByteWriter]:
        return await runtime.port_forward(sandbox_id, port)

    try:
        if socket.ws_protocol == TUNNEL:
            await _tunnel(socket, connect, pod)
        else:
            await _channels(socket, connect, pod, ports)
    except ConnectionError:
        log.debug("client went away")
    return socket


def refusal(port: int, pod: str, error: object) -> str:
    """What the client is shown, as upstream words it."""
    return f"an error occurred forwarding {port} -> {port}: error forwarding port {port} to pod {pod}, uid : {error}"


# SPDY inside the WebSocket.


async def _tunnel(socket: web.WebSocketResponse, connect: Connect, pod: str) -> None:
    waiting: dict[str, dict[str, TunnelStream]] = {}  # Error and data streams by request, until both are there.
    async with asyncio.TaskGroup() as tasks:

        def opened(stream: TunnelStream) -> None:
            identity = stream.headers.get("requestid", "")
            pair = waiting.setdefault(identity, {})
            pair[stream.headers.get("streamtype", "")] = stream
            if "data" in pair and "error" in pair:
                del waiting[identity]
                tasks.create_task(_forward_stream(tunnel, pair["data"], pair["error"], connect, pod))

        tunnel = Tunnel(socket.send_bytes, opened)
        async for message in socket:
            if message.type is not WSMsgType.BINARY or not await tunnel.feed(message.data):
                break
        await tunnel.end()


async def _forward_stream(tunnel: Tunnel, data: TunnelStream, error: TunnelStream, connect: Connect, pod: str) -> None:
    port = int(data.headers.get("port", "0"))
    try:
        try:
            reader, writer = await connect(port)
        except (RuntimeFailure, TimeoutError) as failure:
            await tunnel.send(error, refusal(port, pod, failure).encode())
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                inward = tasks.create_task(_from_stream(data, writer))
                await _copy(reader, lambda piece: tunnel.send(data, piece))
                # The pod's side has closed; what the client still sends has nowhere to go.
                inward.cancel()
        finally:
            writer.close()
    except ConnectionError:
        log.debug("forwarded connection broke", extra={"port": port})
    finally:
        try:
            await tunnel.finish(error)
            await tunnel.finish(data)
        except ConnectionError:
            log.debug("client went away")
        tunnel.forget(error)
        tunnel.forget(data)


async def _from_stream(stream: TunnelStream, writer: ByteWriter) -> None:
    try:
        while (piece := await stream.received.get()) is not None:
            writer.write(piece)
            await writer.drain()
    except (ConnectionError, OSError):
        return
    writer.close()


async def _copy(reader: ByteReader, send: Callable[[bytes], Awaitable[None]]) -> None:
    try:
        while piece := await reader.read(PIECE_BYTES):
            await send(piece)
    except (ConnectionError, OSError):
        return


# Two channels per port.


async def _channels(socket: web.WebSocketResponse, connect: Connect, pod: str, ports: Sequence[int]) -> None:
    """Channel 2n carries port n's bytes, 2n+1 its error; both begin with the port as two bytes, little-endian."""
    writers: dict[int, ByteWriter] = {}
    async with asyncio.TaskGroup() as tasks:
        for number, port in enumerate(ports):
            stamp = struct.pack("<H", port)
            await socket.send_bytes(bytes([2 * number]) + stamp)
            await socket.send_bytes(bytes([2 * number + 1]) + stamp)
            try:
                reader, writers[2 * number] = await connect(port)
            except (RuntimeFailure, TimeoutError) as failure:
                await socket.send_bytes(bytes([2 * number + 1]) + refusal(port, pod, failure).encode())
                continue
            tasks.create_task(_outward(socket, reader, 2 * number), name=f"port {port}")
        try:
            async for message in socket:
                if message.type is not WSMsgType.BINARY:
                    break
                writer = writers.get(message.data[0]) if message.data else None
                if writer is not None:
                    writer.write(message.data[1:])
                    await writer.drain()
        except ConnectionError:
            log.debug("forwarded connection broke")
        finally:
            for writer in writers.values():
                writer.close()


async def _outward(socket: web.WebSocketResponse, reader: ByteReader, channel: int) -> None:
    await _copy(reader, lambda piece: socket.send_bytes(bytes([channel]) + piece))
    if not socket.closed:
        await socket.close()
