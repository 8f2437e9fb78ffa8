"""Reviews asked of a server outside the cluster: who somebody is, or what somebody may do.

Source: upstream apiserver, pkg/util/webhook.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import orjson

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Json
from kobune.client.transport import Transport

ATTEMPTS, FIRST_SECONDS, FACTOR, JITTER = 5, 0.5, 1.5, 0.2
RETRIED = frozenset((429, 500, 504))
V = TypeVar("V")
# A review sent and answered. Raises Unanswered.
Ask = Callable[[Json], Awaitable[Json]]


class Unanswered(Exception):
    """There is no review. `result` is "timeout" or "error", as upstream's metrics call it."""

    def __init__(self, message: str, result: str) -> None:
        super().__init__(message)
        self.result = result


class Reviewer:
    """One server that answers reviews at the URL of its kubeconfig."""

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Clock,
        source: random.Random,
        timeout_seconds: float,
        first_seconds: float,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._source = source
        self._timeout_seconds = timeout_seconds
        self._first_seconds = first_seconds  # Until it is tried again.

    async def ask(self, review: Json) -> Json:
        """The review as it comes back; what may pass is tried again. Raises Unanswered."""
        pause = self._first_seconds
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    answer = await self._transport.request("POST", "", body=orjson.dumps(review))
            except TimeoutError as error:
                raise Unanswered("context deadline exceeded", "timeout") from error
            except ApiError as error:
                raise Unanswered(str(error), "error") from error
            if 200 <= answer.status < 300:
                try:
                    found: Json = orjson.loads(answer.body)
                    return found if isinstance(found, dict) else {}
                except orjson.JSONDecodeError as error:
                    raise Unanswered(f"the answer is no review: {error}", "error") from error
            told_when = answer.headers.get("Retry-After") is not None
            if attempt == ATTEMPTS or not (answer.status in RETRIED or told_when):
                result = "timeout" if answer.status == 504 else "error"
                raise Unanswered(f"the server answered {answer.status}", result)
            await self._clock.sleep(pause * (1 + self._source.random() * JITTER))
            pause *= FACTOR
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        await self._transport.close()


class Reviewers:
    """The servers that are asked, until they are let go of. `way` leads to the server of a kubeconfig, by its path."""

    def __init__(self, way: Callable[[str], Transport] | None, clock: Clock, source: random.Random) -> None:
        self._way, self._clock, self._source = way, clock, source
        self._open: list[Reviewer] = []

    def open(self, kubeconfig: str, *, timeout_seconds: float = 30.0, first_seconds: float = FIRST_SECONDS) -> Ask:
        assert self._way is not None, "a webhook needs a way to its server"
        reviewer = Reviewer(
            self._way(kubeconfig), clock=self._clock, source=self._source,
            timeout_seconds=timeout_seconds, first_seconds=first_seconds,
        )  # fmt: skip
        self._open.append(reviewer)
        return reviewer.ask

    async def close(self) -> None:
        for reviewer in self._open:
            await reviewer.close()


class Answers(Generic[V]):
    """What was answered, for as long as it counts; when there are too many the oldest go first."""

    def __init__(self, clock: Clock, most: int) -> None:
        self._clock = clock
        self._most = most
        self._known: OrderedDict[bytes, tuple[float, V]] = OrderedDict()

    def find(self, key: bytes) -> tuple[V] | None:
        """The answer, in a tuple, for it may be None."""
        known = self._known.get(key)
        return (known[1],) if known is not None and known[0] > self._clock.monotonic() else None

    def keep(self, key: bytes, answer: V, seconds: float) -> None:
        """Zero seconds keep nothing."""
        if seconds <= 0:
            return
        self._known[key] = (self._clock.monotonic() + seconds, answer)
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
