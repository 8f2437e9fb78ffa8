"""The HTTPS front end, asked over a socket."""

import asyncio
import io

import aiohttp
import orjson
import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.https import serve
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore

MAPS = "/api/v1/namespaces/default/configmaps"
CONFIG = ApiServerConfig(static_tokens={"secret": ("admin", "1", ("system:masters",))})


@pytest.fixture
async def session():
    async with (
        ApiServer(CONFIG, MemoryStore(), clock=SystemClock()) as server,
        serve(server, host="127.0.0.1", port=0, tls=None) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}", headers={"Authorization": "Bearer secret"}) as session,
    ):
        yield session


async def test_without_credentials_the_answer_is_401(session):
    async with session.get(MAPS, headers={"Authorization": "Bearer wrong"}) as answer:
        assert answer.status == 401
        assert (await answer.json())["reason"] == "Unauthorized"


async def test_an_object_goes_in_and_comes_out(session):
    async with session.post(MAPS, json={"metadata": {"name": "a"}, "data": {"k": "v"}}) as answer:
        assert answer.status == 201
    async with session.get(f"{MAPS}/a") as answer:
        assert (await answer.json())["data"] == {"k": "v"}


async def test_a_watch_is_a_stream_of_lines(session):
    async with session.get(f"{MAPS}?watch=1&timeoutSeconds=5") as watch:
        await session.post(MAPS, json={"metadata": {"name": "a"}})
        event = orjson.loads(await watch.content.readline())
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "a")


async def test_a_watch_ends_when_its_time_is_over(session):
    async with session.get(f"{MAPS}?watch=1&timeoutSeconds=1") as watch:
        assert await watch.content.read() == b""


async def test_a_body_over_the_limit_is_refused(session):
    async with session.post(MAPS, data=io.BytesIO(bytes(3 * 1024 * 1024 + 1))) as answer:
        assert answer.status == 413
        assert (await answer.json())["reason"] == "RequestEntityTooLarge"


async def test_large_lists_are_compressed_when_asked_and_whole_when_not(session):
    for number in range(4):
        async with session.post(
            MAPS, json={"metadata": {"name": f"m{number}"}, "data": {"k": "v" * 100_000}}
        ) as answer:
            assert answer.status == 201
    async with session.get(MAPS, headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert len((await answer.json())["items"]) == 4
    async with session.get(MAPS, headers={"Accept-Encoding": "identity"}) as answer:
        assert "Content-Encoding" not in answer.headers
        assert len((await answer.json())["items"]) == 4


async def test_a_client_that_leaves_ends_its_watch(session):
    async with session.get(f"{MAPS}?watch=1") as watch:
        await session.post(MAPS, json={"metadata": {"name": "a"}})
        await watch.content.readline()
    await asyncio.sleep(0)
    async with session.get(f"{MAPS}/a") as answer:
        assert answer.status == 200
