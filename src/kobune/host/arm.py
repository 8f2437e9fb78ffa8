"""The ARM endpoint of a state directory: its keys, its first principal, its address, and its running."""

import asyncio
import contextlib
import os
import secrets
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from kobune.aks.arm.access import give_first_owner
from kobune.aks.arm.adoption import adopt
from kobune.aks.arm.directory import Directory
from kobune.aks.arm.log_store import LogStore
from kobune.aks.arm.server import ArmServer, serve
from kobune.aks.arm.service import ArmService
from kobune.aks.arm.sign_in import SignIn
from kobune.aks.arm.store import ArmStore
from kobune.aks.arm.tokens import Issuer, Principal, new_key_pem
from kobune.aks.clusters import DEFAULT_SUBSCRIPTION
from kobune.api.clock import Clock
from kobune.host.endpoint import DEFAULT_PORT, Endpoint, EndpointOptions, endpoint_file, read_endpoint
from kobune.host.fleet import LocalFleet
from kobune.host.layout import Layout
from kobune.host.pki import Authority, is_current, write_private
from kobune.host.sockets import listener, server_tls

# Where Linux distributions keep the public authorities, as OpenSSL's users find them.
PUBLIC_AUTHORITIES = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))


@asynccontextmanager
async def endpoint(layout: Layout, clock: Clock, options: EndpointOptions) -> AsyncIterator[Endpoint]:
    """Serve the endpoint for as long as the context lasts. Raises OSError when the address cannot be had."""
    folder = layout.root / "arm"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    sock = _listen(layout, options)
    store, logs = ArmStore(folder / "state.db"), LogStore(folder / "logs.db")
    try:
        service = open_service(layout, store, logs, clock, options)
        address, port = sock.getsockname()[:2]
        described = _describe(folder, service, address, port, clock)
        tls = server_tls(folder / "pki" / "arm.crt", folder / "pki" / "arm.key", None)
        server = ArmServer(service, adopt=adopt)
        async with serve(server, sock, tls), asyncio.TaskGroup() as tasks:
            following = tasks.create_task(server.follow(), name="ARM operations")
            write_private(endpoint_file(layout), msgspec.json.encode(described))
            try:
                yield described
            finally:
                following.cancel()
    finally:
        store.close()
        logs.close()


def open_service(
    layout: Layout,
    store: ArmStore,
    logs: LogStore,
    clock: Clock,
    options: EndpointOptions,
    new_id: Callable[[], str] | None = None,
) -> ArmService:
    """The front end over its store; the first time, a tenant, a principal and a signing key are made."""
    make_id = new_id or _guid
    principal = Principal(
        client_id=_kept(store, "client id", make_id),
        secret=_kept(store, "client secret", lambda: secrets.token_urlsafe(30)),
        object_id=_kept(store, "object id", make_id),
        tenant=_kept(store, "tenant", make_id),
    )
    key = _kept(store, "token key", lambda: new_key_pem().decode())
    service = ArmService(
        store=store,
        fleet=LocalFleet(layout, clock),
        sign_in=SignIn(Issuer(key.encode()), principal, Directory(store)),
        clock=clock,
        new_id=make_id,
        subscription=DEFAULT_SUBSCRIPTION,
        cores_quota=options.cores_quota,
        logs=logs,
        simulated=options.simulated,
        throttle=options.throttle,
    )
    give_first_owner(service)
    return service


def _listen(layout: Layout, options: EndpointOptions) -> socket.socket:
    """A bound socket. Several services may run on one machine, each with a state directory of its own."""
    if options.port is not None:
        return listener(options.address, options.port)
    known = read_endpoint(layout)
    for port in (*([int(known.url.rpartition(":")[2])] if known else ()), DEFAULT_PORT):
        with contextlib.suppress(OSError):
            return listener(options.address, port)
    return listener(options.address, 0)


def _describe(folder: Path, service: ArmService, address: str, port: int, clock: Clock) -> Endpoint:
    """Certificates for the address, and what clients need to know."""
    pki, now = folder / "pki", clock.now()
    authority = Authority.load_or_create(pki, "kobune-arm-ca", now)
    hosts = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
    if address not in ("0.0.0.0", "::", *hosts):
        hosts.append(address)
    if not is_current(pki / "arm.crt", hosts, now):
        authority.issue_server("localhost", hosts, now).write(pki, "arm")
    own = authority.credential.certificate
    public = next((path.read_bytes() for path in PUBLIC_AUTHORITIES if path.exists()), b"")
    write_private(pki / "bundle.crt", public + b"\n" + own)
    name = "localhost" if address in ("127.0.0.1", "::1", "0.0.0.0", "::") else address
    principal = service.sign_in.principal
    return Endpoint(
        url=f"https://{name}:{port}",
        tenant=principal.tenant,
        subscription=service.subscription,
        client_id=principal.client_id,
        client_secret=principal.secret,
        authority=os.fspath(pki / "ca.crt"),
        bundle=os.fspath(pki / "bundle.crt"),
    )


def _kept(store: ArmStore, name: str, make: Callable[[], str]) -> str:
    """The setting; made when it is first asked for."""
    value = store.setting(name)
    if value is None:
        value = make()
        store.set(name, value)
    return value


def _guid() -> str:
    return str(uuid.uuid4())
