"""What components answer over HTTPS: health to everybody, metrics to those whom the API server lets read them."""

import ssl

import aiohttp
import pytest

from kobune.api.clock import SystemClock
from kobune.client.client import Client
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.endpoints import Check, Endpoints, Serving, serve_endpoints
from kobune.host.local import LocalTransport

TOKENS = {
    "admin": ("admin", "1", ("system:masters",)),
    "watcher": ("watcher", "2", ("system:monitoring",)),
    "nobody": ("somebody", "3", ()),
}


@pytest.fixture
async def ask():
    """(path, token) to (status, text) of a component whose readiness fails."""
    config = ApiServerConfig(static_tokens=TOKENS, authorization_mode=("RBAC",))
    endpoints = Endpoints(
        "kube-scheduler", lambda: "scheduler_pending_pods 0\n", ready=[Check("sched-handler-sync", lambda: "late")]
    )
    clock = SystemClock()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with (
        ApiServer(config, MemoryStore(), clock=clock) as server,
        serve_endpoints(endpoints, Serving(0, "127.0.0.1"), Client(LocalTransport(server, MASTER)), clock=clock) as (
            host,
            port,
        ),
        aiohttp.ClientSession() as session,
    ):

        async def get(path, token=""):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with session.get(f"https://{host}:{port}{path}", headers=headers, ssl=context) as answer:
                return answer.status, await answer.text()

        yield get


async def test_health_is_open_and_each_check_has_a_path(ask):
    assert await ask("/healthz") == (200, "ok")
    assert await ask("/livez?verbose") == (200, "[+]ping ok\nlivez check passed\n")
    status, text = await ask("/readyz")
    assert (status, text) == (
        500,
        "[+]ping ok\n[-]sched-handler-sync failed: reason withheld\nreadyz check failed\n",
    )
    assert (await ask("/readyz/ping"))[0] == 200
    assert (await ask("/healthz/sched-handler-sync"))[0] == 404


@pytest.mark.parametrize(
    ("token", "status"),
    [("admin", 200), ("watcher", 200), ("nobody", 403), ("", 403), ("forged", 401)],
)
async def test_metrics_are_for_those_who_may_read_them(ask, token, status):
    found, text = await ask("/metrics", token)
    assert found == status
    assert ("scheduler_pending_pods 0" in text) is (status == 200)


async def test_strangers_learn_who_they_are_taken_for(ask):
    _, text = await ask("/metrics")
    assert 'forbidden: User \\"system:anonymous\\" cannot get path \\"/metrics\\"' in text
