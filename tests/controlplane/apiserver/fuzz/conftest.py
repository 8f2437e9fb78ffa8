"""A server in a thread of its own, asked over a socket, so that a test need not be asynchronous; and what judges its answers."""

import asyncio
import http.client
import threading
import time
from collections.abc import Iterator

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, settings

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.config import ApiServerConfig, ServiceAccountKeys
from kobune.controlplane.apiserver.https import serve
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore

TOKEN = "secret"
CONFIG = ApiServerConfig(
    static_tokens={TOKEN: ("admin", "1", ("system:masters",))},
    service_account_keys=ServiceAccountKeys(ec.generate_private_key(ec.SECP256R1())),
)
ENOUGH_SECONDS = 20.0  # For one answer, on the slowest machine: it is there to find what takes for ever.
# The reasons that a refusal with a code may give.
REASONS = {
    400: {"BadRequest"}, 401: {"Unauthorized"}, 403: {"Forbidden"}, 404: {"NotFound"}, 405: {"MethodNotAllowed"},
    406: {"NotAcceptable"}, 409: {"Conflict", "AlreadyExists"}, 410: {"Expired", "Gone"},
    413: {"RequestEntityTooLarge"}, 415: {"UnsupportedMediaType"}, 422: {"Invalid"}, 429: {"TooManyRequests"},
}  # fmt: skip

# The short form asks the same every time: a test that fails once in a while proves nothing to who reads the failure.
SHORT = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
LONG = settings(SHORT, max_examples=2000, derandomize=False)


class Target:
    """A running server."""

    def __init__(self, server: ApiServer, host: str, port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self.host, self.port, self.loop = server, host, port, loop
        self._connection = http.client.HTTPConnection(host, port, timeout=ENOUGH_SECONDS)

    def close(self) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: bytes = b"", content_type: str = "application/json"):
        """Status and body of an answer, judged."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type}
        began = time.monotonic()
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        assert time.monotonic() - began < ENOUGH_SECONDS
        judge(answer.status, content, method, path, body)
        return answer.status, content

    def create(self, path: str, obj) -> None:
        status, content = self.ask("POST", path, orjson.dumps(obj))
        assert status == 201, content


def judge(status: int, content: bytes, *about: object) -> None:
    """What every answer must be, whatever was asked."""
    assert status < 500, (status, content, *about)
    assert b"Traceback" not in content, (content, *about)
    if status < 400:
        return
    answer = orjson.loads(content)
    assert (answer["kind"], answer["status"], answer["code"]) == ("Status", "Failure", status), (answer, *about)
    assert answer["reason"] in REASONS[status], (answer, *about)
    assert answer["message"], (answer, *about)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    ready = threading.Event()
    made: list[Target] = []
    stop = asyncio.Event()

    async def run() -> None:
        async with (
            ApiServer(CONFIG, MemoryStore(), clock=SystemClock()) as server,
            serve(server, host="127.0.0.1", port=0, tls=None) as (host, port),
        ):
            made.append(Target(server, host, port, asyncio.get_running_loop()))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="server")
    thread.start()
    assert ready.wait(60)
    yield made[0]
    made[0].close()
    made[0].loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    assert not thread.is_alive()
