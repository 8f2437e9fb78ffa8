"""What clients are told when the store cannot do what they ask."""

import random

import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.contract import Full, Unavailable
from kobune.controlplane.store.memory import MemoryStore


class Failing(MemoryStore):
    """A store whose disk is full, or whose server is away, while `failure` is set."""

    failure: Exception | None = None

    async def write(
        self, key: str, value: bytes, *, expected: int | None, durable: bool = True, seconds: float = 0.0
    ) -> int:
        if self.failure is not None:
            raise self.failure
        return await super().write(key, value, expected=expected, durable=durable, seconds=seconds)


@pytest.mark.parametrize(
    ("failure", "code", "reason"),
    [(Full("no space is left"), 507, "InsufficientStorage"), (Unavailable("no answer"), 503, "ServiceUnavailable")],
)
async def test_a_write_that_fails_says_why_and_works_again_later(ask, failure, code, reason):
    store = Failing()
    async with ApiServer(ApiServerConfig(), store, clock=SystemClock(), source=random.Random(1)) as server:
        ask.server = server
        path, obj = "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}}
        store.failure = failure
        status = await ask("POST", path, obj, status=code)
        assert (status["reason"], status["message"]) == (reason, str(failure))
        assert "retryAfterSeconds" not in status.get("details", {})  # Clients would repeat it; perhaps it was done.
        assert (await ask("GET", path))["items"] == []
        store.failure = None
        await ask("POST", path, obj, status=201)
