"""The objects that every cluster has: namespaces, priority classes, the `kubernetes` Service and its endpoints."""

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import AlreadyExists, ApiError, Invalid, Json
from kobune.controlplane.apiserver.authorization.bootstrap_policy import GROUP as RBAC
from kobune.controlplane.apiserver.authorization.bootstrap_policy import bootstrap_objects
from kobune.controlplane.apiserver.flowcontrol.configuration import GROUP as FLOW_GROUP
from kobune.controlplane.apiserver.flowcontrol.configuration import MANDATORY, levels, schemas
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.create import create
from kobune.controlplane.apiserver.registry.update import change
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.store.contract import Conflict, Unavailable

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

log = logging.getLogger(__name__)

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
# Source: upstream scheduling.SystemPriorityClasses.
PRIORITY_CLASSES: Sequence[tuple[str, int, str]] = (
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
)
SERVICE = "kubernetes"
EXTENSION_AUTHENTICATION = "extension-apiserver-authentication"
TOKEN_TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
RETRY_SECONDS = 0.5
RESERVED_LOOKS, RESERVED_PAUSE_SECONDS = 50, 0.1
KEEP_SECONDS = 10.0  # Source: upstream DefaultEndpointReconcilerInterval.


async def bootstrap(server: "ApiServer") -> None:
    """Make what is missing. Waits for a store that others share: its members may be choosing their leader anew."""
    made = False
    while not made:
        try:
            await _make(server)
            made = True
        except* Unavailable as errors:
            if not server.config.shared_store:
                raise
            log.warning("the store does not answer yet", extra={"failure": str(errors.exceptions[0])})
            await server.clock.sleep(RETRY_SECONDS)


async def _make(server: "ApiServer") -> None:
    async with asyncio.TaskGroup() as group:
        for name in NAMESPACES:
            group.create_task(_ensure(server, "", "v1", "Namespace", "", {"metadata": {"name": name}}))
    async with asyncio.TaskGroup() as group:
        for name, value, description in PRIORITY_CLASSES:
            manifest = {"metadata": {"name": name}, "value": value, "description": description}
            group.create_task(_ensure(server, "scheduling.k8s.io", "v1", "PriorityClass", "", manifest))
        group.create_task(_service_range(server))
        group.create_task(_ensure_service(server))
        if server.rbac is not None:
            for kind, namespace, manifest in bootstrap_objects(server.catalogue):
                group.create_task(_ensure(server, RBAC, "v1", kind, namespace, manifest))
        group.create_task(_flow_control(server))
        group.create_task(_ensure(server, "", "v1", "ConfigMap", "kube-system", extension_authentication(server)))
        group.create_task(_ensure(server, "", "v1", "ConfigMap", "kube-system", token_tracking(server)))
    await keep_endpoints(server)


async def keep(server: "ApiServer") -> None:
    """Put the namespaces and the endpoints right again and again, until cancelled."""
    kept: object = None  # The state of the flow control's objects that was found right.
    while True:
        await server.clock.sleep(KEEP_SECONDS)
        try:
            for name in NAMESPACES:
                await _ensure(server, "", "v1", "Namespace", "", {"metadata": {"name": name}})
            await _ensure(server, "", "v1", "Service", "default", kubernetes_service(server))
            await keep_endpoints(server)
            if (state := await _flow_control_state(server)) != kept:
                await _flow_control(server)
                kept = state
        except (ApiError, Unavailable) as error:
            # A store that is away for a while is no reason to end: what is cached can still be read.
            log.warning("the cluster's own objects could not be kept", extra={"failure": str(error)})


async def _flow_control_state(server: "ApiServer") -> tuple[int, ...]:
    kinds = [
        server.catalogue.find_kind(FLOW_GROUP, "v1", name) for name in ("PriorityLevelConfiguration", "FlowSchema")
    ]
    return tuple([(await server.registry.cache(kind)).changed_at for kind in kinds if kind is not None])


async def _flow_control(server: "ApiServer") -> None:
    """What is missing of the configuration of priority and fairness, and what of the mandatory part is not as it was."""
    if server.catalogue.find_kind(FLOW_GROUP, "v1", "FlowSchema") is None:
        return
    for name, manifests in (("PriorityLevelConfiguration", levels()), ("FlowSchema", schemas())):
        kind = server.registry.builtin(FLOW_GROUP, "v1", name)
        for manifest in manifests:
            wanted: Json = {"kind": kind.name, "apiVersion": kind.api_version, **orjson.loads(orjson.dumps(manifest))}
            server.registry.default(kind, wanted)
            called = wanted["metadata"]["name"]
            item = await server.registry.find_item(kind, "", called)
            if item is None:
                await _ensure(server, FLOW_GROUP, "v1", name, "", manifest)
            elif called in MANDATORY and orjson.loads(item.body)["spec"] != wanted["spec"]:
                await _put_right(server, kind, called, wanted["spec"])


