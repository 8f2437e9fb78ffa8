"""Cluster addresses and node ports are given to one Service each."""

import random

import orjson
import pytest

from kobune.api.clock import SystemClock
from kobune.api.errors import ApiError
from kobune.client.client import Client
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.local import LocalTransport

CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
SERVICES = "/api/v1/namespaces/default/services"
MERGE = "application/merge-patch+json"


def service(name="s", **spec):
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}, **spec}}


async def test_the_kubernetes_service_has_the_first_address(ask):
    found = await ask("GET", f"{SERVICES}/kubernetes")
    assert (found["spec"]["clusterIP"], found["spec"]["clusterIPs"]) == ("10.0.0.1", ["10.0.0.1"])
    assert found["spec"]["ipFamilies"] == ["IPv4"]


async def test_addresses_differ_and_come_from_the_range(ask):
    addresses = {(await ask.create(SERVICES, service(f"s{number}")))["spec"]["clusterIP"] for number in range(20)}
    assert len(addresses) == 20
    assert all(address.startswith("10.0.") for address in addresses)


async def test_an_address_is_free_again_after_its_service(ask):
    await ask.create(SERVICES, service(clusterIP="10.0.7.7"))
    answer = await ask("POST", SERVICES, service("t", clusterIP="10.0.7.7"), status=422)
    assert answer["message"] == (
        'Service "t" is invalid: spec.clusterIPs: Invalid value: ["10.0.7.7"]: '
        "failed to allocate IP 10.0.7.7: provided IP is already allocated"
    )
    await ask("DELETE", f"{SERVICES}/s")
    await ask.create(SERVICES, service("t", clusterIP="10.0.7.7"))


async def test_an_address_outside_the_range_is_refused(ask):
    answer = await ask("POST", SERVICES, service(clusterIP="192.168.0.1"), status=422)
    assert (
        "failed to allocate IP 192.168.0.1: the provided network does not match the current range" in answer["message"]
    )


async def test_headless_and_external_services_take_no_address(ask):
    assert (await ask.create(SERVICES, service(clusterIP="None")))["spec"]["clusterIPs"] == ["None"]
    external = {"metadata": {"name": "e"}, "spec": {"type": "ExternalName", "externalName": "example.com"}}
    assert "clusterIP" not in (await ask.create(SERVICES, external))["spec"]


async def test_node_ports_are_given_once_and_freed_with_the_type(ask):
    created = await ask.create(SERVICES, service(type="NodePort", ports=[{"port": 80, "nodePort": 30123}]))
    assert created["spec"]["ports"][0]["nodePort"] == 30123
    other = service("t", type="NodePort", ports=[{"port": 80, "nodePort": 30123}])
    answer = await ask("POST", SERVICES, other, status=422)
    assert answer["message"] == (
        'Service "t" is invalid: spec.ports[0].nodePort: Invalid value: 30123: provided port is already allocated'
    )
    changed = await ask("PATCH", f"{SERVICES}/s", {"spec": {"type": "ClusterIP"}}, content_type=MERGE)
    assert "nodePort" not in changed["spec"]["ports"][0]
    assert (await ask.create(SERVICES, other))["spec"]["ports"][0]["nodePort"] == 30123


async def test_an_update_keeps_what_it_does_not_name(ask):
    created = await ask.create(SERVICES, service(type="NodePort"))
    updated = await ask("PUT", f"{SERVICES}/s", service(type="NodePort"))
    assert updated["spec"]["clusterIP"] == created["spec"]["clusterIP"]
    assert updated["spec"]["ports"][0]["nodePort"] == created["spec"]["ports"][0]["nodePort"]


async def test_a_dry_run_takes_nothing(ask):
    await ask.create(f"{SERVICES}?dryRun=All", service(clusterIP="10.0.7.7"))
    await ask.create(SERVICES, service(clusterIP="10.0.7.7"))


async def test_what_a_failed_write_took_is_free(ask):
    await ask.create(SERVICES, service(clusterIP="10.0.7.7"))
    await ask("POST", SERVICES, service(clusterIP="10.0.7.8"), status=409)
    await ask.create(SERVICES, service("t", clusterIP="10.0.7.8"))


async def test_when_the_first_range_is_full_a_ready_service_cidr_gives_addresses():
    config = ApiServerConfig(
        service_cluster_ip_range="10.0.0.0/30"
    )  # Two addresses; one is the `kubernetes` Service's.
    async with ApiServer(config, MemoryStore(), clock=SystemClock(), source=random.Random(1)) as server:
        client = Client(LocalTransport(server, MASTER))

        async def send(method, path, body, content_type="application/json"):
            return orjson.loads(await client.call(method, path, body=orjson.dumps(body), content_type=content_type))

        while (await send("POST", SERVICES, service("last")))["spec"]["clusterIP"] != "10.0.0.2":
            await client.call("DELETE", f"{SERVICES}/last")  # It was faster than the `kubernetes` Service.
        with pytest.raises(ApiError, match="range is full"):
            await send("POST", SERVICES, service())
        more = {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.9.0.0/28"]}}
        await send("POST", CIDRS, more)
        condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-05T08:00:00Z"}
        await send("PATCH", f"{CIDRS}/more/status", {"status": {"conditions": [condition]}}, MERGE)
        assert (await send("POST", SERVICES, service()))["spec"]["clusterIP"].startswith("10.9.0.")
