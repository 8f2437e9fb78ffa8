"""Stores as flags name them, and API servers that share one."""

import asyncio
import base64
import random
import uuid
from pathlib import Path
from typing import Any

import orjson
import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER, Request
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.encrypted import EncryptedStore
from kobune.controlplane.store.etcd import EtcdStore
from kobune.controlplane.store.memory import MemoryStore
from kobune.controlplane.store.sqlite import SqliteStore
from kobune.host.stores import BadStore, StoreFlags, open_store


async def ask(server: ApiServer, method: str, path: str, body: Any = None) -> Any:
    answer = await answer_to(server, method, path, body)
    assert answer["kind"] != "Status", answer
    return answer


async def answer_to(server: ApiServer, method: str, path: str, body: Any = None) -> Any:
    path, _, query = path.partition("?")
    pairs = [part.partition("=")[::2] for part in query.split("&")] if query else []
    data = orjson.dumps(body) if body is not None else b""
    headers = {"content-type": "application/json"}
    response = await server.handle(Request(method, path, dict(pairs), headers, data, MASTER, repeated=pairs))
    return orjson.loads(response.body)


async def test_each_engine_by_its_name(tmp_path: Path) -> None:
    memory = await open_store(StoreFlags("memory"))
    assert isinstance(memory, MemoryStore)
    embedded = await open_store(StoreFlags(f"sqlite:{tmp_path}/made/state.db"))
    assert isinstance(embedded, SqliteStore)
    await embedded.close()
    etcd = await open_store(StoreFlags(etcd_servers=["http://127.0.0.1:1"]))
    assert isinstance(etcd, EtcdStore)
    await etcd.close()


@pytest.mark.etcd
async def test_clusters_with_prefixes_of_their_own_share_one_etcd(etcd: str) -> None:
    name = uuid.uuid4().hex
    stores = [await open_store(StoreFlags(etcd_servers=[etcd], etcd_prefix=prefix)) for prefix in (name, f"/{name}2/")]
    raw = EtcdStore([etcd], root=f"/{name}")
    for number, store in enumerate(stores):
        await store.write("/registry/pods/default/a", b"%d" % number, expected=0)
    entry = await raw.read("/pods/default/a")
    assert entry is not None
    assert entry.value == b"0"
    for number, store in enumerate(stores):
        for prefix in ("", "/registry/", "/registry/pods/"):
            found = (await store.list(prefix)).entries
            assert [(entry.key, entry.value) for entry in found] == [("/registry/pods/default/a", b"%d" % number)]
        assert not (await store.list("", after="/registry/pods/default/a")).entries
    for store in (*stores, raw):
        await store.close()


@pytest.mark.parametrize(
    "flags",
    [
        StoreFlags("sqlite:"),
        StoreFlags("postgres:x"),
        StoreFlags("memory", etcd_servers=["http://127.0.0.1:1"]),
        StoreFlags(etcd_servers=["https://127.0.0.1:1"]),
        StoreFlags("memory", encryption_provider_config_automatic_reload=True),
    ],
)
async def test_a_store_that_cannot_be_is_refused(flags: StoreFlags) -> None:
    with pytest.raises(BadStore):
        await open_store(flags)


@pytest.mark.parametrize("content", ["[]", "{", "kind: Pod"])
async def test_a_faulty_encryption_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "encryption.yaml"
    path.write_text(content)
    with pytest.raises(BadStore, match=r"encryption\.yaml"):
        await open_store(StoreFlags("memory", encryption_provider_config=path))


async def test_secrets_are_encrypted_on_disk_and_plain_to_clients(tmp_path: Path) -> None:
    path = tmp_path / "encryption.yaml"
    path.write_text(f"""
kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources:
- resources: [secrets]
  providers:
  - aesgcm: {{keys: [{{name: one, secret: {base64.b64encode(bytes(32)).decode()}}}]}}
  - identity: {{}}
""")
    flags = StoreFlags(f"sqlite:{tmp_path}/state.db", encryption_provider_config=path)
    for attempt in range(2):
        store = await open_store(flags)
        async with ApiServer(ApiServerConfig(), store, clock=SystemClock(), source=random.Random(1)) as server:
            url = "/api/v1/namespaces/default/secrets"
            if attempt == 0:
                await ask(server, "POST", url, {"metadata": {"name": "a"}, "data": {"word": "c2VzYW1l"}})
            answer = await ask(server, "GET", f"{url}/a")
            assert base64.b64decode(answer["data"]["word"]) == b"sesame"
        await store.close()
    content = (tmp_path / "state.db").read_bytes()
    assert b"k8s:enc:aesgcm:v1:one:" in content
    assert base64.b64encode(b"sesame") not in content


