"""The DNS address belongs to kube-dns, and no kube-proxy gets in its way."""

from kobune.api.clock import SystemClock
from kobune.api.objects.core import Service
from kobune.api.objects.meta import Key
from kobune.client.client import Client
from kobune.node.dns.service import announce
from kobune.node.proxy.endpoints import is_proxied


async def test_the_address_is_taken_once(client: Client, service_range):
    address = str(service_range[10])
    for _ in range(2):
        await announce(client, SystemClock(), address=address)
    service = await client.get(Service, Key("kube-system", "kube-dns"))
    assert service.spec.cluster_ip == address
    assert not is_proxied(service)
