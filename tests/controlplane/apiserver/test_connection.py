"""Requests as they come over a socket: in pieces, several at once, malformed."""

import asyncio
import contextlib
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.connection import Front
from kobune.controlplane.apiserver.https import serve
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.apiserver.wire import NotPlain, date_of, read_plain
from kobune.controlplane.store.memory import MemoryStore

CONFIG = ApiServerConfig(
    static_tokens={"root": ("root", "1", ("system:masters",)), "bob": ("bob", "2", ())},
    authorization_mode=("RBAC",),
)
MAPS = "/api/v1/namespaces/default/configmaps"


def request(method, path, body=b"", token="root", extra=""):
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.fixture
async def client():
    async with (
        ApiServer(CONFIG, MemoryStore(), clock=SystemClock()) as server,
        serve(server, host="127.0.0.1", port=0, tls=None) as (host, port),
    ):
        reader, writer = await asyncio.open_connection(host, port)
        yield reader, writer
        writer.close()


async def answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


async def test_requests_sent_at_once_are_answered_in_order(client):
    reader, writer = client
    writer.write(request("POST", MAPS, b'{"metadata":{"name":"a"}}') + request("GET", f"{MAPS}/a") * 3)
    assert [(await answer(reader))[0] for _ in range(4)] == [201, 200, 200, 200]


async def test_a_method_that_is_none_is_refused_as_others_are(client):
    reader, writer = client
    writer.write(request("BREW", f"{MAPS}/a") + request("GET", MAPS))
    status, body = await answer(reader)
    assert (status, b"MethodNotAllowed" in body) == (405, True)
    assert (await answer(reader))[0] == 200


async def test_every_answer_names_its_flow(client):
    reader, writer = client
    writer.write(request("POST", MAPS, b'{"metadata":{"name":"a"}}') + request("GET", f"{MAPS}/a") * 3)
    flows = []
    for _ in range(4):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = [line for line in head.lower().split(b"\r\n") if line.startswith(b"x-kubernetes-pf-")]
        await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        flows.append(sorted(lines))
    assert len(flows[0]) == 2
    assert flows == [flows[0]] * 4


async def test_a_request_may_come_byte_by_byte(client):
    reader, writer = client
    for byte in request("POST", MAPS, b'{"metadata":{"name":"a"}}'):
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert (await answer(reader))[0] == 201


async def test_a_body_that_looks_like_a_request_is_a_body(client):
    reader, writer = client
    body = b'{"metadata":{"name":"a"},"data":{"k":"' + request("GET", "/x").replace(b"\r\n", b" ") + b'"}}'
    writer.write(request("POST", MAPS, body)[:-20])
    await asyncio.sleep(0.01)
    writer.write(body[-20:])
    assert (await answer(reader))[0] == 201


async def test_the_same_connection_may_change_its_user(client):
    reader, writer = client
    writer.write(request("POST", MAPS, b'{"metadata":{"name":"a"}}'))
    await answer(reader)
    for _ in range(2):
        writer.write(request("GET", f"{MAPS}/a"))
        assert (await answer(reader))[0] == 200
        writer.write(request("GET", f"{MAPS}/a", token="bob"))
        assert (await answer(reader))[0] == 403


async def test_a_connection_is_closed_after_the_answer_when_asked(client):
    reader, writer = client
    writer.write(request("GET", f"{MAPS}/a", extra="Connection: close\r\n"))
    assert (await answer(reader))[0] == 404
    assert await reader.read() == b""


