"""The leases of API servers: renewed while they run, deleted when they have long been gone."""

import pytest

from kobune.api.objects.coordination import Lease
from kobune.client.client import Client
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.identity import is_expired
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.local import LocalTransport
from kobune.testing.virtual import VirtualClock, run_virtual

NOW = 1_700_000_000.0
RENEWED = "2023-11-14T22:13:20.000000Z"  # NOW


async def leases(server):
    listing = await Client(LocalTransport(server, MASTER)).list(Lease, "kube-system")
    return {each.name: each for each in listing.items}


def test_each_server_has_a_lease_which_outlives_it_for_an_hour():
    async def story():
        clock, store = VirtualClock(), MemoryStore()
        other = {"metadata": {"name": "other"}, "spec": {"holderIdentity": "x", "leaseDurationSeconds": 1}}
        async with ApiServer(ApiServerConfig(advertise_address="10.0.0.1"), store, clock=clock) as server:
            await clock.sleep(1)
            (first,) = (await leases(server)).values()
            other["metadata"]["namespace"] = "kube-system"
            await Client(LocalTransport(server, MASTER)).create(Lease, other)
            await clock.sleep(1000)
            renewed = (await leases(server))[first.name]
        async with ApiServer(ApiServerConfig(advertise_address="10.0.0.2"), store, clock=clock) as server:
            await clock.sleep(3000)
            both = await leases(server)
            await clock.sleep(3600)
            return first, renewed, both, await leases(server)

    first, renewed, both, later = run_virtual(story())
    assert first.name.startswith("apiserver-")
    assert first.metadata.labels == {
        "apiserver.kubernetes.io/identity": "kube-apiserver",
        "kubernetes.io/hostname": "10.0.0.1",
    }
    assert first.spec.lease_duration_seconds == 3600
    assert first.spec.holder_identity.startswith(f"{first.name}_")
    assert renewed.spec.renew_time > first.spec.renew_time
    assert len(both) == 3
    assert first.name not in later
    assert "other" in later  # What is no server's is left alone.


@pytest.mark.parametrize(
    ("spec", "expired"),
    [
        ({"renewTime": RENEWED, "leaseDurationSeconds": 10}, False),
        ({"renewTime": RENEWED, "leaseDurationSeconds": -1}, True),
        ({"renewTime": RENEWED}, True),
        ({"leaseDurationSeconds": 10}, True),
    ],
)
def test_a_lease_without_its_times_has_expired(spec, expired):
    assert is_expired({"spec": spec}, NOW) is expired
