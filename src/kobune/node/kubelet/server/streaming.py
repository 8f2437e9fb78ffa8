"""exec and attach over WebSocket: the channels of stdin, stdout, stderr, the outcome, and the terminal's size.

Source: upstream apimachinery, pkg/util/httpstream/wsstream and pkg/util/remotecommand (v4 and v5).
"""

import asyncio
import logging
from collections.abc import Mapping

import orjson
from aiohttp import WSCloseCode, WSMsgType, web

from kobune.api.errors import Json
from kobune.node.runtime.runtime import RuntimeFailure, Stream, TerminalSize

log = logging.getLogger(__name__)

PLAIN = "channel.k8s.io"  # The first protocol: its error channel has words, and says nothing of success.
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", PLAIN)
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
MAX_FRAME_BYTES = 32 << 20
PING_SECONDS = 30.0


def success() -> Json:
    return {"metadata": {}, "status": "Success"}


def failure_of(code: int) -> Json:
    """The Status of a command that ended with a non-zero exit code."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def internal_error(message: str) -> Json:
    return {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


def wanted_streams(query: Mapping[str, str]) -> tuple[bool, bool, bool, bool]:
    """(stdin, stdout, stderr, tty), under the kubelet's names of these parameters or the API server's."""

    def on(*names: str) -> bool:
        return any(query.get(name, "").lower() in ("1", "true") for name in names)

    return on("input", "stdin"), on("output", "stdout"), on("error", "stderr"), on("tty")


async def open_socket(request: web.Request) -> web.WebSocketResponse:
    """The WebSocket, its protocol agreed. Raises HTTPBadRequest when the client speaks neither."""
    offered = {each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",")}
    if not offered & set(PROTOCOLS):
        raise web.HTTPBadRequest(text=f"unable to upgrade: client offers none of {', '.join(PROTOCOLS)}")
    socket = web.WebSocketResponse(
        protocols=PROTOCOLS, max_msg_size=MAX_FRAME_BYTES, heartbeat=PING_SECONDS, compress=False, autoping=True
    )
    await socket.prepare(request)
    return socket


async def carry(socket: web.WebSocketResponse, stream: Stream, *, stdin: bool, stdout: bool, stderr: bool) -> None:
    """Pass bytes both ways until the command has ended, then tell how; the stream is closed afterwards."""
    try:
        # An empty message tells the client that the other end is there.
        first = STDOUT if stdout else STDERR if stderr else ERROR
        await socket.send_bytes(bytes([first]))
        outcome = await _carry(socket, stream, stdin=stdin, wanted={1: stdout, 2: stderr})
        if not socket.closed:
            if socket.ws_protocol != PLAIN:
                await socket.send_bytes(bytes([ERROR]) + orjson.dumps(outcome))
            elif outcome["status"] != "Success":
                await socket.send_bytes(bytes([ERROR]) + str(outcome["message"]).encode())
            await socket.close(code=WSCloseCode.OK)
    except ConnectionError:
        log.debug("client went away")
    finally:
        await stream.close()


async def _carry(socket: web.WebSocketResponse, stream: Stream, *, stdin: bool, wanted: Mapping[int, bool]) -> Json:
    async with asyncio.TaskGroup() as tasks:
        output = tasks.create_task(_outward(socket, stream, wanted), name="output")
        intake = tasks.create_task(_inward(socket, stream, stdin=stdin), name="input")
        await asyncio.wait((output, intake), return_when=asyncio.FIRST_COMPLETED)
        if not output.done():
            # The client has gone: nobody reads on.
            output.cancel()
            return success()
        try:
            code = await stream.exit_code()
        except (RuntimeFailure, TimeoutError) as error:
            return internal_error(str(error))
        finally:
            intake.cancel()
    return failure_of(code) if code else success()


async def _outward(socket: web.WebSocketResponse, stream: Stream, wanted: Mapping[int, bool]) -> None:
    try:
        async for channel, data in stream.output():
            if wanted.get(channel):
                await socket.send_bytes(bytes([channel]) + data)
    except (ConnectionError, RuntimeFailure, TimeoutError) as error:
        log.debug("output ended", extra={"error": str(error)})


async def _inward(socket: web.WebSocketResponse, stream: Stream, *, stdin: bool) -> None:
    """Return when the client has closed the connection."""
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            data = message.data.encode()
        elif message.type is WSMsgType.BINARY:
            data = message.data
        else:
            return
        if not data:
            continue
        channel, content = data[0], data[1:]
        try:
            if channel == STDIN and stdin:
                await stream.send_stdin(content)
            elif channel == RESIZE:
                await _resize(stream, content)
            elif channel == CLOSE and content[:1] == bytes([STDIN]) and stdin:
                await stream.close_stdin()
        except (ConnectionError, RuntimeFailure, TimeoutError):
            log.debug("the command no longer reads")


async def _resize(stream: Stream, content: bytes) -> None:
    try:
        size = orjson.loads(content)
        await stream.resize(TerminalSize(int(size["Width"]), int(size["Height"])))
    except (ValueError, KeyError, TypeError):
        log.debug("not a terminal size")
