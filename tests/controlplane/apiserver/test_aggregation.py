"""API versions that other servers answer."""

import asyncio
import base64
import random
import ssl
from datetime import UTC, datetime

import aiohttp
import orjson
import pytest
from aiohttp import web

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.aggregation.remote import judge_service, remote_of
from kobune.controlplane.apiserver.config import ApiServerConfig, FrontProxy
from kobune.controlplane.apiserver.https import serve
from kobune.controlplane.apiserver.request import User
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.pki import FRONT_PROXY, Authority
from tests.controlplane.apiserver.conftest import KEYS, Asker

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
NAME = "v1.ships.example.com"
API = "/apis/ships.example.com/v1"
RESOURCES = {
    "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "ships.example.com/v1",
    "resources": [
        {"name": "boats", "singularName": "boat", "namespaced": True, "kind": "Boat", "verbs": ["get", "list"]},
        {"name": "boats/status", "singularName": "", "namespaced": True, "kind": "Boat", "verbs": ["get"]},
    ],
}  # fmt: skip

SWAGGER = {
    "swagger": "2.0", "info": {"title": "ships", "version": "1"},
    "paths": {f"{API}/boats": {"get": {"schema": {"$ref": "#/definitions/Boat"}}}, "/version/": {"get": {}}},
    "definitions": {"Boat": {"type": "object"}},
}  # fmt: skip


class Extension:
    """An aggregated server: says who asked, by the certificate and by the headers."""

    def __init__(self, directory):
        self.ca = Authority.create("extension-ca", datetime.now(UTC))
        self.front = Authority.create("front-proxy-ca", datetime.now(UTC))
        (directory / "front-ca.crt").write_bytes(self.front.credential.certificate)
        certificate, key = self.ca.issue_server("ext", ["ext.default.svc"], datetime.now(UTC)).write(directory, "ext")
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate, key)
        self.tls.load_verify_locations(directory / "front-ca.crt")
        self.tls.verify_mode = ssl.CERT_REQUIRED
        client = self.front.issue_client(FRONT_PROXY, (), datetime.now(UTC)).write(directory, "front")
        self.proxy = FrontProxy(*client, self.front.credential.certificate)
        self.port = 0

    async def start(self):
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.answer)
        self.runner = web.AppRunner(application, access_log=None)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def answer(self, request):
        if "Upgrade" in request.headers:
            return await self.upgrade(request)
        if request.path == API:
            return web.json_response(RESOURCES)
        if request.path == "/openapi/v2":
            return web.json_response(SWAGGER)
        if request.path == "/openapi/v3":
            url = f"/openapi/v3{API}?hash=ABC"
            return web.json_response({"paths": {API[1:]: {"serverRelativeURL": url}}})
        subject = dict(pair[0] for pair in request.transport.get_extra_info("ssl_object").getpeercert()["subject"])
        headers = {name: request.headers.getall(name) for name in request.headers if name.startswith("X-Remote")}
        return web.json_response(
            {
                "method": request.method, "path": request.path_qs, "certificate": subject["commonName"],
                "headers": headers, "authorization": "Authorization" in request.headers,
                "type": request.headers.get("Content-Type"), "encodings": request.headers.get("Accept-Encoding"),
                "body": (await request.read()).decode(),
            },
            status=418,
        )  # fmt: skip

    async def upgrade(self, request):
        """Says who asks and echoes, over a WebSocket or, as SPDY is, over bytes of its own."""
        said = f"{request.headers['X-Remote-User']} {request.headers.get('Authorization')}"
        if "refused" in request.path:
            return web.Response(text="not here", status=403)
        if request.headers["Upgrade"] == "websocket":
            socket = web.WebSocketResponse(protocols=("echo",))
            await socket.prepare(request)
            await socket.send_str(f"{said} {request.headers['Sec-WebSocket-Protocol']}")
            async for message in socket:
                await socket.send_bytes(message.data)
            return socket
        echo = Echo(request.transport)
        request.transport.set_protocol(echo)
        request.transport.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n" + said.encode())
        await echo.closed.wait()
        return web.Response()


class Echo(asyncio.Protocol):
    """Sends back what comes, and closes after a full stop."""

    def __init__(self, transport):
        self.transport = transport
        self.before = transport.get_protocol()
        self.closed = asyncio.Event()

    def data_received(self, data):
        self.transport.write(data)
        if data.endswith(b"."):
            self.transport.close()

    def connection_lost(self, error):
        self.closed.set()
        self.before.connection_lost(error)


@pytest.fixture
async def extension(tmp_path):
    found = Extension(tmp_path)
    await found.start()
    yield found
    await found.runner.cleanup()


@pytest.fixture
async def ask(extension):
    config = ApiServerConfig(
        service_account_keys=KEYS, client_ca=b"CLIENT CA", front_proxy=extension.proxy,
        static_tokens={"secret": ("jo", "1", ("system:masters",))},
    )  # fmt: skip
    async with ApiServer(config, MemoryStore(), clock=SystemClock(), source=random.Random(1)) as server:
        yield Asker(server)


