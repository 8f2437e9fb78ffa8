"""A server whose disk fills up: writes are refused with 507, reads go on, and nothing has to be restarted afterwards."""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER, Request
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.contract import Full
from kobune.controlplane.store.snapshot import save_file
from kobune.controlplane.store.sqlite import SqliteStore

pytestmark = pytest.mark.real

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "kobune-test", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


async def ask(server: ApiServer, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = orjson.dumps(body) if body is not None else b""
    response = await server.handle(Request(method, path, {}, {"content-type": "application/json"}, data, MASTER))
    return response.status, orjson.loads(response.body)


async def test_a_disk_fills_up_and_is_cleared(small_disk: Path) -> None:
    store = await SqliteStore.open(small_disk / "state.db")
    async with ApiServer(ApiServerConfig(), store, clock=SystemClock(), source=random.Random(1)) as server:
        (small_disk / "something else").write_bytes(bytes(1_500_000))
        created: list[str] = []
        while True:
            name = f"a{len(created)}"
            obj = {"metadata": {"name": name}, "data": {"text": "x" * 20_000}}
            status, answer = await ask(server, "POST", CONFIG_MAPS, obj)
            if status != 201:
                break
            created.append(name)
        assert len(created) > 10
        for _ in range(3):
            status, answer = await ask(server, "POST", CONFIG_MAPS, obj)
            assert (status, answer["reason"]) == (507, "InsufficientStorage")
            assert "no space is left" in answer["message"]
        _, answer = await ask(server, "GET", CONFIG_MAPS)
        assert {item["metadata"]["name"] for item in answer["items"]} >= set(created)
        with pytest.raises(Full):
            save_file(small_disk / "state.db", small_disk / "snapshot")
        (small_disk / "something else").unlink()
        status, _ = await ask(server, "POST", CONFIG_MAPS, obj)
        assert status == 201
        created.append(name)
    await store.close()
    store = await SqliteStore.open(small_disk / "state.db")
    found = [entry.key.rpartition("/")[2] for entry in (await store.list("/registry/configmaps/default/a")).entries]
    assert sorted(found) == sorted(created)
    await store.close()
