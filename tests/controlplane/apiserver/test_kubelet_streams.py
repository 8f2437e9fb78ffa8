"""Logs and exec come from the pod's kubelet."""

import base64
import ssl
from datetime import UTC, datetime

import aiohttp
import orjson
import pytest
from aiohttp import web
from yarl import URL

from kobune.api.clock import SystemClock
from kobune.api.errors import ServiceUnavailable
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.https import serve
from kobune.controlplane.apiserver.kubelets import Kubelets
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.pki import Authority

PODS = "/api/v1/namespaces/default/pods"
PROTOCOL = "v5.channel.k8s.io"


async def logs(request):
    return web.Response(text=f"{request.match_info['container']} {request.query_string}")


async def method(request):
    return web.Response(text=request.method)


async def page(request):
    return web.Response(text='<a href="/x">', content_type="text/html")


async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(f"{message.data} {request.headers.get('Authorization')}")
    return socket


async def execute(request):
    socket = web.WebSocketResponse(protocols=(PROTOCOL,))
    await socket.prepare(request)
    await socket.send_bytes(b"\x01" + " ".join(request.query.getall("command")).encode())
    async for message in socket:
        await socket.send_bytes(b"\x01" + message.data[1:].upper())
        await socket.send_bytes(b"\x03" + orjson.dumps({"status": "Success"}))
        await socket.close()
    return socket


@pytest.fixture
def tls(tmp_path):
    authority = Authority.create("test", datetime.now(UTC))
    leaf = authority.issue_server("kubelet", ["127.0.0.1"], datetime.now(UTC))
    certificate, key = leaf.write(tmp_path, "kubelet")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate, key)
    asked = ssl.create_default_context(cadata=authority.credential.certificate.decode())
    return served, asked


@pytest.fixture
async def session(tls):
    application = web.Application()
    application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", logs)
    application.router.add_get("/exec/{namespace}/{pod}/{container}", execute)
    application.router.add_route("*", "/method", method)
    application.router.add_get("/socket", echo)
    application.router.add_get("/pages/one", page)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls[0])
    await site.start()
    port = runner.addresses[0][1]
    config = ApiServerConfig(
        static_tokens={"secret": ("admin", "1", ("system:masters",))},
        kubelet_tls=tls[1],
        disabled_admission_plugins=("ServiceAccount",),
    )
    async with (
        ApiServer(config, MemoryStore(), clock=SystemClock()) as server,
        serve(server, host="127.0.0.1", port=0, tls=None) as (host, api),
        aiohttp.ClientSession(f"http://{host}:{api}", headers={"Authorization": "Bearer secret"}) as session,
    ):
        node = {"metadata": {"name": "n", "annotations": {"kobune.local/kubelet-endpoint": f"127.0.0.1:{port}"}}}
        await session.post("/api/v1/nodes", json=node)
        spec = {"nodeName": "n", "containers": [{"name": "main", "image": "busybox"}]}
        await session.post(PODS, json={"metadata": {"name": "a"}, "spec": spec})
        yield session
    await runner.cleanup()


async def test_logs_come_from_the_kubelet(session):
    async with session.get(f"{PODS}/a/log?tailLines=5&follow=true") as answer:
        assert (answer.status, await answer.text()) == (200, "main follow=true&tailLines=5")


@pytest.mark.parametrize("protocols, expected", [
    pytest.param(("binary.k8s.io",), b"main tailLines=5", id="binary"),
    pytest.param(("base64.binary.k8s.io",), base64.b64encode(b"main tailLines=5").decode(), id="base64"),
    pytest.param((), b"main tailLines=5", id="none"),
])  # fmt: skip
async def test_logs_come_over_a_websocket_too(session, protocols, expected):
    async with session.ws_connect(f"{PODS}/a/log?tailLines=5", protocols=protocols) as socket:
        assert (await socket.receive()).data == expected
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_a_container_that_is_not_there_is_refused(session):
    async with session.get(f"{PODS}/a/log?container=nix") as answer:
        assert (answer.status, (await answer.json())["message"]) == (400, "container nix is not valid for pod a")


async def test_exec_passes_both_ways(session):
    url = f"{PODS}/a/exec?command=echo&command=hi&stdin=true&stdout=true"
    async with session.ws_connect(url, protocols=(PROTOCOL,)) as socket:
        assert socket.protocol == PROTOCOL
        assert await socket.receive_bytes() == b"\x01echo hi"
        await socket.send_bytes(b"\x00hello")
        assert await socket.receive_bytes() == b"\x01HELLO"
        assert (await socket.receive_bytes())[:1] == b"\x03"


async def test_spdy_is_refused_plainly(session):
    headers = {"Upgrade": "SPDY/3.1", "Connection": "Upgrade"}
    async with session.post(f"{PODS}/a/exec?command=ls&stdout=true", headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["message"].startswith("SPDY is not served here")


@pytest.mark.parametrize("name", ["GET", "OPTIONS", "PATCH", "DELETE"])
async def test_a_proxy_passes_every_method_on(session, name):
    async with session.request(name, "/api/v1/nodes/n/proxy/method") as answer:
        assert (answer.status, await answer.text()) == (200, name)


async def test_a_proxy_passes_websockets_on(session):
    async with session.ws_connect("/api/v1/nodes/n/proxy/socket") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello None"


async def test_links_of_a_proxied_page_lead_through_the_proxy(session):
    async with session.get("/api/v1/nodes/n/proxy/pages/one") as answer:
        assert await answer.text() == '<a href="/api/v1/nodes/n/proxy/x">'


async def test_a_proxy_s_own_path_is_that_of_a_folder(session):
    async with session.get("/api/v1/nodes/n/proxy?a=1&b=2", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, "/api/v1/nodes/n/proxy/?a=1&b=2")


async def test_what_runs_in_pods_may_have_certificates_of_its_own(tls):
    """A kubelet's certificate is looked at; that of a pod says nothing to us."""
    application = web.Application()
    application.router.add_get("/", method)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls[0]).start()
    url = URL(f"https://127.0.0.1:{runner.addresses[0][1]}/")
    async with Kubelets(ssl.create_default_context()) as kubelets:
        with pytest.raises(ServiceUnavailable):
            await kubelets.forward("GET", url, {}, b"")
        status, _, body = await kubelets.forward("GET", url, {}, b"", verified=False)
        assert (status, b"".join([piece async for piece in body])) == (200, b"GET")
    await runner.cleanup()
