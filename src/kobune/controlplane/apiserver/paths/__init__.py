"""URLs that name no resource: health, version, metrics, and what clients discover the API by. One file each."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from kobune.controlplane.apiserver.paths.documents import api, apis, group, openapi_v2, openapi_v3, resources, root
from kobune.controlplane.apiserver.paths.health import health
from kobune.controlplane.apiserver.paths.metrics import metrics
from kobune.controlplane.apiserver.paths.openid import configuration, keys
from kobune.controlplane.apiserver.paths.version import version
from kobune.controlplane.apiserver.request import Request, Response

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

Handler = Callable[["ApiServer", Request], Awaitable[Response]]

PATHS: Mapping[str, Handler] = {
    "": root,
    "/api": api,
    "/apis": apis,
    "/openapi/v2": openapi_v2,
    "/openapi/v3": openapi_v3,
    "/version": version,
    "/metrics": metrics,
    "/.well-known/openid-configuration": configuration,
    "/openid/v1/jwks": keys,
    "/healthz": health,
    "/livez": health,
    "/readyz": health,
}
PREFIXES: Mapping[str, Handler] = {
    "/openapi/v3/": openapi_v3,
    "/healthz/": health,
    "/livez/": health,
    "/readyz/": health,
}


def find_path(path: str) -> Handler | None:
    """What answers a path."""
    path = path.rstrip("/")
    handler = PATHS.get(path)
    if handler is not None:
        return handler
    parts = path.split("/")
    if parts[1] == "api" and len(parts) == 3:
        return resources
    if parts[1] == "apis" and len(parts) in (3, 4):
        return group if len(parts) == 3 else resources
    return next((one for prefix, one in PREFIXES.items() if path.startswith(prefix)), None)
