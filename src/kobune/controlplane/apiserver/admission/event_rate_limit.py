"""EventRateLimit: no more Events of the core group than the configuration's limits allow."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from kobune.api.clock import Clock
from kobune.api.errors import Json, TooManyRequests
from kobune.api.token_bucket import TokenBucket
from kobune.controlplane.apiserver.admission.attributes import Attributes

VERSION = "eventratelimit.admission.k8s.io/v1alpha1"
CACHED = 4096  # Buckets of a limit that does not say how many. Source: upstream defaultCacheSize.


class EventLimit(NamedTuple):
    """`burst` at once, `per_second` after that, for each of what `type` (one of KEYS) tells apart."""

    type: str
    per_second: int
    burst: int
    cached: int = CACHED


class EventRateLimit:
    """Source: upstream plugin/pkg/admission/eventratelimit."""

    name = "EventRateLimit"
    operations = ("CREATE", "UPDATE")
    resources = ("events",)

    def __init__(self, clock: Clock, limits: Sequence[EventLimit]) -> None:
        self._clock = clock
        self._limits = [(limit.type, lru_cache(maxsize=limit.cached)(_filler(limit, clock))) for limit in limits]

    def admit(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> None:
        call = attributes.call
        if call.kind.group or call.options.dry_run:
            return
        now = self._clock.monotonic()
        reached = []
        for kind, bucket in self._limits:
            key = KEYS[kind](attributes)
            if not bucket(key).take(now):
                reached.append(f"limit reached on type {kind} for key {key}")
        if reached:
            told = reached[0] if len(reached) == 1 else f"[{', '.join(reached)}]"
            raise TooManyRequests(f"Too many requests: {told}")


def read_event_limits(configuration: Json) -> tuple[EventLimit, ...]:
    """What a configuration of the plugin says. Raises ValueError."""
    if (configuration.get("apiVersion"), configuration.get("kind")) != (VERSION, "Configuration"):
        raise ValueError(f"not a Configuration of {VERSION}")
    limits = []
    for index, one in enumerate(configuration.get("limits") or ()):
        kind, at = one.get("type"), f"limits[{index}]"
        if kind not in KEYS:
            raise ValueError(f'{at}.type: Unsupported value: "{kind}": supported values: {", ".join(sorted(KEYS))}')
        for field in ("burst", "qps"):
            if one.get(field, 0) <= 0:
                raise ValueError(f"{at}.{field}: Invalid value: {one.get(field, 0)}: must be positive")
        if kind != "Server" and one.get("cacheSize", 0) < 0:
            raise ValueError(f"{at}.cacheSize: Invalid value: {one['cacheSize']}: must not be negative")
        limits.append(EventLimit(kind, one["qps"], one["burst"], one.get("cacheSize") or CACHED))
    if not limits:
        raise ValueError("limits: Invalid value: null: must not be empty")
    return tuple(limits)


def _filler(limit: EventLimit, clock: Clock) -> Callable[[str], TokenBucket]:
    return lambda _key: TokenBucket(limit.burst, 1 / limit.per_second, limit.burst, clock.monotonic())


def _source_and_object(attributes: Attributes) -> str:
    event = attributes.object or {}
    source, about = event.get("source") or {}, event.get("involvedObject") or {}
    parts = [source.get(name) for name in ("component", "host")]
    parts += [about.get(name) for name in ("kind", "namespace", "name", "uid", "apiVersion")]
    return "".join(part or "" for part in parts)


KEYS: Mapping[str, Callable[[Attributes], str]] = {
    "Server": lambda _attributes: "",
    "Namespace": lambda attributes: attributes.call.namespace,
    "User": lambda attributes: attributes.call.user.name,
    "SourceAndObject": _source_and_object,
}
