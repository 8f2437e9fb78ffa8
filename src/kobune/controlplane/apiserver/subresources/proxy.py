"""nodes/proxy, pods/proxy and services/proxy: HTTP requests passed on to what runs in the cluster."""

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from yarl import URL

from kobune.api.errors import BadRequest, Json, ServiceUnavailable
from kobune.controlplane.apiserver.kubelets import url_of
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.resources import new_call
from kobune.controlplane.apiserver.routes import RequestInfo
from kobune.controlplane.apiserver.services.endpoints import Endpoint, ready_endpoints, slices_of
from kobune.controlplane.apiserver.subresources.links import link_through, through
from kobune.controlplane.apiserver.tunnel import open_tunnel, wants_upgrade

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

# What concerns one connection, and what would give the client's rights away.
KEPT_BACK = frozenset(
    {
        "authorization", "connection", "content-length", "host", "keep-alive", "proxy-authenticate",
        "proxy-authorization", "te", "trailers", "transfer-encoding", "upgrade", "accept-encoding",
    }
)  # fmt: skip


async def proxy(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """Raises BadRequest for a name that is none, NotFound, ServiceUnavailable when nobody answers."""
    call = new_call(server, request, info, writing=False)
    scheme, name, port = _split(info.name)
    call.name = name
    obj = await server.registry.find(call.kind, call.namespace, name)
    if obj is None:
        raise call.not_found()
    if not info.rest and not request.path.endswith("/") and request.method in ("GET", "HEAD"):
        # Relative links of the page lead astray otherwise.
        query = f"?{urlencode(request.repeated)}" if request.repeated else ""
        return Response(301, b"", "text/plain", {"Location": f"{request.path}/{query}"})
    path = "/" + info.rest
    if request.path.endswith("/") and not path.endswith("/"):
        path += "/"
    if call.kind.name == "Node":
        url = url_of(obj, path, request.repeated)
    else:
        find = _pod_address if call.kind.name == "Pod" else _service_address
        host, number = await find(server, call, obj, port)
        url = URL.build(scheme=scheme or "http", host=host, port=number, path=path, query=list(request.repeated))
    headers = {field: value for field, value in request.headers.items() if field.lower() not in KEPT_BACK}
    if wants_upgrade(request):
        return await _upgrade(server, request, url, headers, verified=call.kind.name == "Node")
    status, answered, body = await server.kubelets.forward(
        request.method, url, headers, request.body, verified=call.kind.name == "Node"
    )
    kept, content_type = _kept(answered), answered.get("Content-Type", "application/octet-stream")
    prefix = _prefix(request.path, info.rest)
    hosts = {url.authority, f"{url.host}:{url.port}", request.headers.get("host") or ""}
    if kept.get("Location"):
        kept["Location"] = link_through(prefix, kept["Location"], hosts)
    if content_type.startswith("text/html") and not answered.get("Content-Encoding"):
        page = b"".join([piece async for piece in body]).decode(errors="surrogateescape")
        return Response(status, through(prefix, page, hosts).encode(errors="surrogateescape"), content_type, kept)
    return Response(status, body, content_type, kept)


async def _upgrade(
    server: "ApiServer", request: Request, url: URL, headers: Mapping[str, str], *, verified: bool
) -> Response:
    tls = server.kubelets.context(verified=verified) if url.scheme == "https" else None
    endpoint = Endpoint(url.host or "", url.port or 0)
    try:
        return await open_tunnel(
            request, endpoint, url.raw_path_qs, list(headers.items()), tls=tls, server_name=endpoint.host
        )
    except (OSError, TimeoutError, ValueError) as error:
        raise ServiceUnavailable(f"error trying to reach service: {error}") from error


def _prefix(path: str, rest: str) -> str:
    """The path up to and with /proxy."""
    path = path.rstrip("/")
    return path.removesuffix("/" + rest.rstrip("/")) if rest else path


def _split(name: str) -> tuple[str, str, str]:
    """Scheme, name and port of `[SCHEME:]NAME[:PORT]`. Raises BadRequest."""
    parts = name.split(":")
    match parts:
        case [only]:
            return "", only, ""
        case [first, second]:
            return "", first, second
        case [scheme, middle, port] if scheme in ("http", "https", ""):
            return scheme, middle, port
    raise BadRequest(f'invalid service request "{name}"')


async def _pod_address(server: "ApiServer", call: Call, pod: Json, port: str) -> tuple[str, int]:
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        raise BadRequest("address not allowed")
    _check_address(address)
    if port:
        return address, _number(port)
    for container in pod["spec"].get("containers") or ():
        for declared in container.get("ports") or ():
            return address, declared["containerPort"]
    return address, 80


async def _service_address(server: "ApiServer", call: Call, service: Json, port: str) -> tuple[str, int]:
    """A ready endpoint's address and the port that the service's port leads to."""
    ports = service["spec"].get("ports") or []
    if port:
        chosen = next((one for one in ports if port in (one.get("name"), str(one["port"]))), None)
    else:
        chosen = ports[0] if len(ports) == 1 else None
    if chosen is None:
        raise ServiceUnavailable(f'no service port "{port}" found for service "{call.name}"')
    for found in ready_endpoints(await slices_of(server.registry, call.namespace, call.name), chosen.get("name", "")):
        _check_address(found.host)
        return found.host, found.port
    raise ServiceUnavailable(f'no endpoints available for service "{call.name}"')


def _number(port: str) -> int:
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise BadRequest(f'invalid port "{port}"')
    return int(port)


def _check_address(text: str) -> None:
    """The server is no way into itself. Source: upstream proxyutil.IsProxyableIP."""
    address = ipaddress.ip_address(text)
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        raise BadRequest("address not allowed")


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {field: value for field, value in headers.items() if field.lower() not in KEPT_BACK | {"content-type"}}
