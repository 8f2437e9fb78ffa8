from collections.abc import AsyncIterator

import orjson
import pytest

from kobune.api.errors import Gone, status_of
from kobune.api.objects.core import ConfigMap
from kobune.api.objects.meta import Object
from kobune.client.client import PAGE, Client, resource_of
from kobune.client.transport import Answer


class Server:
    """Lists `count` ConfigMaps page by page; from page `forgets` on it no longer knows the state that the first showed."""

    def __init__(self, count, forgets=0):
        self.count, self.forgets, self.asked = count, forgets, []
        self.lines: list[bytes] = []  # Of every watch.

    async def stream(self, path, *, query) -> AsyncIterator[bytes]:
        for line in self.lines:
            yield line

    async def request(self, method, path, *, query, body=b"", content_type="", accept="") -> Answer:
        self.asked.append(dict(query))
        start, limit = int(query.get("continue", 0)), int(query.get("limit", self.count))
        if self.forgets and start >= self.forgets * PAGE:
            gone = status_of(Gone("The provided continue parameter is too old"))
            return Answer(410, orjson.dumps(gone), {})
        end = min(start + limit, self.count)
        revision = "7" if "limit" in query else "9"
        meta = {"resourceVersion": revision, "continue": str(end) if end < self.count else ""}
        items = [{"metadata": {"name": f"map-{number}"}} for number in range(start, end)]
        return Answer(200, orjson.dumps({"metadata": meta, "items": items}), {})


async def test_a_long_list_comes_in_pages_of_one_state():
    server = Server(2 * PAGE + 1)
    listing = await Client(server).list(ConfigMap, labels="a=b")
    assert [item.name for item in listing.items] == [f"map-{number}" for number in range(server.count)]
    assert listing.revision == "7"
    assert [asked.get("continue") for asked in server.asked] == [None, str(PAGE), str(2 * PAGE)]
    assert all((asked["limit"], asked["labelSelector"]) == (str(PAGE), "a=b") for asked in server.asked)


@pytest.mark.parametrize("page", [1, 2])
async def test_when_the_state_of_the_pages_is_forgotten_everything_is_listed_at_once(page):
    server = Server(3 * PAGE, forgets=page)
    listing = await Client(server).list(ConfigMap)
    assert [item.name for item in listing.items] == [f"map-{number}" for number in range(server.count)]
    assert listing.revision == "9"


async def test_watchers_of_one_kind_read_the_same_bytes_once():
    server = Server(0)
    server.lines = [b'{"type":"ADDED","object":{"metadata":{"name":"map-%d"}}}' % number for number in range(600)]
    one = [event.object async for event in Client(server).watch(ConfigMap, revision="1")]
    assert [item.name for item in one] == [f"map-{number}" for number in range(600)]
    other = [
        event.object async for event in Client(server).watch(Object, resource=resource_of(ConfigMap), revision="1")
    ]
    assert [item.name for item in other] == [item.name for item in one]
    server.lines = server.lines[-1:]
    watches = [Client(server).watch(ConfigMap, revision="1") for _ in range(2)]
    first, second = [(await anext(watch)).object for watch in watches]
    assert first is second
