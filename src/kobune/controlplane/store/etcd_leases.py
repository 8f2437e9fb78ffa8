"""Leases of an etcd cluster, at whose end what was written under them goes away by itself.

Writes of about the same time share one, as each costs etcd a timer. Source: upstream apiserver storage/etcd3 leaseManager.
"""

import asyncio
import math

from kobune.controlplane.store import etcd_pb2 as pb
from kobune.controlplane.store.etcd_calls import EtcdCalls

SHARED_SECONDS = 60.0  # For so long a lease is given to further writes, and so much longer it lasts.
MOST_ENTRIES = 1000


class Leases:
    """Made in the event loop that uses it."""

    def __init__(self, calls: EtcdCalls) -> None:
        self._calls = calls
        self._lock = asyncio.Lock()
        self._id = self._entries = 0
        self._for_seconds = self._until = 0.0

    async def take(self, seconds: float) -> int:
        """The id of a lease that lasts at least `seconds` from now. Raises Refused, Unavailable."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if seconds != self._for_seconds or now >= self._until or self._entries >= MOST_ENTRIES:
                request = pb.LeaseGrantRequest(TTL=math.ceil(seconds + SHARED_SECONDS))
                # One that was granted and not heard of ends unused.
                granted = await self._calls.call("Lease/LeaseGrant", request, pb.LeaseGrantResponse, repeatable=True)
                self._id, self._entries = granted.ID, 0
                self._for_seconds, self._until = seconds, now + SHARED_SECONDS
            self._entries += 1
            return self._id

    def forget(self, lease: int) -> None:
        """etcd does not know it, or no longer."""
        if lease == self._id:
            self._until = 0.0
