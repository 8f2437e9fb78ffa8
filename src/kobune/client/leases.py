"""Leader election by a coordination.k8s.io Lease, as upstream's components do it and together with them."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from kobune.api.clock import Clock
from kobune.api.errors import AlreadyExists, ApiError, Conflict, Json, NotFound
from kobune.api.objects.coordination import Lease
from kobune.api.objects.meta import Key
from kobune.api.timestamps import format_micro
from kobune.client.client import Client

log = logging.getLogger(__name__)

OVERDUE_SECONDS = 20.0  # Source: upstream components' leader health check.
JITTER = 1.2  # Upstream's JitterFactor: a candidate waits 1 to 2.2 retry periods.


class LeadershipLost(Exception):
    """Another holds the lease, or ours could not be renewed in time: whoever led must stop at once."""


class Terms(NamedTuple):
    """Seconds. Defaults: upstream's --leader-elect-*."""

    lease_duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0


class LeaderElection:
    """One candidate for one lease.

    Expiry is judged by how long the lease has stood unchanged on the own monotonic clock, never by the times written in
    it, so that clocks which disagree do no harm.
    """

    def __init__(
        self,
        client: Client,
        key: Key,
        identity: str,
        *,
        clock: Clock,
        rng: random.Random,
        terms: Terms = Terms(),  # noqa: B008 -- immutable
    ) -> None:
        self._client = client
        self._key = key
        self.identity = identity
        self._clock = clock
        self._rng = rng
        self._terms = terms
        self._seen: Json = {}  # The lease as last read or written.
        self._seen_at = 0.0
        self.is_leader = False

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait until elected, then run `work` while renewing; give the lease back when `work` ends or is cancelled.

        Raises:
            LeadershipLost: `work` was cancelled because the lease could not be kept.
        """
        await self._acquire()
        log.info("became leader", extra={"lease": str(self._key), "identity": self.identity})
        try:
            async with asyncio.TaskGroup() as group:
                renewal = group.create_task(self._renew(), name="renew lease")
                await work()
                renewal.cancel()
        except BaseExceptionGroup as failures:
            lost, rest = failures.split(LeadershipLost)
            if lost is not None and rest is None:
                raise LeadershipLost(str(lost.exceptions[0])) from None
            raise
        finally:
            if self.is_leader:
                self.is_leader = False
                await self._release()

    @property
    def is_overdue(self) -> bool:
        """It still leads though its lease expired a while ago, which a process that works as it should never does."""
        expired = self._seen_at + self._terms.lease_duration
        return self.is_leader and self._clock.monotonic() > expired + OVERDUE_SECONDS

    async def _acquire(self) -> None:
        while not await self._try():
            await self._clock.sleep(self._terms.retry_period * (1 + self._rng.random() * JITTER))

    async def _renew(self) -> None:
        renewed = self._clock.monotonic()
        while True:
            await self._clock.sleep(self._terms.retry_period)
            began = self._clock.monotonic()
            left = self._terms.renew_deadline - (began - renewed)
            try:
                async with asyncio.timeout(max(left, 0)):
                    kept = await self._try()
            except TimeoutError:
                kept = False
            if kept:
                renewed = began
            elif not self.is_leader or self._clock.monotonic() - renewed >= self._terms.renew_deadline:
                self.is_leader = False
                raise LeadershipLost(f"{self.identity} lost the lease {self._key}")

    async def _try(self) -> bool:
        """One attempt to take or renew the lease. A failure of the API is a failed attempt."""
        try:
            try:
                lease = await self._client.get_json(Lease, self._key)
            except NotFound:
                spec = self._spec(transitions=0, acquired="")
                metadata = {"namespace": self._key.namespace, "name": self._key.name}
                began = self._clock.monotonic()
                await self._client.create(Lease, {"metadata": metadata, "spec": spec})
                self.is_leader, self._seen_at = True, began
                return True
            return await self._take(lease)
        except (Conflict, AlreadyExists):
            return False
        except ApiError as error:
            log.warning("cannot reach the lease", extra={"lease": str(self._key), "failure": str(error)})
            return False

    async def _take(self, lease: Json) -> bool:
        now = self._clock.monotonic()
        if _version(lease) != _version(self._seen):
            self._seen, self._seen_at = lease, now
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        mine = holder == self.identity
        duration = spec.get("leaseDurationSeconds") or self._terms.lease_duration
        if holder and not mine and now < self._seen_at + duration:
            self.is_leader = False
            return False
        transitions = spec.get("leaseTransitions") or 0
        taken = self._spec(
            transitions=transitions if mine else transitions + 1,
            acquired=spec.get("acquireTime") or "" if mine else "",
        )
        # The roles of upstream's components let them update their lease and not patch it.
        await self._write({**lease, "spec": {**spec, **taken}}, now)
        self.is_leader = True
        return True

    async def _release(self) -> None:
        """Let the next candidate in at once. Best effort: the lease runs out by itself."""
        now = format_micro(self._clock.now())
        free = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now, "acquireTime": now}
        try:
            async with asyncio.timeout(self._terms.retry_period):
                if not self._seen:
                    self._seen = await self._client.get_json(Lease, self._key)
                spec = {**self._seen["spec"], **free}
                await self._write({**self._seen, "spec": spec}, self._clock.monotonic())
        except (ApiError, TimeoutError) as error:
            log.info("lease not released", extra={"lease": str(self._key), "failure": str(error)})

    async def _write(self, lease: Json, now: float) -> None:
        """Replace the lease, unless another did so meanwhile."""
        written = await self._client.update(Lease, lease)
        metadata = {**lease["metadata"], "resourceVersion": written.metadata.resource_version}
        self._seen, self._seen_at = {**lease, "metadata": metadata}, now

    def _spec(self, *, transitions: int, acquired: str) -> Json:
        now = format_micro(self._clock.now())
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._terms.lease_duration),
            "acquireTime": acquired or now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }


def _version(lease: Json) -> str:
    version: str = lease.get("metadata", {}).get("resourceVersion", "")
    return version
