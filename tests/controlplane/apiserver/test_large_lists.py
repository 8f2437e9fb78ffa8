"""Lists too large to be put together: they are sent in parts, and are the same lists."""

import orjson
import pytest

from kobune.api.catalogue import builtin
from kobune.controlplane.apiserver.registry.reading import CHUNK_BYTES, Results, list_body, list_chunks


async def test_a_large_list_is_streamed(ask):
    path = "/api/v1/namespaces/default/configmaps"
    for number in range(12):
        await ask.create(path, {"metadata": {"name": f"a{number:02}"}, "data": {"text": "x" * 500_000}})
    response = await ask.raw("GET", path)
    parts = [part async for part in response.body]
    assert max(map(len, parts)) < 2_000_000
    items = orjson.loads(b"".join(parts))["items"]
    assert [item["metadata"]["name"] for item in items] == [f"a{number:02}" for number in range(12)]
    small = await ask("GET", f"{path}?limit=2")
    assert len(small["items"]) == 2


@pytest.mark.parametrize("sizes", [[], [10], [CHUNK_BYTES], [CHUNK_BYTES, 10], [10] * 5, [CHUNK_BYTES // 2] * 5])
def test_the_parts_are_the_whole(sizes):
    kind = builtin("1.36").find_kind("", "v1", "ConfigMap")
    found = Results([orjson.dumps({"text": "x" * size}) for size in sizes], 7, "", 0)
    assert b"".join(list_chunks(kind, found)) == list_body(kind, found)
