"""Subresources of single kinds: one file each. The table is the only list of them."""

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from kobune.controlplane.apiserver.customresources.scale import custom_scale
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.resources import Handler, status
from kobune.controlplane.apiserver.routes import RequestInfo
from kobune.controlplane.apiserver.subresources.approval import approve
from kobune.controlplane.apiserver.subresources.binding import bind, bind_collection
from kobune.controlplane.apiserver.subresources.eviction import evict
from kobune.controlplane.apiserver.subresources.finalize import finalize
from kobune.controlplane.apiserver.subresources.pod_parts import ephemeral_containers, resize
from kobune.controlplane.apiserver.subresources.scale import scale
from kobune.controlplane.apiserver.subresources.token import issue_token

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer


def late(module: str, name: str) -> Handler:
    """A handler of a module that is imported at its first request, beside other requests: these need an HTTP client."""
    found: Handler | None = None

    async def handler(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
        nonlocal found
        if found is None:
            found = getattr(await asyncio.to_thread(import_module, f"{__name__}.{module}"), name)
        return await found(server, request, info)

    return handler


SUBRESOURCES: Mapping[tuple[str, str, str], Handler] = {
    ("", "pods", "binding"): bind,
    ("", "pods", "eviction"): evict,
    ("", "pods", "ephemeralcontainers"): ephemeral_containers,
    ("", "pods", "resize"): resize,
    ("", "pods", "log"): late("log", "log"),
    ("", "pods", "exec"): late("streams", "execute"),
    ("", "pods", "attach"): late("streams", "attach"),
    ("", "pods", "portforward"): late("streams", "port_forward"),
    ("", "pods", "proxy"): late("proxy", "proxy"),
    ("", "services", "proxy"): late("proxy", "proxy"),
    ("", "nodes", "proxy"): late("proxy", "proxy"),
    ("", "namespaces", "finalize"): finalize,
    ("", "serviceaccounts", "token"): issue_token,
    ("", "replicationcontrollers", "scale"): scale,
    ("apps", "deployments", "scale"): scale,
    ("apps", "replicasets", "scale"): scale,
    ("apps", "statefulsets", "scale"): scale,
    ("certificates.k8s.io", "certificatesigningrequests", "approval"): approve,
}
# Subresources that any kind may have, if it has none of its own of that name.
PARTS: Mapping[str, Handler] = {"status": status, "scale": custom_scale}
# Kinds that are a subresource's request body, posted as a collection of their own.
POSTED: Mapping[tuple[str, str], Handler] = {("", "bindings"): bind_collection}
