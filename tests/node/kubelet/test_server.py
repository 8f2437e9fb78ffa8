"""The node's server, asked over HTTP and WebSocket."""

import ssl
from datetime import UTC, datetime

import aiohttp
import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from kobune.host.pki import Authority
from kobune.node.kubelet.config import Tls
from kobune.node.kubelet.server.authorization import Peer, peer_of
from kobune.node.runtime.simulated import Behaviour, Result

PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"]


def is_running(pod):
    return pod["status"].get("phase") == "Running"


@pytest.fixture
async def http(world):
    async with TestClient(TestServer(world.kubelet.server().application())) as client:
        yield client


async def test_logs_are_served(world, http):
    world.runtime.behaviours["main"] = Behaviour(log=["hello", "again"])
    await world.create("web")
    await world.until_pod("web", is_running)
    answer = await http.get("/containerLogs/default/web/main")
    assert (answer.status, await answer.text()) == (200, "hello\nagain\n")
    answer = await http.get("/containerLogs/default/web/main?tailLines=1")
    assert await answer.text() == "again\n"


@pytest.mark.parametrize(
    "path, status, words",
    [
        ("/containerLogs/default/none/main", 404, 'pod "none" does not exist'),
        ("/containerLogs/default/web/other", 404, 'container "other" not found in pod "web"'),
        (
            "/containerLogs/default/web/main?previous=true",
            400,
            'previous terminated container "main" in pod "web" not found',
        ),
    ],
)
async def test_logs_that_cannot_be_had_say_why(world, http, path, status, words):
    await world.create("web")
    await world.until_pod("web", is_running)
    answer = await http.get(path)
    assert (answer.status, await answer.text()) == (status, words)


async def exec_in(http, path, protocols=PROTOCOLS):
    frames = []
    async with http.ws_connect(path, protocols=protocols) as socket:
        async for message in socket:
            frames.append(message.data)
    return socket, frames


async def test_a_command_s_output_and_exit_code_are_told(world, http):
    world.runtime.behaviours["main"] = Behaviour(commands={("run", "it"): Result(3, b"out", b"err")})
    await world.create("web")
    await world.until_pod("web", is_running)
    socket, frames = await exec_in(http, "/exec/default/web/main?command=run&command=it&output=1&error=1")
    assert socket.protocol == "v5.channel.k8s.io"
    assert b"\x01out" in frames
    assert b"\x02err" in frames
    assert frames[-1][0] == 3
    status = orjson.loads(frames[-1][1:])
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


@pytest.mark.parametrize(
    "code, last", [pytest.param(0, b"\x01out", id="well"), pytest.param(3, b"\x03command terminated", id="badly")]
)
async def test_the_first_protocol_tells_failures_in_words(world, http, code, last):
    world.runtime.behaviours["main"] = Behaviour(commands={("run", "it"): Result(code, b"out", b"")})
    await world.create("web")
    await world.until_pod("web", is_running)
    path = "/exec/default/web/main?command=run&command=it&output=1"
    _, frames = await exec_in(http, path, ["channel.k8s.io"])
    assert frames[-1].startswith(last)


async def test_a_command_that_succeeds_says_so(world, http):
    world.runtime.behaviours["main"] = Behaviour(commands={("run",): Result()})
    await world.create("web")
    await world.until_pod("web", is_running)
    _, frames = await exec_in(http, "/exec/default/web/main?command=run&output=1")
    assert orjson.loads(frames[-1][1:]) == {"metadata": {}, "status": "Success"}


async def test_a_client_without_a_common_protocol_is_refused(world, http):
    await world.create("web")
    await world.until_pod("web", is_running)
    answer = await http.get("/exec/default/web/main?command=run&output=1")
    assert answer.status == 400


async def test_summary_and_metrics_show_every_container(world, http):
    await world.create("web")
    await world.until_pod("web", is_running)
    summary = await (await http.get("/stats/summary")).json()
    assert summary["pods"][0]["podRef"]["name"] == "web"
    assert summary["pods"][0]["containers"][0]["memory"]["workingSetBytes"] == 16 << 20
    text = await (await http.get("/metrics/resource")).text()
    assert 'container_memory_working_set_bytes{container="main",namespace="default",pod="web"} 16777216' in text
    pods = await (await http.get("/pods")).json()
    assert pods["items"][0]["metadata"]["name"] == "web"


async def test_only_certificates_of_the_cluster_are_let_in(world, tmp_path, unused_tcp_port):
    now = datetime.now(UTC)
    authority = Authority.load_or_create(tmp_path / "pki", "ca", now)
    authority.issue_server("system:node:node-1", ["127.0.0.1"], now).write(tmp_path, "kubelet")
    for name, groups in (("admin", ["system:masters"]), ("guest", ["guests"])):
        authority.issue_client(name, groups, now).write(tmp_path, name)
    tls = Tls(tmp_path / "kubelet.crt", tmp_path / "kubelet.key", tmp_path / "pki" / "ca.crt")

    def context(name=""):
        made = ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.crt"))
        if name:
            made.load_cert_chain(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
        return made

    url = f"https://127.0.0.1:{unused_tcp_port}/pods"
    server = world.kubelet.server()
    server._it = server._it._replace(
        config=type(world.config)(
            "node-1", addresses=[], root_dir=tmp_path, listen_address="127.0.0.1", port=unused_tcp_port
        )
    )
    import asyncio

    serving = asyncio.create_task(server.run(tls))
    await asyncio.sleep(0.1)
    async with aiohttp.ClientSession() as session:
        async with session.get(url, ssl=context("admin")) as answer:
            assert answer.status == 200
        async with session.get(url, ssl=context("guest")) as answer:
            assert answer.status == 403
        with pytest.raises(aiohttp.ClientError):
            await session.get(url, ssl=context())
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


def test_a_certificate_s_subject_is_a_user_and_groups():
    certificate = {"subject": ((("organizationName", "system:masters"),), (("commonName", "admin"),))}
    assert peer_of(certificate) == Peer("admin", ("system:masters",))
