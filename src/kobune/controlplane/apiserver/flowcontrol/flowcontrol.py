"""Gives requests their seats: classifies them, lets them in, has them wait, or sends them away."""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import orjson

from kobune.api.errors import ApiError, Json
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver.authorization.authorizer import Access
from kobune.controlplane.apiserver.flowcontrol.configuration import GROUP, levels, schemas
from kobune.controlplane.apiserver.flowcontrol.estimate import NOTHING_AFTER, Aftermath
from kobune.controlplane.apiserver.flowcontrol.level import Bank, Level
from kobune.controlplane.apiserver.flowcontrol.matching import distinguisher, matches
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.update import change, counted
from kobune.controlplane.apiserver.request import MASTER, Response, User
from kobune.controlplane.store.contract import Conflict, Unavailable

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry
    from kobune.controlplane.store.cache import Cache

log = logging.getLogger(__name__)

REMEMBERED = 4096  # Classifications; they are forgotten when the configuration changes.
WAIT_SHARE = 4  # A request waits for its seats a quarter of what it has altogether. Source: upstream server/config.go.
CHECK_SECONDS = 1.0
RETRY_AFTER_SECONDS = 1
LEVEL_HEADER, SCHEMA_HEADER = "X-Kubernetes-PF-PriorityLevel-UID", "X-Kubernetes-PF-FlowSchema-UID"


class Flow(NamedTuple):
    """Where a request belongs."""

    name: str  # Of the schema and what distinguishes the flow in it.
    level: Level
    headers: Mapping[str, str]
    lines: bytes = b""  # The same as they go out, for the shortest way.


class FlowLimits(Protocol):
    """What stands before the handlers."""

    async def load(self) -> None: ...

    async def run(self) -> None: ...

    def classify(self, access: Access) -> Flow: ...

    def room(self, access: Access) -> bytes | None:
        """The lines of a flow's headers, when a request that takes no time may be answered at once; else None."""

    async def enter(self, flow: Flow, access: Access, seats: int) -> int:
        """The seats that the request has now; 0: there are none for it."""

    def leave(self, flow: Flow, access: Access, seats: int, seconds: float, after: Aftermath = NOTHING_AFTER) -> None:
        """The request is answered, so long after it got its seats."""

    def metrics(self) -> str:
        """What has been let in and sent away, in Prometheus' text form."""


