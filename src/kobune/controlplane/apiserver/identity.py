"""The lease by which an API server is known to its cluster, and the end of leases whose servers are gone.

Source: upstream's identity lease controller and its garbage collector.
"""

import base64
import hashlib
import logging
from typing import TYPE_CHECKING

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import AlreadyExists, ApiError, Json
from kobune.api.timestamps import format_micro, parse_time
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.create import create
from kobune.controlplane.apiserver.registry.update import change
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.store.contract import Conflict, Unavailable
from kobune.controlplane.store.selection import Selection

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

log = logging.getLogger(__name__)

NAMESPACE = "kube-system"
LABEL, COMPONENT = "apiserver.kubernetes.io/identity", "kube-apiserver"
DURATION_SECONDS = 3600
# Upstream renews every 10 s what lasts an hour; a twelfth of the time leaves room for any failure and spares the store.
RENEW_SECONDS = DURATION_SECONDS / 12


async def keep_identity(server: "ApiServer") -> None:
    """Renew this server's lease and delete expired ones, until cancelled."""
    holder = f"{lease_name(server)}_{server.registry.mint.uid()}"
    while True:
        try:
            await _renew(server, holder)
            await _collect(server)
        except (ApiError, Unavailable) as error:
            log.warning("the identity lease could not be kept", extra={"failure": str(error)})
        await server.clock.sleep(RENEW_SECONDS)


def lease_name(server: "ApiServer") -> str:
    """The same for a server at its address whenever it is started."""
    where = f"{server.config.advertise_address}:{server.config.advertise_port}"
    digest = hashlib.sha256(where.encode()).digest()[:16]
    return f"apiserver-{base64.b32encode(digest).decode().rstrip('=').lower()}"


async def _renew(server: "ApiServer", holder: str) -> None:
    kind, name = _leases(server), lease_name(server)
    now = format_micro(server.clock.now())
    call = Call(kind, NAMESPACE, name, MASTER, server.clock.now())
    if await server.registry.find_item(kind, NAMESPACE, name) is None:
        labels = {LABEL: COMPONENT, **({"kubernetes.io/hostname": host} if (host := _host(server)) else {})}
        spec = {"holderIdentity": holder, "leaseDurationSeconds": DURATION_SECONDS, "renewTime": now}
        metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
        lease: Json = {"kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata, "spec": spec}
        try:
            await create(server.registry, call, lease)
            return
        except AlreadyExists:
            pass  # One that was started at the same place, a moment ago.

    async def renewed(old: Json) -> Json:
        spec = {**old["spec"], "holderIdentity": holder, "renewTime": now}
        return {**old, "metadata": dict(old["metadata"]), "spec": spec}

    await change(server.registry, call, renewed, checks=False)


async def _collect(server: "ApiServer") -> None:
    kind, now = _leases(server), server.clock.now()
    for item in (await server.registry.cache(kind)).list(Selection(namespace=NAMESPACE)):
        lease: Json = orjson.loads(item.body)
        if lease["metadata"].get("labels", {}).get(LABEL) != COMPONENT or not is_expired(lease, now.timestamp()):
            continue
        try:
            await server.registry.delete(kind, lease, expected=item.revision)
        except Conflict:
            continue  # Renewed after all, or gone already.


def is_expired(lease: Json, now: float) -> bool:
    """Its time is over, or it says none."""
    spec = lease.get("spec") or {}
    renewed, duration = spec.get("renewTime"), spec.get("leaseDurationSeconds")
    return not renewed or duration is None or parse_time(renewed).timestamp() + duration < now


def _host(server: "ApiServer") -> str:
    address = server.config.advertise_address
    return "" if ":" in address else address  # A label's value has no colons.


def _leases(server: "ApiServer") -> Kind:
    return server.registry.builtin("coordination.k8s.io", "v1", "Lease")
