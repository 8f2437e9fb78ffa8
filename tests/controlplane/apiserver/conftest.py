"""An API server over the memory store, asked without HTTP."""

import random
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kobune.api.clock import SystemClock
from kobune.client.transport import Answer
from kobune.controlplane.apiserver.config import ApiServerConfig, ServiceAccountKeys
from kobune.controlplane.apiserver.request import MASTER, Request, Response, User
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore


class Asker:
    """One user's requests to a server."""

    def __init__(self, server: ApiServer, user: User | None = MASTER) -> None:
        self.server = server
        self.user = user

    async def raw(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", **headers: str
    ) -> Response:
        path, _, query = path.partition("?")
        pairs = [part.partition("=")[::2] for part in query.split("&")] if query else []
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        if content_type:
            headers["content-type"] = content_type
        request = Request(method, path, dict(pairs), headers, data, self.user, repeated=pairs)
        return await self.server.handle(request)

    async def __call__(
        self, method: str, path: str, body: Any = None, *, status: int = 0, content_type: str = "application/json"
    ) -> Any:
        """The decoded answer; `status` 0 is any success."""
        response = await self.raw(method, path, body, content_type=content_type)
        answer = orjson.loads(response.body)
        if status:
            assert response.status == status, answer
        else:
            assert response.status < 300, answer
        return answer

    async def create(self, path: str, obj: Any) -> Any:
        return await self("POST", path, obj, status=201)

    async def events(self, path: str) -> AsyncIterator[Any]:
        """The frames of a watch."""
        response = await self.raw("GET", path)
        assert response.status == 200, response.body
        async for chunk in response.body:
            for line in chunk.splitlines():
                yield orjson.loads(line)


REVIEWER = "/etc/reviewer"  # The kubeconfig that leads to a server which reviews.


class Reviewing:
    """A server outside the cluster that reviews: answers as it is told, and remembers what it was asked."""

    def __init__(self, status: dict[str, Any]) -> None:
        self.status, self.code = status, 200
        self.asked: list[Any] = []

    def open(self, path: str) -> "Reviewing":
        assert path == REVIEWER
        return self

    async def request(self, method: str, path: str, *, body: bytes = b"", **_: Any) -> Answer:
        review = orjson.loads(body)
        self.asked.append(review)
        return Answer(self.code, orjson.dumps({**review, "status": self.status}), {})

    async def close(self) -> None:
        """Nothing is open."""


KEYS = ServiceAccountKeys(ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    # With the patch, as a cluster's own version has it.
    config = ApiServerConfig(cluster_version="1.36.1", service_account_keys=KEYS)
    async with ApiServer(config, MemoryStore(), clock=SystemClock(), source=random.Random(1)) as one:
        # What a cluster's controllers do.
        accounts = "/api/v1/namespaces/default/serviceaccounts"
        await Asker(one).create(accounts, {"metadata": {"name": "default"}})
        yield one


@pytest.fixture
def ask(server: ApiServer) -> Asker:
    return Asker(server)
