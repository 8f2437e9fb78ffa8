"""A disk, or an etcd, that fills up: writes are refused with 507, reads go on, and nothing has to be restarted afterwards."""

import asyncio
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import orjson
import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.contract import Full
from kobune.controlplane.store.etcd import EtcdStore
from kobune.controlplane.store.etcd_member import member_command
from kobune.controlplane.store.snapshot import save_file
from kobune.controlplane.store.sqlite import SqliteStore
from kobune.host.etcd_members import answering
from kobune.host.local import LocalTransport

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
    answer = await LocalTransport(server, MASTER).request(method, path, body=data)
    return answer.status, orjson.loads(answer.body)


async def fill(server: ApiServer, size: int) -> tuple[list[str], Any]:
    """The names of as many objects as there is room for, and the first one for which there is none."""
    created: list[str] = []
    while True:
        obj = {"metadata": {"name": f"a{len(created)}"}, "data": {"text": "x" * size}}
        status, answer = await ask(server, "POST", CONFIG_MAPS, obj)
        if status != 201:
            assert len(created) > 10
            assert (status, answer["reason"]) == (507, "InsufficientStorage")
            return created, obj
        created.append(f"a{len(created)}")


@pytest.mark.real
async def test_a_disk_fills_up_and_is_cleared(small_disk: Path) -> None:
    store = await SqliteStore.open(small_disk / "state.db")
    async with ApiServer(ApiServerConfig(), store, clock=SystemClock(), source=random.Random(1)) as server:
        (small_disk / "something else").write_bytes(bytes(1_500_000))
        created, obj = await fill(server, 20_000)
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
        created.append(obj["metadata"]["name"])
    await store.close()
    store = await SqliteStore.open(small_disk / "state.db")
    found = [entry.key.rpartition("/")[2] for entry in (await store.list("/registry/configmaps/default/a")).entries]
    assert sorted(found) == sorted(created)
    await store.close()


@pytest.fixture
def small_etcd(tmp_path: Path) -> Iterator[str]:
    """The endpoint of an etcd that takes 4 MiB."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        client, peer = (f"127.0.0.1:{port.getsockname()[1]}" for port in (one, other))
    command = member_command("one", tmp_path / "etcd", client=client, peers={"one": peer})
    with subprocess.Popen([*command, f"--quota-backend-bytes={4 * 2**20}"], stderr=subprocess.DEVNULL) as process:
        yield f"http://{client}"
        process.kill()


@pytest.mark.etcd
async def test_an_etcd_fills_up_and_is_given_room(small_etcd: str) -> None:
    store = EtcdStore([small_etcd])
    await answering(store)
    async with ApiServer(ApiServerConfig(), store, clock=SystemClock(), source=random.Random(1)) as server:
        created, obj = await fill(server, 100_000)
        _, answer = await ask(server, "GET", CONFIG_MAPS)
        assert {item["metadata"]["name"] for item in answer["items"]} >= set(created)
        # Deletions need no room; what they free is given back as etcd's own documentation tells its operators.
        for gone in created[5:]:
            status, _ = await ask(server, "DELETE", f"{CONFIG_MAPS}/{gone}")
            assert status == 200
        await asyncio.to_thread(give_room, small_etcd, await store.revision())
        status, _ = await ask(server, "POST", CONFIG_MAPS, obj)
        # etcd may have made the very write of which it said that there is no room for it.
        assert status in (201, 409)
        _, answer = await ask(server, "GET", CONFIG_MAPS)
        assert {*created[:5], obj["metadata"]["name"]} <= {item["metadata"]["name"] for item in answer["items"]}
    await store.close()


def give_room(endpoint: str, revision: int) -> None:
    """Compact, defragment, and take back the alarm."""

    def call(method: str, **body: object) -> Any:
        with urlopen(f"{endpoint}/v3/{method}", orjson.dumps(body), 30) as answer:
            return orjson.loads(answer.read())

    call("kv/compaction", revision=str(revision), physical=True)
    call("maintenance/defragment")
    for alarm in call("maintenance/alarm", action="GET")["alarms"]:
        call("maintenance/alarm", action="DEACTIVATE", **alarm)
