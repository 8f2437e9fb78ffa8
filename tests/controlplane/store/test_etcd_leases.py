"""What need be kept for a time only goes away by itself, in an etcd."""

import asyncio
import uuid

import pytest

from kobune.controlplane.store import etcd_leases
from kobune.controlplane.store import etcd_pb2 as pb
from kobune.controlplane.store.etcd import EtcdStore

pytestmark = [pytest.mark.etcd]


@pytest.fixture
async def store(etcd):
    one = EtcdStore([etcd], root=f"/{uuid.uuid4()}")
    yield one
    await one.close()


async def lease_of(store, key):
    """As etcd has it: the contract does not show it."""
    found = await store._calls.call("KV/Range", pb.RangeRequest(key=store._key(key)), pb.RangeResponse, repeatable=True)
    return found.kvs[0].lease


async def test_an_entry_goes_when_its_time_is_over_and_others_stay(store, monkeypatch):
    monkeypatch.setattr(etcd_leases, "SHARED_SECONDS", 0.0)
    start = await store.write("/events/kept", b"1", expected=0)
    revision = await store.write("/events/renewed", b"1", expected=0, seconds=1)
    await store.write("/events/gone", b"1", expected=None, seconds=1)
    # A write without an end takes the entry out of its lease.
    await store.write("/events/renewed", b"2", expected=revision)
    async with asyncio.timeout(60):
        async for batch in store.watch("/events/", after=start):
            if batch[-1].value is None:
                break
    assert batch[-1].key == "/events/gone"
    assert [entry.key for entry in (await store.list("/events/")).entries] == ["/events/kept", "/events/renewed"]


async def test_writes_of_about_the_same_time_share_a_lease(store):
    for name in "ab":
        await store.write(f"/events/{name}", b"1", expected=0, seconds=3600)
    await store.write("/events/c", b"1", expected=0, seconds=7200)
    first, second, third = [await lease_of(store, f"/events/{name}") for name in "abc"]
    assert first == second != 0
    assert third not in (first, 0)


async def test_a_lease_that_etcd_no_longer_knows_is_replaced(store):
    await store.write("/events/a", b"1", expected=0, seconds=3600)
    lost = await lease_of(store, "/events/a")
    await store._calls.call(
        "Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=lost), pb.LeaseRevokeResponse, repeatable=False
    )
    revision = await store.write("/events/b", b"1", expected=0, seconds=3600)
    assert (await store.read("/events/b")).revision == revision
    assert await store.read("/events/a") is None