async def register(ask, extension):
    await ask.create(
        "/api/v1/namespaces/default/services",
        {"metadata": {"name": "ext"}, "spec": {"ports": [{"port": 443}], "selector": {"app": "ext"}}},
    )
    kind = ask.server.registry.builtin("discovery.k8s.io", "v1", "EndpointSlice")
    # Validation refuses addresses of loopback, where tests can listen.
    slice_ = {
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
        "metadata": {"name": "ext", "namespace": "default", "labels": {"kubernetes.io/service-name": "ext"}},
        "endpoints": [{"addresses": ["127.0.0.1"]}], "ports": [{"name": "", "port": extension.port}],
    }  # fmt: skip
    await ask.server.registry.write(kind, slice_, expected=0)
    spec = {
        "group": "ships.example.com", "version": "v1", "groupPriorityMinimum": 500, "versionPriority": 10,
        "service": {"namespace": "default", "name": "ext"},
        "caBundle": base64.b64encode(extension.ca.credential.certificate).decode(),
    }  # fmt: skip
    await ask.create(SERVICES, {"metadata": {"name": NAME}, "spec": spec})


async def until(condition, seconds=30):
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.02)
    return found


async def condition(ask, name=NAME):
    conditions = (await ask("GET", f"{SERVICES}/{name}")).get("status", {}).get("conditions", [])
    return {(one["status"], one["reason"]) for one in conditions}


async def available(ask):
    return ("True", "Passed") in await condition(ask)


async def test_requests_reach_the_server_in_the_name_of_whoever_asks(ask, extension):
    await register(ask, extension)
    await until(lambda: available(ask))
    user = User("jo", "7", ("crew", "system:masters"), {"a/b": ("c",)})
    answer = await Asker(ask.server, user).raw(
        "POST",
        f"{API}/namespaces/default/boats?dryRun=All",
        b"hello",
        content_type="",
        authorization="Bearer x",
        **{"x-remote-user": "eve"},
    )
    assert answer.status == 418
    said = orjson.loads(b"".join([piece async for piece in answer.body]))
    assert said["path"] == f"{API}/namespaces/default/boats?dryRun=All"
    assert (said["method"], said["body"], said["certificate"]) == ("POST", "hello", FRONT_PROXY)
    assert {name.lower(): values for name, values in said["headers"].items()} == {
        "x-remote-user": ["jo"], "x-remote-uid": ["7"], "x-remote-group": ["crew", "system:masters"],
        "x-remote-extra-a%2fb": ["c"],
    }  # fmt: skip
    assert not said["authorization"]
    # Nothing is added to what came: the server takes a body without a type for JSON, as this one does.
    assert (said["type"], said["encodings"]) == (None, None)


@pytest.fixture
async def address(ask, extension):
    """Where clients reach the server; the extension is available."""
    await register(ask, extension)
    await until(lambda: available(ask))
    async with serve(ask.server, host="127.0.0.1", port=0, tls=None) as found:
        yield found


async def test_a_websocket_reaches_the_server(address):
    token = "base64url.bearer.authorization.k8s.io." + base64.urlsafe_b64encode(b"secret").decode().rstrip("=")
    async with (
        aiohttp.ClientSession(f"http://{address[0]}:{address[1]}") as session,
        session.ws_connect(f"{API}/namespaces/default/boats/a/console", protocols=(token, "echo")) as socket,
    ):
        # The client's token is for this server alone.
        assert (await socket.receive_str(), socket.protocol) == ("jo None echo", "echo")
        await socket.send_bytes(b"ahoy")
        assert await socket.receive_bytes() == b"ahoy"


async def spoken_to(address, path):
    """A connection that has asked for SPDY."""
    reader, writer = await asyncio.open_connection(*address)
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\nContent-Length: 0\r\n"
    writer.write(f"{head}Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n".encode())
    return reader, writer


async def test_another_protocol_passes_both_ways_until_one_side_closes(address):
    reader, writer = await spoken_to(address, f"{API}/namespaces/default/boats/a/exec")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    assert await reader.readexactly(7) == b"jo None"
    for said in (b"\x00\x01", bytes(300_000), b"bye."):
        writer.write(said)
        assert await reader.readexactly(len(said)) == said
    assert await reader.read() == b""
    writer.close()


async def test_a_refused_upgrade_is_told_as_it_is(address):
    reader, writer = await spoken_to(address, f"{API}/namespaces/default/boats/a/refused")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.endswith(b"\r\n\r\nnot here")
    writer.close()


async def test_only_who_may_is_let_through(ask, extension):
    await register(ask, extension)
    await until(lambda: available(ask))
    answer = await Asker(ask.server, User("jo")).raw("GET", f"{API}/namespaces/default/boats")
    assert answer.status == 403


