"""How many requests are answered: token buckets, ARM's for each caller and AKS's for each kind of call.

Source: ARM's page on throttling; AKS's page on quotas.
"""

import math
from dataclasses import dataclass

from kobune.aks.arm.errors import ArmError
from kobune.aks.arm.request import Caller
from kobune.api.clock import Clock

MOST_BUCKETS = 1000  # Remembered at once; those that are full again are forgotten first.
# Times Azure's own limits: scripts on one's own machine are not to wait for them.
DEFAULT_FACTOR = 10.0


@dataclass(frozen=True, slots=True)
class Limit:
    """Tokens that a full bucket holds, and how many come back each second."""

    name: str
    size: float
    refill: float


READS = Limit("reads", 250, 25)
WRITES = Limit("writes", 200, 10)
DELETES = Limit("deletes", 200, 10)
LIST_IN_SUBSCRIPTION = Limit("list clusters in a subscription", 500, 1)
LIST_IN_GROUP = Limit("list clusters in a group", 60, 1)
PUT_CLUSTER = Limit("put a cluster", 20, 1 / 60)
PUT_POOL = Limit("put an agent pool", 20, 1 / 60)
GET_CLUSTER = Limit("get a cluster", 60, 1)
GET_OPERATION = Limit("get an operation", 200, 2)
OTHERS = Limit("other calls", 60, 1)
AKS = "/providers/microsoft.containerservice/"


@dataclass(slots=True)
class _Bucket:
    limit: Limit
    tokens: float
    seen: float


class Throttle:
    """The buckets of one service.

    Args:
        factor: by which every limit is multiplied; 0 limits nothing.
    """

    def __init__(self, clock: Clock, factor: float) -> None:
        self._clock = clock
        self._factor = factor
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def admit(self, method: str, path: str, caller: Caller, subscription: str) -> dict[str, str]:
        """Take a token from each bucket of the request; the headers that say how many ARM's has left.

        Raises:
            ArmError: 429 with Retry-After; nothing was taken then.
        """
        if not self._factor:
            return {}
        of_caller = _arm_limit(method)
        found = [self._bucket(of_caller, caller.object_id)]
        if AKS in path.lower():
            found.append(self._bucket(*_aks_limit(method, path.lower())))
        for bucket in found:
            if bucket.tokens < 1:
                raise self._refusal(bucket, bucket is found[0], caller, subscription)
        for bucket in found:
            bucket.tokens -= 1
        return {f"x-ms-ratelimit-remaining-subscription-{of_caller.name}": str(int(found[0].tokens))}

    def _bucket(self, limit: Limit, key: str) -> _Bucket:
        now = self._clock.monotonic()
        bucket = self._buckets.get((limit.name, key))
        if bucket is None:
            self._forget_full(now)
            bucket = self._buckets[limit.name, key] = _Bucket(limit, limit.size * self._factor, now)
        bucket.tokens = self._filled(bucket, now)
        bucket.seen = now
        return bucket

    def _filled(self, bucket: _Bucket, now: float) -> float:
        limit = bucket.limit
        return min(limit.size * self._factor, bucket.tokens + (now - bucket.seen) * limit.refill * self._factor)

    def _forget_full(self, now: float) -> None:
        if len(self._buckets) >= MOST_BUCKETS:
            for key, bucket in [*self._buckets.items()]:
                if self._filled(bucket, now) >= bucket.limit.size * self._factor:
                    del self._buckets[key]
            while len(self._buckets) >= MOST_BUCKETS:
                del self._buckets[next(iter(self._buckets))]

    def _refusal(self, bucket: _Bucket, by_arm: bool, caller: Caller, subscription: str) -> ArmError:
        seconds = max(1, math.ceil((1 - bucket.tokens) / (bucket.limit.refill * self._factor)))
        if by_arm:
            return ArmError(
                429,
                "SubscriptionRequestsThrottled",
                f"Number of '{bucket.limit.name}' requests for subscription '{subscription}' actor '{caller.object_id}' "
                f"exceeded. Please try again after '{seconds}' seconds after additional tokens are available. Refer to "
                "https://aka.ms/arm-throttling for additional information.",
                headers={"Retry-After": str(seconds)},
            )
        return ArmError(
            429,
            "Throttled",
            f"The request was throttled: too many requests to {bucket.limit.name}. Please retry after {seconds} seconds.",
            headers={"Retry-After": str(seconds)},
        )


def _arm_limit(method: str) -> Limit:
    return READS if method in ("GET", "HEAD") else DELETES if method == "DELETE" else WRITES


def _aks_limit(method: str, path: str) -> tuple[Limit, str]:
    """The bucket of a call to AKS, and whose it is. `path` is in lower case."""
    before, _, inside = path.rpartition(AKS)
    parts = inside.strip("/").split("/")
    cluster = f"{before}/{'/'.join(parts[:2])}"
    match method, parts:
        case "GET", ["managedclusters"]:
            return (LIST_IN_GROUP if "/resourcegroups/" in before else LIST_IN_SUBSCRIPTION), before
        case "GET", ["managedclusters", _]:
            return GET_CLUSTER, cluster
        case "PUT", ["managedclusters", _]:
            return PUT_CLUSTER, cluster
        case "PUT", ["managedclusters", _, "agentpools", pool]:
            return PUT_POOL, f"{cluster}/{pool}"
        case "GET", ["locations", _, "operations" | "operationresults", _]:
            return GET_OPERATION, before
    return OTHERS, before