async def test_an_encryption_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    def configure(*names: str) -> None:
        keys = [{"name": name, "secret": base64.b64encode(name.encode() * 32).decode()} for name in names]
        providers = [{"aesgcm": {"keys": keys}}, {"identity": {}}]
        kind = {"kind": "EncryptionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1"}
        path.write_bytes(orjson.dumps({**kind, "resources": [{"resources": ["secrets"], "providers": providers}]}))

    class Minutes(SystemClock):
        """A minute passes when `pass_` is called."""

        def __init__(self) -> None:
            self._waiting: asyncio.Queue[asyncio.Event] = asyncio.Queue()

        async def sleep(self, seconds: float) -> None:
            assert seconds == 60
            event = asyncio.Event()
            self._waiting.put_nowait(event)
            await event.wait()

        async def pass_(self) -> None:
            """Return when whatever was to be done then is done."""
            (await self._waiting.get()).set()
            self._waiting.put_nowait(await self._waiting.get())

    path, minutes = tmp_path / "encryption.yaml", Minutes()
    configure("1")
    store = await open_store(
        StoreFlags("memory", encryption_provider_config=path, encryption_provider_config_automatic_reload=True),
        clock=minutes,
    )
    assert isinstance(store, EncryptedStore)
    inner: MemoryStore = store._store  # type: ignore[assignment]
    await store.write("/registry/secrets/default/a", b"password", expected=0)
    async with asyncio.TaskGroup() as tasks:
        sealing = tasks.create_task(store.seal_anew())
        for change, prefix in (
            (lambda: None, b"k8s:enc:aesgcm:v1:1:"),
            (lambda: configure("2", "1"), b"k8s:enc:aesgcm:v1:2:"),
            (lambda: path.write_text("resources: ["), b"k8s:enc:aesgcm:v1:2:"),
            (path.unlink, b"k8s:enc:aesgcm:v1:2:"),
            (lambda: configure("3", "2"), b"k8s:enc:aesgcm:v1:3:"),
        ):
            change()
            await minutes.pass_()
            entry = await inner.read("/registry/secrets/default/a")
            assert entry is not None
            assert entry.value.startswith(prefix)
            plain = await store.read("/registry/secrets/default/a")
            assert plain is not None
            assert plain.value == b"password"
        sealing.cancel()
    await store.close()


@pytest.mark.etcd
async def test_servers_on_one_etcd_see_each_others_writes_at_once(etcd: str) -> None:
    root = f"/{uuid.uuid4().hex}"
    stores = [EtcdStore([etcd], root=root) for _ in range(2)]
    config = ApiServerConfig(shared_store=True)
    async with (
        ApiServer(config, stores[0], clock=SystemClock(), source=random.Random(1)) as one,
        ApiServer(config, stores[1], clock=SystemClock(), source=random.Random(2)) as other,
    ):
        url = "/api/v1/namespaces/default/configmaps"
        servers = [one, other]
        for number in range(20):
            writer, reader = servers if number % 2 else reversed(servers)
            await ask(writer, "POST", url, {"metadata": {"name": f"a{number}"}})
            assert (await ask(reader, "GET", f"{url}/a{number}"))["metadata"]["name"] == f"a{number}"
            assert len((await ask(reader, "GET", url))["items"]) == number + 1

        async def count(server: ApiServer) -> None:
            """Add one to a counter ten times; who comes too late tries again."""
            for _ in range(10):
                while True:
                    obj = await ask(server, "GET", f"{url}/a0")
                    obj["data"] = {"count": str(int((obj.get("data") or {}).get("count", "0")) + 1)}
                    if (await answer_to(server, "PUT", f"{url}/a0", obj)).get("reason") != "Conflict":
                        break

        await asyncio.gather(count(one), count(other), count(one))
        for server in servers:
            assert (await ask(server, "GET", f"{url}/a0"))["data"]["count"] == "30"
    for store in stores:
        await store.close()