class FlowControl:
    """`seats` are those of the whole server: --max-requests-inflight and --max-mutating-requests-inflight together."""

    def __init__(self, registry: "Registry", *, seats: int, request_seconds: float) -> None:
        self._registry = registry
        self._seats = seats
        self._wait_seconds = request_seconds / WAIT_SHARE
        self._schema_kind = registry.builtin(GROUP, "v1", "FlowSchema")
        self._level_kind = registry.builtin(GROUP, "v1", "PriorityLevelConfiguration")
        self._bank = Bank()
        self._levels: dict[str, Level] = {}
        self._schemas: list[tuple[Json, Level]] = []
        self._known: dict[tuple[str, str, str, str, str, str], tuple[User, Flow]] = {}
        self._caches: tuple[Cache, Cache] | None = None
        self._seen = (-1, -1)

    async def load(self) -> None:
        self._caches = (
            await self._registry.cache(self._schema_kind),
            await self._registry.cache(self._level_kind),
        )

    async def enter(self, flow: Flow, access: Access, seats: int) -> int:
        """The seats that the request has now; 0: there are none for it."""
        level = flow.level
        seats = min(seats, level.widest)
        if level.take(seats):
            return seats
        return seats if await level.wait(flow.name, seats, self._wait_seconds) else 0

    def room(self, access: Access) -> bytes | None:
        """The lines of a flow's headers, when a request that takes no time may be answered at once; else None."""
        flow = self.classify(access)
        if not flow.level.has_free_seat():
            return None
        flow.level.dispatched += 1
        return flow.lines

    def leave(self, flow: Flow, access: Access, seats: int, seconds: float, after: Aftermath = NOTHING_AFTER) -> None:
        """The request is answered, so long after it got its seats; what it keeps for a while goes later."""
        level = flow.level
        if after.seats:
            kept = min(after.seats, level.widest)
            level.executing += kept - seats
            whole = seconds + after.seconds
            asyncio.get_running_loop().call_later(after.seconds, level.leave, kept, whole, flow.name)
        else:
            level.leave(seats, seconds, flow.name)

    def metrics(self) -> str:
        """What has been let in and sent away, in Prometheus' text form."""
        prefix, lines = "apiserver_flowcontrol", list[str]()
        for name, level in sorted(self._levels.items()):
            label = f'{{priority_level="{name}"}}'
            lines += [
                f"{prefix}_nominal_limit_seats{label} {level.nominal}",
                f"{prefix}_current_executing_seats{label} {level.executing}",
                f"{prefix}_current_inqueue_requests{label} {level.waiting}",
                f"{prefix}_dispatched_requests_total{label} {level.dispatched}",
                f"{prefix}_rejected_requests_total{label} {level.rejected}",
            ]
        return "\n".join(lines) + "\n"

    def classify(self, access: Access) -> Flow:
        """The flow of the first schema that matches."""
        caches = self._caches
        assert caches is not None, "loaded when the server starts"
        seen = (caches[0].changed_at, caches[1].changed_at)
        if seen != self._seen:
            self._read(caches)
            self._seen = seen
        key = (
            access.user.name, access.verb, access.group, access.resource or access.path, access.subresource,
            access.namespace,
        )  # fmt: skip
        known = self._known.get(key)
        if known is not None and known[0].groups == access.user.groups:
            return known[1]
        schema, level = next((pair for pair in self._schemas if matches(pair[0], access)), self._schemas[-1])
        meta = schema["metadata"]
        headers = {LEVEL_HEADER: level.uid, SCHEMA_HEADER: meta.get("uid", "")}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        flow = Flow(f"{meta['name']}\0{distinguisher(schema, access)}", level, headers, lines)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = (access.user, flow)
        return flow

    async def run(self) -> None:
        """Keep the schemas' statuses, until cancelled."""
        while True:
            caches = self._caches
            assert caches is not None
            seen = [cache.changed_at for cache in caches]
            names = {item.name for item in caches[1].list()}
            for item in caches[0].list():
                await self._settle(orjson.loads(item.body), names)
            async with asyncio.TaskGroup() as tasks:
                waits = [tasks.create_task(cache.changed_since(at)) for cache, at in zip(caches, seen, strict=True)]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
            await self._registry.clock.sleep(CHECK_SECONDS)

    def _read(self, caches: "tuple[Cache, Cache]") -> None:
        """Take the configuration as it is now; what is mandatory is there even when its object is not."""
        self._known.clear()
        found: list[Json] = [orjson.loads(item.body) for item in caches[1].list()]
        configured = {one["metadata"]["name"]: one for one in [*levels(), *found]}
        present = {one["metadata"]["name"] for one in found} | {"exempt", "catch-all"}
        shares = {name: _shares(one["spec"]) for name, one in configured.items() if name in present}
        total = sum(shares.values()) or 1
        self._levels = {name: self._level(name, configured[name]) for name in shares}
        for name, level in self._levels.items():
            level.configure(configured[name]["spec"], math.ceil(self._seats * shares[name] / total))
        self._bank.levels = [level for level in self._levels.values() if not level.exempt]
        for level in self._bank.levels:
            level.dispatch()
        stored: list[Json] = [orjson.loads(item.body) for item in caches[0].list()]
        names = {one["metadata"]["name"] for one in stored}
        mandatory = [one for one in schemas() if one["metadata"]["name"] in ("exempt", "catch-all")]
        every = [*stored, *(one for one in mandatory if one["metadata"]["name"] not in names)]
        every.sort(key=lambda one: (one["spec"].get("matchingPrecedence", 1000), one["metadata"]["name"]))
        self._schemas = [
            (one, self._levels[name])
            for one in every
            if (name := one["spec"]["priorityLevelConfiguration"]["name"]) in self._levels
        ]

    def _level(self, name: str, obj: Json) -> Level:
        level = self._levels.get(name) or Level(name, "", self._bank)
        level.uid = obj["metadata"].get("uid", "")
        return level

    async def _settle(self, schema: Json, names: set[str]) -> None:
        """Have a schema's status say whether its level is there."""
        level = schema["spec"]["priorityLevelConfiguration"]["name"]
        quoted = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
        if level in names:
            wanted = ("False", "Found", f"{quoted} and it exists")
        else:
            wanted = ("True", "NotFound", f"{quoted} but there is no such object")
        conditions: Sequence[Json] = (schema.get("status") or {}).get("conditions") or ()
        current: Json = next((one for one in conditions if one.get("type") == "Dangling"), {})
        if (current.get("status"), current.get("reason"), current.get("message")) == wanted:
            return
        now = format_time(self._registry.clock.now())
        changed = now if current.get("status") != wanted[0] else current.get("lastTransitionTime", now)

        async def write(old: Json) -> Json:
            kept = [one for one in (old.get("status") or {}).get("conditions") or () if one.get("type") != "Dangling"]
            entry = {
                "type": "Dangling", "status": wanted[0], "lastTransitionTime": changed,
                "reason": wanted[1], "message": wanted[2],
            }  # fmt: skip
            return {**old, "status": {**(old.get("status") or {}), "conditions": [*kept, entry]}}

        name = schema["metadata"]["name"]
        call = Call(
            self._schema_kind, "", name, MASTER, self._registry.clock.now(), subresource="status", verb="update"
        )
        try:
            await change(self._registry, call, write, prepare=counted, checks=False)
        except (ApiError, Conflict, Unavailable) as error:
            log.info("FlowSchema's status not written", extra={"name": name, "error": str(error)})


def too_many() -> Response:
    """What a request is told that gets no seat."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return Response(429, b"Too many requests, please try again later.\n", "text/plain; charset=utf-8", headers)


def _shares(spec: Json) -> int:
    limited = spec.get("limited") or spec.get("exempt") or {}
    shares = limited.get("nominalConcurrencyShares")
    return int(shares if shares is not None else 30 if spec.get("type") == "Limited" else 0)
