"""Leader election by a coordination.k8s.io Lease, as upstream's components do it and together with them."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from kobune.api.clock import Clock
from kobune.api.errors import AlreadyExists, ApiError, Conflict, Json
from kobune.api.objects.coordination import Lease
from kobune.api.objects.meta import Key
from kobune.api.timestamps import format_micro
from kobune.client.client import Client

log = logging.getLogger(__name__)

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
        self._seen_version = ""
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
            lease = await self._client.find(Lease, self._key)
            if lease is None:
                await self._client.create(Lease, self._manifest(transitions=0, acquired=""))
                self.is_leader = True
                return True
            return await self._take(lease)
        except (Conflict, AlreadyExists):
            return False
        except ApiError as error:
            log.warning("cannot reach the lease", extra={"lease": str(self._key), "failure": str(error)})
            return False

    async def _take(self, lease: Lease) -> bool:
        now = self._clock.monotonic()
        version = lease.metadata.resource_version
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, now
        holder = lease.spec.holder_identity or ""
        mine = holder == self.identity
        duration = lease.spec.lease_duration_seconds or self._terms.lease_duration
        if holder and not mine and now < self._seen_at + duration:
            self.is_leader = False
            return False
        transitions = lease.spec.lease_transitions or 0
        acquired = lease.spec.acquire_time
        manifest = self._manifest(
            transitions=transitions if mine else transitions + 1,
            acquired=format_micro(acquired) if mine and acquired else "",
        )
        manifest["metadata"]["resourceVersion"] = version
        renewed = await self._client.patch(Lease, self._key, manifest)
        self._seen_version, self._seen_at = renewed.metadata.resource_version, now
        self.is_leader = True
        return True

    async def _release(self) -> None:
        """Let the next candidate in at once. Best effort: the lease runs out by itself."""
        now = format_micro(self._clock.now())
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now, "acquireTime": now}
        patch = {"metadata": {"resourceVersion": self._seen_version}, "spec": spec}
        try:
            async with asyncio.timeout(self._terms.retry_period):
                await self._client.patch(Lease, self._key, patch)
        except (ApiError, TimeoutError) as error:
            log.info("lease not released", extra={"lease": str(self._key), "failure": str(error)})

    def _manifest(self, *, transitions: int, acquired: str) -> Json:
        now = format_micro(self._clock.now())
        return {
            "metadata": {"namespace": self._key.namespace, "name": self._key.name},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": int(self._terms.lease_duration),
                "acquireTime": acquired or now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }
