"""Several API servers on one store: what one has answered, the others know, even when they hear of changes late."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver import bootstrap
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.contract import Change, Entry, Page
from kobune.controlplane.store.memory import MemoryStore

LATE_SECONDS = 0.05
PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"


class Late:
    """A store whose watch tells of each change a while after it was made, as etcd's may."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def revision(self) -> int:
        return await self._store.revision()

    async def read(self, key: str) -> Entry | None:
        return await self._store.read(key)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        return await self._store.list(prefix, after=after, limit=limit, revision=revision)

    async def write(
        self, key: str, value: bytes, *, expected: int | None, durable: bool = True, seconds: float = 0.0
    ) -> int:
        return await self._store.write(key, value, expected=expected, durable=durable, seconds=seconds)

    async def delete(self, key: str, *, expected: int | None) -> int:
        return await self._store.delete(key, expected=expected)

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Change]]:
        async for batch in self._store.watch(prefix, after=after):
            await asyncio.sleep(LATE_SECONDS)
            yield batch

    async def progress(self) -> None:
        """Its changes tell."""

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision)

    async def close(self) -> None:
        """The store belongs to both."""


@pytest.fixture
async def prompt_and_late(ask):
    """Askers of two servers; the second hears of the first one's changes late."""
    store, config = MemoryStore(), ApiServerConfig(shared_store=True)
    async with (
        ApiServer(config, store, clock=SystemClock()) as prompt,
        ApiServer(config, Late(store), clock=SystemClock()) as late,
    ):
        asker = type(ask)
        yield asker(prompt), asker(late)


def pod(name: str) -> dict[str, object]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "example.org/app"}]}}


async def test_what_one_server_made_the_other_shows_changes_and_removes(prompt_and_late):
    prompt, late = prompt_and_late
    for number, method in enumerate(("GET", "PUT", "PATCH", "DELETE")):
        path = f"{MAPS}/a-{number}"
        made = await prompt.create(MAPS, {"metadata": {"name": f"a-{number}"}})
        body = {"PUT": {**made, "data": {"by": "late"}}, "PATCH": {"data": {"by": "late"}}}.get(method)
        await late(method, path, body, status=200, content_type="application/merge-patch+json" if method == "PATCH" else "application/json")  # fmt: skip


async def test_a_pod_made_at_one_server_is_bound_at_the_other(prompt_and_late):
    prompt, late = prompt_and_late
    await prompt.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    await late("GET", PODS)
    await prompt.create(PODS, pod("a"))
    target = {"apiVersion": "v1", "kind": "Node", "name": "node-1"}
    await late("POST", f"{PODS}/a/binding", {"metadata": {"name": "a"}, "target": target}, status=201)
    assert (await prompt("GET", f"{PODS}/a"))["spec"]["nodeName"] == "node-1"


async def test_a_state_that_has_passed_refuses_nothing(prompt_and_late):
    prompt, late = prompt_and_late
    await prompt.create(MAPS, {"metadata": {"name": "a"}})
    await late("GET", f"{MAPS}/a")
    newer = await prompt("PATCH", f"{MAPS}/a", {"data": {"n": "1"}}, content_type="application/merge-patch+json")
    # The late server still shows the state before; the client's resourceVersion is the newest all the same.
    await late("PUT", f"{MAPS}/a", {**newer, "data": {"n": "2"}}, status=200)
    newest = await prompt("PATCH", f"{MAPS}/a", {"data": {"n": "3"}}, content_type="application/merge-patch+json")
    conditions = {"preconditions": {"resourceVersion": newest["metadata"]["resourceVersion"]}}
    await late("DELETE", f"{MAPS}/a", conditions, status=200)


async def test_a_change_back_to_a_state_that_has_passed_is_written(prompt_and_late):
    prompt, late = prompt_and_late
    first = await prompt.create(MAPS, {"metadata": {"name": "a"}, "data": {"n": "1"}})
    await late("GET", f"{MAPS}/a")
    await prompt("PATCH", f"{MAPS}/a", {"data": {"n": "2"}}, content_type="application/merge-patch+json")
    await late("PATCH", f"{MAPS}/a", {"data": {"n": "1"}}, content_type="application/merge-patch+json")
    found = await prompt("GET", f"{MAPS}/a")
    assert found["data"] == {"n": "1"}
    assert found["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]


async def test_a_new_namespace_can_be_used_at_once_at_every_server(prompt_and_late):
    prompt, late = prompt_and_late
    await prompt.create("/api/v1/namespaces", {"metadata": {"name": "new"}})
    await late.create("/api/v1/namespaces/new/configmaps", {"metadata": {"name": "a"}})
    await prompt.create("/api/v1/namespaces/new/serviceaccounts", {"metadata": {"name": "robot"}})
    robot = pod("a")
    robot["spec"]["serviceAccountName"] = "robot"
    await late.create("/api/v1/namespaces/new/pods", robot)


async def test_servers_that_start_together_both_come_up():
    store, config = MemoryStore(), ApiServerConfig(shared_store=True)
    async with asyncio.timeout(60), contextlib.AsyncExitStack() as stack:
        servers = [ApiServer(config, each, clock=SystemClock()) for each in (store, Late(store))]
        await asyncio.gather(*(started(server, stack) for server in servers))
        assert all(server.ready for server in servers)


async def started(server: ApiServer, stack: contextlib.AsyncExitStack) -> None:
    await stack.enter_async_context(server)


async def test_an_address_reserved_by_a_server_that_was_killed_keeps_none_from_starting(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESERVED_LOOKS", 2)
    store = MemoryStore()
    await store.write("/registry/ipaddresses/10.0.0.1", b"{}", expected=0)
    async with ApiServer(ApiServerConfig(), store, clock=SystemClock()) as server:
        assert server.ready
