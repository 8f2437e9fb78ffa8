"""A cluster's state moves between engines, and is lost at no moment."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kobune.aks.clusters import Cluster, NodePool, check_cluster
from kobune.controlplane.store.contract import Compacted, Conflict, Store
from kobune.host import etcd_members, moving
from kobune.host.layout import Layout
from kobune.host.spec import Spec
from kobune.host.stores import open_store, store_flags

NOW = datetime.now(UTC)  # Real members judge the certificates by their own clock.
pytestmark = pytest.mark.etcd
KEY, OTHER = "/registry/configmaps/default/a", "/registry/configmaps/default/b"


@pytest.fixture
def cluster(tmp_path, unused_tcp_port, monkeypatch):
    # Away from the ports of the machine's own clusters.
    monkeypatch.setattr(etcd_members, "FIRST_PORT", unused_tcp_port)
    monkeypatch.setattr(etcd_members, "LAST_PORT", unused_tcp_port + 200)
    layout = Layout(tmp_path).cluster("kobune")
    layout.root.mkdir(parents=True)
    return layout


def spec_of(tier: str) -> Spec:
    pool = NodePool("real", 1, "Standard_DS2_v2", 30)
    managed = check_cluster(Cluster("kobune", "1.36", (pool,), tier=tier))
    return Spec(managed, 6443, store="sqlite" if tier == "Free" else "etcd")


@contextlib.asynccontextmanager
async def opened(cluster, spec) -> AsyncIterator[Store]:
    """As the cluster's API server sees it."""
    async with contextlib.AsyncExitStack() as stack:
        if spec.store == "etcd":
            await stack.enter_async_context(etcd_members.reachable(cluster, spec, NOW))
        store = await open_store(store_flags(cluster, spec))
        stack.push_async_callback(store.close)
        yield store


async def move(cluster, spec) -> None:
    await moving.leave(cluster, spec, NOW)
    moving.prepare(cluster, spec)
    await moving.arrive(cluster, spec, NOW)


async def test_objects_go_to_three_members_and_back_and_revisions_never_go_back(cluster):
    free, standard = spec_of("Free"), spec_of("Standard")
    assert not moving.is_due(cluster, free)
    assert not moving.is_due(cluster, standard)  # Nothing is stored yet.
    async with opened(cluster, free) as store:
        for value in (b"1", b"2", b"3"):
            old = await store.write(KEY, value, expected=None)
    assert not moving.is_due(cluster, free)
    assert moving.is_due(cluster, standard)
    await move(cluster, standard)
    assert not moving.is_due(cluster, standard)
    assert len(etcd_members.members(cluster, standard)) == 3
    async with opened(cluster, standard) as store:
        (entry,) = (await store.list("")).entries
        assert (entry.key, entry.value) == (KEY, b"3")
        assert entry.revision > old
        with pytest.raises(Conflict):
            await store.write(KEY, b"stale", expected=old)
        with pytest.raises(Compacted):
            await anext(store.watch("", after=old - 1))
        newer = await store.write(OTHER, b"4", expected=0)
    assert moving.is_due(cluster, free)
    await move(cluster, free)
    assert not moving.is_due(cluster, free)
    async with opened(cluster, free) as store:
        assert {entry.key: entry.value for entry in (await store.list("")).entries} == {KEY: b"3", OTHER: b"4"}
        assert await store.revision() > newer
    assert len([*cluster.root.glob("store.*.snapshot")]) == 1  # The last one: both were made in the same second.


async def test_whoever_is_killed_in_between_begins_anew_and_loses_nothing(cluster):
    free, standard = spec_of("Free"), spec_of("Standard")
    async with opened(cluster, free) as store:
        await store.write(KEY, b"1", expected=0)
    await moving.leave(cluster, standard, NOW)
    assert moving.is_due(cluster, standard)
    moving.prepare(cluster, standard)
    async with etcd_members.reachable(cluster, standard, NOW) as store:
        await store.write(OTHER, b"half of it", expected=0)
    await move(cluster, standard)
    async with opened(cluster, standard) as store:
        assert [entry.key for entry in (await store.list("")).entries] == [KEY]
    # On the way down, and the user thinks better of it.
    await moving.leave(cluster, free, NOW)
    moving.prepare(cluster, free)
    assert moving.is_due(cluster, standard)
    await move(cluster, standard)
    async with opened(cluster, standard) as store:
        assert [entry.value for entry in (await store.list("")).entries] == [b"1"]


async def test_a_single_member_is_not_enough_for_a_redundant_tier(cluster):
    single = replace(spec_of("Free"), store="etcd")
    async with opened(cluster, single) as store:
        await store.write(KEY, b"1", expected=0)
    assert not moving.is_due(cluster, single)
    standard = spec_of("Standard")
    assert moving.is_due(cluster, standard)
    await move(cluster, standard)
    async with opened(cluster, standard) as store:
        assert [entry.value for entry in (await store.list("")).entries] == [b"1"]
    assert len(etcd_members.members(cluster, standard)) == 3