async def test_aggregated_versions_are_discovered(ask, extension):
    await register(ask, extension)
    await until(lambda: available(ask))
    groups = [one["name"] for one in (await ask("GET", "/apis"))["groups"]]
    assert groups.index("storagemigration.k8s.io" if "storagemigration.k8s.io" in groups else "apps") < groups.index(
        "ships.example.com"
    )
    assert groups.index("ships.example.com") < groups.index("metrics.k8s.io")
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    found = orjson.loads((await ask.raw("GET", "/apis", accept=accept)).body)
    group = next(one for one in found["items"] if one["metadata"]["name"] == "ships.example.com")
    (version,) = group["versions"]
    assert version["freshness"] == "Current"
    assert [(one["resource"], one["scope"]) for one in version["resources"]] == [("boats", "Namespaced")]
    assert version["resources"][0]["subresources"][0]["subresource"] == "status"
    assert (await ask("GET", "/apis/ships.example.com"))["preferredVersion"]["version"] == "v1"
    paths = (await ask("GET", "/openapi/v3"))["paths"]
    assert paths[API[1:]]["serverRelativeURL"].endswith("hash=ABC")
    swagger = await ask("GET", "/openapi/v2")
    assert f"{API}/boats" in swagger["paths"]
    assert swagger["definitions"]["Boat"] == {"type": "object"}
    assert "/api/v1/pods" in swagger["paths"]
    resources = await ask.raw("GET", API)
    assert orjson.loads(b"".join([piece async for piece in resources.body])) == RESOURCES


async def test_without_a_service_nobody_answers(ask, extension):
    spec = {
        "group": "ships.example.com", "version": "v1", "groupPriorityMinimum": 500, "versionPriority": 10,
        "service": {"namespace": "default", "name": "nix"}, "insecureSkipTLSVerify": True,
    }  # fmt: skip
    await ask.create(SERVICES, {"metadata": {"name": NAME}, "spec": spec})

    async def refused():
        return ("False", "ServiceNotFound") in await condition(ask)

    await until(refused)
    answer = await ask.raw("GET", f"{API}/namespaces/default/boats")
    assert (answer.status, answer.body) == (503, b"service unavailable\n")
    await ask("DELETE", f"{SERVICES}/{NAME}")

    async def forgotten():
        return (await ask.raw("GET", f"{API}/boats")).status == 404

    await until(forgotten)


async def test_a_server_that_does_not_answer_is_unavailable(ask, extension):
    await register(ask, extension)
    await extension.runner.cleanup()

    async def failed():
        return ("False", "FailedDiscoveryCheck") in await condition(ask)

    await until(failed)


async def test_own_versions_are_registered_and_always_available(ask):
    async def settled():
        answer = await ask.raw("GET", f"{SERVICES}/v1.apps")
        return answer.status == 200 and await condition(ask, "v1.apps") == {("True", "Local")}

    await until(settled)
    core = await until(lambda: _found(ask, "v1."))
    assert core["spec"] == {"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}
    assert core["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}


async def _found(ask, name):
    answer = await ask.raw("GET", f"{SERVICES}/{name}")
    return orjson.loads(answer.body) if answer.status == 200 else None


async def test_a_custom_version_comes_and_goes(ask):
    definition = {
        "metadata": {"name": "planes.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "planes", "kind": "Plane"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    }  # fmt: skip
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await ask.create(path, definition)
    found = await until(lambda: _found(ask, "v1.example.com"))
    assert (found["spec"]["groupPriorityMinimum"], found["spec"]["versionPriority"]) == (1000, 100)
    await ask("DELETE", f"{path}/planes.example.com")

    async def gone():
        return await _found(ask, "v1.example.com") is None

    await until(gone)


async def test_extensions_are_told_whom_to_believe(ask):
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    data = (await ask("GET", path))["data"]
    assert data["client-ca-file"] == "CLIENT CA"
    assert data["requestheader-allowed-names"] == f'["{FRONT_PROXY}"]'
    assert data["requestheader-client-ca-file"].startswith("-----BEGIN CERTIFICATE-----")


def service(port=443, **spec):
    return {"spec": {"ports": [{"port": port}], **spec}}


READY = {"endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "", "port": 8443}]}
UNREADY = {**READY, "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": False}}]}


@pytest.mark.parametrize(
    ("found", "slices", "reason"),
    [
        pytest.param(None, [], "ServiceNotFound", id="no-service"),
        pytest.param(service(80), [READY], "ServicePortError", id="another-port"),
        pytest.param(service(), [], "EndpointsNotFound", id="no-slices"),
        pytest.param(service(), [UNREADY], "MissingEndpoints", id="nobody-ready"),
        pytest.param(service(), [READY], None, id="fine"),
        pytest.param(service(type="ExternalName"), [], None, id="elsewhere"),
    ],
)
def test_what_stands_behind_an_api_service_is_judged(found, slices, reason):
    spec = {"group": "g", "version": "v1", "service": {"namespace": "default", "name": "ext", "port": 443}}
    remote = remote_of({"metadata": {"name": "v1.g"}, "spec": spec})
    condition = judge_service(remote, found, slices)
    assert (condition[1] if condition else None) == reason