async def _put_right(server: "ApiServer", kind: Kind, name: str, spec: Json) -> None:
    async def correct(old: Json) -> Json:
        return {**old, "metadata": dict(old["metadata"]), "spec": spec}

    await change(server.registry, _call(server, kind, "", name), correct, checks=False)


def extension_authentication(server: "ApiServer") -> Json:
    """Where aggregated servers read whom to believe. Source: upstream clusterauthenticationtrust controller."""
    config, data = server.config, dict[str, str]()
    if config.client_ca:
        data["client-ca-file"] = config.client_ca.decode()
    if config.front_proxy is not None:
        data |= {
            "requestheader-client-ca-file": config.front_proxy.authority.decode(),
            "requestheader-allowed-names": orjson.dumps([config.front_proxy.name]).decode(),
            "requestheader-username-headers": '["X-Remote-User"]',
            "requestheader-uid-headers": '["X-Remote-Uid"]',
            "requestheader-group-headers": '["X-Remote-Group"]',
            "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        }
    return {"metadata": {"name": EXTENSION_AUTHENTICATION}, "data": data}


def token_tracking(server: "ApiServer") -> Json:
    """Since when uses of tokens that Secrets keep are noted. Source: upstream legacytokentracking controller."""
    return {"metadata": {"name": TOKEN_TRACKING}, "data": {"since": server.clock.now().strftime("%Y-%m-%d")}}


def kubernetes_service(server: "ApiServer") -> Json:
    return {
        "metadata": {"name": SERVICE, "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": server.addresses.first,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": server.config.advertise_port}],
            "type": "ClusterIP",
        },
    }


async def keep_endpoints(server: "ApiServer") -> None:
    """Have the Service's endpoints say where this server is, unless nobody else can reach it there."""
    address, port = server.config.advertise_address, server.config.advertise_port
    if not address or ipaddress.ip_address(address).is_loopback:
        return
    await _keep(server, "", "v1", "Endpoints", endpoints(address, port), ("subsets",))
    await _keep(
        server, "discovery.k8s.io", "v1", "EndpointSlice", endpoint_slice(address, port), ("endpoints", "ports")
    )


def endpoints(address: str, port: int) -> Json:
    return {
        "metadata": {"name": SERVICE, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    }


def endpoint_slice(address: str, port: int) -> Json:
    return {
        "metadata": {"name": SERVICE, "labels": {"kubernetes.io/service-name": SERVICE}},
        "addressType": f"IPv{ipaddress.ip_address(address).version}",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }


async def _ensure_service(server: "ApiServer") -> None:
    """The `kubernetes` Service. Its address may be reserved already: by another server, which makes it just now, or by one
    that ended before it had made it."""
    for _ in range(RESERVED_LOOKS):
        try:
            await _ensure(server, "", "v1", "Service", "default", kubernetes_service(server))
            return
        except Invalid:
            await server.clock.sleep(RESERVED_PAUSE_SECONDS)
    with contextlib.suppress(Conflict):  # Another server has freed it.
        await server.store.delete(server.addresses.key(server.addresses.first), expected=None)
    await _ensure(server, "", "v1", "Service", "default", kubernetes_service(server))


async def _service_range(server: "ApiServer") -> None:
    if server.catalogue.find_kind("networking.k8s.io", "v1", "ServiceCIDR") is not None:
        manifest = {"metadata": {"name": SERVICE}, "spec": {"cidrs": [server.config.service_cluster_ip_range]}}
        await _ensure(server, "networking.k8s.io", "v1", "ServiceCIDR", "", manifest)


async def _keep(server: "ApiServer", group: str, version: str, name: str, wanted: Json, fields: Sequence[str]) -> None:
    kind = server.registry.builtin(group, version, name)
    item = await server.registry.find_item(kind, "default", SERVICE)
    if item is None:
        await _ensure(server, group, version, name, "default", wanted)
        return
    current: Json = orjson.loads(item.body)
    if all(current.get(field) == wanted[field] for field in fields):
        return

    async def correct(old: Json) -> Json:
        return {**old, "metadata": dict(old["metadata"]), **{field: wanted[field] for field in fields}}

    await change(server.registry, _call(server, kind, "default", SERVICE), correct, checks=False)


async def _ensure(server: "ApiServer", group: str, version: str, name: str, namespace: str, manifest: Json) -> None:
    kind = server.registry.builtin(group, version, name)
    if await server.registry.find_item(kind, namespace, manifest["metadata"]["name"]) is not None:
        return
    obj: Json = {"kind": kind.name, "apiVersion": kind.api_version, **orjson.loads(orjson.dumps(manifest))}
    server.registry.default(kind, obj)
    try:
        await create(server.registry, _call(server, kind, namespace, manifest["metadata"]["name"]), obj)
    except AlreadyExists:
        return  # Another server of this cluster was faster.


def _call(server: "ApiServer", kind: Kind, namespace: str, name: str) -> Call:
    return Call(kind, namespace, name, MASTER, server.clock.now())