async def test_a_request_in_chunks_is_answered_and_so_is_the_next(client):
    reader, writer = client
    body = b'{"metadata":{"name":"a"}}'
    head = request("POST", MAPS).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    writer.write(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert (await answer(reader))[0] == 201
    writer.write(request("GET", f"{MAPS}/a"))
    assert (await answer(reader))[0] == 200


async def test_a_server_that_stops_ends_its_watches_and_closes_its_connections():
    async with ApiServer(CONFIG, MemoryStore(), clock=SystemClock()) as server:
        async with serve(server, host="127.0.0.1", port=0, tls=None) as (host, port):
            watching, writer = await asyncio.open_connection(host, port)
            writer.write(request("GET", f"{MAPS}?watch=1"))
            await watching.readuntil(b"\r\n\r\n")
            idle, other = await asyncio.open_connection(host, port)
            other.write(request("GET", MAPS))
            await answer(idle)
        with contextlib.suppress(ConnectionError):
            assert await watching.read() == b""
        assert await idle.read() == b""
        writer.close()
        other.close()


async def test_a_request_on_its_way_when_the_server_stops_is_answered_as_the_last():
    started, stop = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def run():
        async with (
            ApiServer(CONFIG, MemoryStore(), clock=SystemClock()) as server,
            serve(server, host="127.0.0.1", port=0, tls=None) as address,
        ):
            started.set_result(address)
            await stop.wait()

    running = asyncio.create_task(run())
    reader, writer = await asyncio.open_connection(*await started)
    for path in (MAPS, f"{MAPS}/a"):  # The second as fast as a GET that needs no waiting.
        writer.write(request("GET", path))
        await answer(reader)
    stop.set()
    writer.write(request("POST", MAPS, b'{"metadata":{"name":"a"}}'))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 201")
    assert b"\r\nConnection: close\r\n" in head
    assert (await reader.read()).count(b'"name":"a"') == 1
    writer.close()
    await running


class Slow(asyncio.Transport):
    """A transport whose client takes nothing."""

    def __init__(self):
        super().__init__()
        self.written = b""

    def write(self, data):
        self.written += data

    def is_closing(self):
        return False

    def get_extra_info(self, name, default=None):
        return default


async def test_a_client_that_takes_nothing_is_answered_no_more_until_it_does():
    async with ApiServer(CONFIG, MemoryStore(), clock=SystemClock()) as server, asyncio.TaskGroup() as tasks:
        connection, transport = Front(server, tasks)(), Slow()
        connection.connection_made(transport)
        connection.pause_writing()
        connection.data_received(request("POST", MAPS, b'{"metadata":{"name":"a"}}') + request("GET", f"{MAPS}/a") * 3)
        while b"201" not in transport.written:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert transport.written.count(b"HTTP/1.1") == 1
        connection.resume_writing()
        while transport.written.count(b"HTTP/1.1 200") < 3:
            await asyncio.sleep(0)
        connection.connection_lost(None)


async def test_a_watch_whose_client_is_slow_at_times_misses_nothing_and_keeps_the_order():
    async with ApiServer(CONFIG, MemoryStore(), clock=SystemClock()) as server, asyncio.TaskGroup() as tasks:
        front = Front(server, tasks)
        watching, seen = front(), Slow()
        watching.connection_made(seen)
        watching.data_received(request("GET", f"{MAPS}?watch=1"))
        while not seen.written:
            await asyncio.sleep(0)
        writing, told = front(), Slow()
        writing.connection_made(told)
        for number in range(30):
            if number % 10 == 4:
                watching.pause_writing()
            elif number % 10 == 8:
                watching.resume_writing()
            writing.data_received(request("POST", MAPS, b'{"metadata":{"name":"a%02d"}}' % number))
            while told.written.count(b"HTTP/1.1 201") <= number:
                await asyncio.sleep(0)
        while seen.written.count(b"ADDED") < 30:
            await asyncio.sleep(0)
        names = re.findall(rb'"ADDED".*?"name":"(a\d\d)"', seen.written)
        assert names == [b"a%02d" % number for number in range(30)]
        assert whole(seen.written.split(b"\r\n\r\n", 1)[1]).count(b"\n") == 30
        writing.connection_lost(None)
        watching.connection_lost(None)


async def test_watchers_of_the_same_are_sent_the_same_bytes_and_none_after_it_has_gone():
    async with ApiServer(CONFIG, MemoryStore(), clock=SystemClock()) as server, asyncio.TaskGroup() as tasks:
        front, transports = Front(server, tasks), [Slow() for _ in range(4)]
        connections = [front() for _ in transports]
        for connection, transport in zip(connections, transports, strict=True):
            connection.connection_made(transport)
        for connection in connections[1:]:
            connection.data_received(request("GET", f"{MAPS}?watch=1"))
        while not all(transport.written for transport in transports[1:]):
            await asyncio.sleep(0)
        heads = [len(transport.written) for transport in transports]
        connections[3].connection_lost(None)
        connections[0].data_received(request("POST", MAPS, b'{"metadata":{"name":"a"}}'))
        while not all(b"ADDED" in transport.written for transport in transports[1:3]):
            await asyncio.sleep(0)
        sent = [transport.written[head:] for transport, head in zip(transports, heads, strict=True)]
        assert sent[1] == sent[2]
        assert sent[3] == b""
        for connection in connections[:3]:
            connection.connection_lost(None)


def whole(chunked: bytes) -> bytes:
    """A body that came in chunks, as far as it has."""
    body = b""
    while chunked:
        size, _, rest = chunked.partition(b"\r\n")
        body, chunked = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


def test_the_date_is_as_http_writes_it():
    assert date_of(datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)) == "Sun, 06 Nov 1994 08:49:37 GMT"


async def test_a_watch_is_answered_in_chunks(client):
    reader, writer = client
    writer.write(request("GET", f"{MAPS}/a"))
    assert (await answer(reader))[0] == 404
    writer.write(request("GET", f"{MAPS}?watch=1&timeoutSeconds=1"))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"200 OK" in head
    assert b"chunked" in head.lower()


async def test_nonsense_is_answered_and_the_connection_closed(client):
    reader, writer = client
    writer.write(b"nonsense\r\n\r\n")
    assert b" 400 " in (await reader.read()).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"OPTIONS / HTTP/1.1\r\n\r\n",
        b"br3w / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_not_plain_is_left_to_the_general_server(data):
    with pytest.raises(NotPlain):
        read_plain(data)


async def test_a_client_that_may_not_connect_is_cut_off_without_an_answer():
    asked = []

    def admits(address, certificate):
        asked.append((address, certificate))
        return False

    config = replace(CONFIG, admits_connection=admits)
    async with (
        ApiServer(config, MemoryStore(), clock=SystemClock()) as server,
        serve(server, host="127.0.0.1", port=0, tls=None) as (host, port),
    ):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(request("GET", "/healthz"))
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
    assert asked == [("127.0.0.1", None)]
