"""Forwarding ports, by channels and through a SPDY tunnel as kubectl does."""

import asyncio
import struct

import pytest
from aiohttp.test_utils import TestClient, TestServer

from kobune.node.runtime.runtime import RuntimeFailure
from kobune.node.runtime.spdy import Session

TUNNEL = "SPDY/3.1+portforward.k8s.io"


def is_running(pod):
    return pod["status"].get("phase") == "Running"


@pytest.fixture
async def http(world):
    """The node's server; port 7 of every pod echoes, all others are closed."""

    async def echo(reader, writer):
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)

    async def port_forward(sandbox_id, port):
        if port != 7:
            raise RuntimeFailure("connection refused")
        return await asyncio.open_connection(*server.sockets[0].getsockname())

    world.runtime.port_forward = port_forward
    await world.create("web")
    await world.until_pod("web", is_running)
    async with TestClient(TestServer(world.kubelet.server().application())) as client:
        yield client
    server.close()


class Carrier:
    """The ends of a SPDY session whose bytes travel in WebSocket messages."""

    def __init__(self, socket):
        self._socket = socket
        self._pending = b""
        self._outgoing = []

    async def readexactly(self, size):
        while len(self._pending) < size:
            self._pending += await self._socket.receive_bytes()
        data, self._pending = self._pending[:size], self._pending[size:]
        return data

    def write(self, data):
        self._outgoing.append(data)

    async def drain(self):
        data, self._outgoing = b"".join(self._outgoing), []
        # Frames need not fit messages.
        await self._socket.send_bytes(data[:5])
        await self._socket.send_bytes(data[5:])


async def open_pair(session, port):
    common = {"port": str(port), "requestid": "1"}
    error = session.open_stream({"streamtype": "error", **common})
    await session.finish(error)
    return session.open_stream({"streamtype": "data", **common}), error


async def test_kubectl_s_tunnel_carries_bytes_both_ways(http):
    async with http.ws_connect("/portForward/default/web", protocols=[TUNNEL]) as socket:
        assert socket.protocol == TUNNEL
        carrier = Carrier(socket)
        session = Session(carrier, carrier)
        data, _ = await open_pair(session, 7)
        await session.send(data, b"hello")
        piece = await session.receive()
        assert (piece.stream, piece.data) == (data, b"hello")
        await session.finish(data)
        ended = set()
        while len(ended) < 2:
            piece = await session.receive()
            if piece.last:
                ended.add(piece.stream)


async def test_a_closed_port_is_told_on_the_error_stream(http):
    async with http.ws_connect("/portForward/default/web", protocols=[TUNNEL]) as socket:
        carrier = Carrier(socket)
        session = Session(carrier, carrier)
        _, error = await open_pair(session, 8)
        await carrier.drain()
        piece = await session.receive()
        assert piece.stream == error
        assert b"connection refused" in piece.data


async def test_channels_carry_a_port_each(http):
    async with http.ws_connect("/portForward/default/web?port=7", protocols=["v4.channel.k8s.io"]) as socket:
        stamps = [await socket.receive_bytes(), await socket.receive_bytes()]
        assert stamps == [b"\x00" + struct.pack("<H", 7), b"\x01" + struct.pack("<H", 7)]
        await socket.send_bytes(b"\x00hello")
        assert await socket.receive_bytes() == b"\x00hello"
