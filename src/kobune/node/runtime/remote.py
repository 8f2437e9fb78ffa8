"""An exec or attach session with a CRI streaming server: Kubernetes' remotecommand protocol, version 4, over SPDY."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from kobune.node.netns import connect_in
from kobune.node.runtime.runtime import RuntimeFailure, TerminalSize
from kobune.node.runtime.spdy import Session

PROTOCOL = "v4.channel.k8s.io"
STDOUT, STDERR = 1, 2


class RemoteCommand:
    """The Stream of a process in a container. It has no task of its own: whoever waits for output or the end reads."""

    def __init__(self, session: Session, *, stdin: bool, tty: bool) -> None:
        self._session = session
        open_stream = session.open_stream
        self._error = open_stream({"streamtype": "error"})
        self._stdin = open_stream({"streamtype": "stdin"}) if stdin else 0
        self._outputs = {open_stream({"streamtype": "stdout"}): STDOUT}
        if tty:
            self._resize = open_stream({"streamtype": "resize"})
        else:
            self._resize = 0
            self._outputs[open_stream({"streamtype": "stderr"})] = STDERR
        self._reading = asyncio.Lock()
        self._verdict = bytearray()
        self._over = False

    @classmethod
    async def open(cls, url: str, *, netns: Path | None, stdin: bool, tty: bool) -> "RemoteCommand":
        """Connect to the URL that Exec or Attach answered. Raises RuntimeFailure."""
        place = urlsplit(url)
        try:
            sock = await connect_in(netns, place.hostname or "", place.port or 80)
        except OSError as error:
            raise RuntimeFailure(
                f"the runtime's streaming server at {place.netloc} is out of reach: {error}"
            ) from error
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(
            f"POST {place.path}?{place.query} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 0\r\n"
            f"Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {PROTOCOL}\r\n\r\n".encode()
        )
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            writer.close()
            raise RuntimeFailure("the runtime's streaming server hung up") from error
        status = head.partition("\r\n")[0].split(" ", 2)
        if status[1:2] != ["101"]:
            reason = (await reader.read(4096)).decode(errors="replace").strip()
            writer.close()
            raise RuntimeFailure(f"the runtime's streaming server refused: {' '.join(status[1:])} {reason}".strip())
        return cls(Session(reader, writer), stdin=stdin, tty=tty)

    async def send_stdin(self, data: bytes) -> None:
        await self._send(self._stdin, data)

    async def close_stdin(self) -> None:
        if self._stdin:
            try:
                await self._session.finish(self._stdin)
            except ConnectionError:
                return  # The command ended first.

    async def resize(self, size: TerminalSize) -> None:
        await self._send(self._resize, json.dumps({"Width": size.width, "Height": size.height}).encode())

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        async with self._reading:
            while self._outputs:
                piece = await self._next()
                if piece is None:
                    return
                if piece[1]:
                    yield piece

    async def exit_code(self) -> int:
        """Output that nobody has taken by now is dropped."""
        async with self._reading:
            while not self._over and await self._next() is not None:
                pass
        if not self._verdict:
            raise RuntimeFailure("the connection to the runtime's streaming server ended before the command did")
        return _exit_code(bytes(self._verdict))

    async def close(self) -> None:
        await self._session.close()

    async def _send(self, stream: int, data: bytes) -> None:
        if stream and data:
            try:
                await self._session.send(stream, data)
            except ConnectionError as error:
                raise RuntimeFailure("the command has ended") from error

    async def _next(self) -> tuple[int, bytes] | None:
        """One step of reading: a piece of output, possibly empty, or None when the connection is over."""
        piece = await self._session.receive()
        if piece is None:
            self._over = True
            self._outputs.clear()
            return None
        if piece.stream == self._error:
            self._verdict += piece.data
            self._over = self._over or piece.last
            return STDERR, b""
        where = self._outputs.get(piece.stream, STDERR)
        if piece.last:
            self._outputs.pop(piece.stream, None)
        return where, piece.data


def _exit_code(verdict: bytes) -> int:
    """What the error stream's Status says. Raises RuntimeFailure when the command did not run."""
    try:
        status = json.loads(verdict)
    except json.JSONDecodeError:
        raise RuntimeFailure(verdict.decode(errors="replace")) from None
    if status.get("status") == "Success":
        return 0
    if status.get("reason") == "NonZeroExitCode":
        for cause in status.get("details", {}).get("causes", []):
            if cause.get("reason") == "ExitCode":
                return int(cause["message"])
    raise RuntimeFailure(status.get("message") or "the command failed")
