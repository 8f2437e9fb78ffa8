"""What a component answers over HTTPS beside its work: health to everybody, metrics to those who may read them.

Source: upstream's secure serving of kube-scheduler and kube-controller-manager, with delegated authentication and
authorization: tokens are asked about by TokenReview, permissions by SubjectAccessReview.
"""

import contextlib
import logging
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Json
from kobune.client.client import Client
from kobune.host.pki import Authority
from kobune.host.sockets import listener, server_tls
from kobune.node.kubelet.server.authorization import ADMINISTRATORS, peer_of

log = logging.getLogger(__name__)

HEALTH_PATHS = ("/healthz", "/livez", "/readyz")
ANONYMOUS, UNAUTHENTICATED = "system:anonymous", "system:unauthenticated"
REMEMBERED_SECONDS = 10.0  # Source: upstream DelegatingAuthenticationOptions and …AuthorizationOptions, cache TTLs.
REMEMBERED = 1024


class Caller(NamedTuple):
    """Who asks."""

    name: str
    groups: tuple[str, ...]


NOBODY = Caller(ANONYMOUS, (UNAUTHENTICATED,))


class Check(NamedTuple):
    """One line of a health report; `problem` is empty when all is well."""

    name: str
    problem: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Serving:
    """Where and with which certificate; without one, a self-signed one is made for the time being."""

    port: int
    bind_address: str = "0.0.0.0"
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What there is to tell about a component."""

    component: str
    metrics: Callable[[], str]
    alive: Sequence[Check] = ()
    ready: Sequence[Check] = ()

    async def answer(self, path: str, *, verbose: bool) -> web.Response:
        """The answer to a GET by somebody who is allowed to ask."""
        first, _, wanted = path.strip("/").partition("/")
        if first in ("healthz", "livez", "readyz"):
            checks = [Check("ping", lambda: ""), *self.alive, *(self.ready if first == "readyz" else ())]
            return _health(first, checks, wanted, verbose=verbose)
        if path == "/metrics":
            return web.Response(text=self.metrics(), headers={"Content-Type": "text/plain; version=0.0.4"})
        return web.Response(status=404, text="404 page not found\n")


def _health(endpoint: str, checks: Sequence[Check], wanted: str, *, verbose: bool) -> web.Response:
    if wanted:
        checks = [check for check in checks if check.name == wanted]
        if not checks:
            return web.Response(status=404, text="404 page not found\n")
    found = [(check.name, check.problem()) for check in checks]
    failed = any(problem for _, problem in found)
    if not failed and not verbose:
        return web.Response(text="ok")
    lines = [f"[-]{name} failed: reason withheld" if problem else f"[+]{name} ok" for name, problem in found]
    lines.append(f"{endpoint} check {'failed' if failed else 'passed'}")
    for name, problem in found:
        if problem:
            log.info("health check failed", extra={"check": name, "failure": problem})
    return web.Response(status=500 if failed else 200, text="\n".join(lines) + "\n")


class Door:
    """Lets everybody see the health, and asks the API server about all else."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._callers: dict[str, tuple[float, Caller | None]] = {}
        self._allowed: dict[tuple[Caller, str], tuple[float, bool]] = {}

    async def refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Why the request is not answered; None when it is."""
        path = request.path.rstrip("/") or "/"
        if any(path == one or path.startswith(f"{one}/") for one in HEALTH_PATHS):
            return None
        caller = await self._caller(request)
        if caller is None:
            return _status(401, "Unauthorized", "Unauthorized")
        if await self._may_get(caller, path):
            return None
        return _status(403, "Forbidden", f'forbidden: User "{caller.name}" cannot get path "{path}"')

    async def _caller(self, request: web.BaseRequest) -> Caller | None:
        """Who asks; None when the token is not good."""
        transport = request.transport
        peer = peer_of(transport.get_extra_info("peercert") if transport else None)
        if peer.user:
            return Caller(peer.user, (*peer.groups, "system:authenticated"))
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return NOBODY
        until, caller = self._callers.get(token, (0.0, None))
        if self._clock.monotonic() < until:
            return caller
        answer = await self._review("authentication.k8s.io", "TokenReview", {"token": token})
        user = answer.get("user") or {}
        caller = (
            Caller(user.get("username", ""), tuple(user.get("groups") or ())) if answer.get("authenticated") else None
        )
        _remember(self._callers, token, (self._clock.monotonic() + REMEMBERED_SECONDS, caller))
        return caller

    async def _may_get(self, caller: Caller, path: str) -> bool:
        if ADMINISTRATORS in caller.groups:
            return True
        until, allowed = self._allowed.get((caller, path), (0.0, False))
        if self._clock.monotonic() < until:
            return allowed
        asked = {"user": caller.name, "groups": list(caller.groups)}
        attributes = {"path": path, "verb": "get"}
        answer = await self._review(
            "authorization.k8s.io", "SubjectAccessReview", {**asked, "nonResourceAttributes": attributes}
        )
        allowed = bool(answer.get("allowed"))
        _remember(self._allowed, (caller, path), (self._clock.monotonic() + REMEMBERED_SECONDS, allowed))
        return allowed

    async def _review(self, group: str, kind: str, spec: Json) -> Json:
        """The status of a review; empty when it cannot be had."""
        review = {"apiVersion": f"{group}/v1", "kind": kind, "spec": spec}
        try:
            body = await self._client.call("POST", f"/apis/{group}/v1/{kind.lower()}s", body=orjson.dumps(review))
        except ApiError as error:
            log.warning("review failed", extra={"kind": kind, "failure": str(error)})
            return {}
        status: Json = orjson.loads(body).get("status") or {}
        return status


def _remember(memory: dict[Any, Any], key: object, value: object) -> None:
    if len(memory) >= REMEMBERED:
        memory.clear()
    memory[key] = value


def _status(code: int, reason: str, message: str) -> web.Response:
    body: Mapping[str, Any] = {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    }  # fmt: skip
    return web.Response(status=code, body=orjson.dumps(body), content_type="application/json")


@contextlib.asynccontextmanager
async def serve_endpoints(
    endpoints: Endpoints, serving: Serving, client: Client, *, clock: Clock
) -> AsyncIterator[tuple[str, int]]:
    """Answer until the block is left; gives the address listened on (port 0 picks one).

    Raises:
        OSError: the port is in use, or the certificate cannot be read.
    """
    door = Door(client, clock)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        refused = await door.refusal(request)
        if refused is not None:
            return refused
        return await endpoints.answer(request.path.rstrip("/") or "/", verbose="verbose" in request.query)

    tls = _tls(serving, endpoints.component, clock)
    with listener(serving.bind_address, serving.port) as sock:
        runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.SockSite(runner, sock, ssl_context=tls).start()
            address: tuple[str, int] = sock.getsockname()
            yield address[0], address[1]
        finally:
            await runner.cleanup()


def _tls(serving: Serving, component: str, clock: Clock) -> ssl.SSLContext:
    if serving.certificate is not None and serving.key is not None:
        return server_tls(serving.certificate, serving.key, serving.client_ca)
    now = clock.now()
    hosts = ["localhost", "127.0.0.1", socket.gethostname()]
    issued = Authority.create(f"{component}-ca", now).issue_server(component, hosts, now)
    with tempfile.TemporaryDirectory() as directory:  # ssl reads certificates from files alone.
        return server_tls(*issued.write(Path(directory), component), serving.client_ca)
