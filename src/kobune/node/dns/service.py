"""The Service `kube-dns`, which keeps the DNS address from being given to another."""

import logging

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Json
from kobune.api.objects.core import Service
from kobune.api.objects.meta import Key
from kobune.client.client import Client

log = logging.getLogger(__name__)

NAME = Key("kube-system", "kube-dns")
ADDRESS = "10.0.0.10"  # As on AKS.
RETRY_SECONDS = 1.0


def kube_dns(address: str) -> Json:
    """The Service as AKS has it, marked as served by no kube-proxy: every node answers on the address itself."""
    ports = [
        {"name": name, "port": 53, "protocol": protocol, "targetPort": 53}
        for name, protocol in (("dns", "UDP"), ("dns-tcp", "TCP"))
    ]
    labels = {
        "k8s-app": "kube-dns",
        "kubernetes.io/cluster-service": "true",
        "kubernetes.io/name": "CoreDNS",
        "service.kubernetes.io/service-proxy-name": "node-dns",
    }
    return {
        "metadata": {"name": NAME.name, "namespace": NAME.namespace, "labels": labels},
        "spec": {"clusterIP": address, "ports": ports},
    }


async def announce(client: Client, clock: Clock, *, address: str = ADDRESS) -> None:
    """Create the Service unless it is there; tries until the API server takes it."""
    while True:
        try:
            # Looked for first: a server may find the address taken before it finds the name taken.
            if await client.find(Service, NAME) is None:
                await client.create(Service, kube_dns(address))
        except ApiError as failure:
            # The namespace comes with the API server's first breath.
            log.info("kube-dns has to wait", extra={"failure": str(failure)})
            await clock.sleep(RETRY_SECONDS)
        else:
            return
