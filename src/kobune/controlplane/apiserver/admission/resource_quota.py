"""ResourceQuota: no namespace takes more than its quotas allow.

Whoever writes charges the quotas before the object is stored. Writes to one namespace that come together are judged one
after another and charged with one write for each quota; what is charged for a write that fails afterwards is given back
when the controller recounts.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

import orjson

from kobune.api.errors import ApiError, Json
from kobune.api.kinds import Kind
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.quota.books import charge
from kobune.controlplane.apiserver.admission.quota.evaluators import Evaluator, find_evaluator
from kobune.controlplane.apiserver.admission.quota.limited import Limited
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.store.contract import Conflict
from kobune.controlplane.store.selection import Selection

ATTEMPTS = 4  # Source: upstream checkQuotas, a first try and three more.


@dataclass(slots=True)
class Pending:
    """One write that waits for its quotas' answer."""

    attributes: Attributes
    evaluator: Evaluator
    decided: bool = False
    error: ApiError | None = None


@dataclass(slots=True)
class Desk:
    """Where a namespace's writes queue up; whoever has the lock serves all that wait."""

    lock: asyncio.Lock
    waiting: list[Pending]


class ResourceQuota:
    name = "ResourceQuota"
    operations = ("CREATE", "UPDATE")
    resources = ("*", "pods/resize", "persistentvolumeclaims/status")

    def __init__(self, registry: Registry, limited: Sequence[Limited] = ()) -> None:
        self._registry = registry
        self._limited = limited
        self._kind = registry.builtin("", "v1", "ResourceQuota")
        self._evaluators: dict[Kind, Evaluator | None] = {}
        self._desks: dict[str, Desk] = {}

    def admit(self, attributes: Attributes) -> None:
        return None

    def rests_on(self, _: Attributes) -> Sequence[Kind] | None:
        # A quota takes note of each object.
        return None if self._has_any() else (self._kind,)

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        if not self._has_any():
            return None
        kind = attributes.call.kind
        if kind not in self._evaluators:
            self._evaluators[kind] = find_evaluator(kind)
        evaluator = self._evaluators[kind]
        if evaluator is None or attributes.object is None or not evaluator.handles(attributes):
            return None
        return self._settle(Pending(attributes, evaluator))

    def _has_any(self) -> bool:
        cache = self._registry.open_cache(self._kind)
        return cache is None or len(cache) > 0 or bool(self._limited)

    async def _settle(self, one: Pending) -> None:
        namespace = one.attributes.call.namespace
        if not self._limited and not await self._quotas(namespace):
            return
        desk = self._desks.setdefault(namespace, Desk(asyncio.Lock(), []))
        desk.waiting.append(one)
        try:
            async with desk.lock:
                while not one.decided:
                    batch, desk.waiting = desk.waiting, []
                    try:
                        await self._serve(namespace, batch)
                    finally:
                        # If this writer goes away, the others are served by the next.
                        desk.waiting = [each for each in batch if not each.decided] + desk.waiting
        finally:
            if one in desk.waiting:
                desk.waiting.remove(one)
            if not desk.waiting and not desk.lock.locked():
                self._desks.pop(namespace, None)
        if one.error is not None:
            raise one.error

    async def _serve(self, namespace: str, batch: list[Pending]) -> None:
        """Judge these writes in turn and charge for all that pass."""
        open_ones, only_these = batch, None
        for attempt in range(ATTEMPTS):
            quotas = [
                one
                for one in await self._quotas(namespace)
                if only_these is None or one["metadata"]["name"] in only_these
            ]
            before = {one["metadata"]["name"]: (one.get("status") or {}).get("used") for one in quotas}
            passed = self._judge(quotas, open_ones)
            changed = [
                one for one in quotas if (one.get("status") or {}).get("used") != before[one["metadata"]["name"]]
            ]
            failed = [one["metadata"]["name"] for one in changed if not await self._store(one)]
            if not failed:
                for one in passed:
                    one.decided = True
                return
            # Somebody else wrote these quotas: only they are judged again, the others are charged already.
            open_ones, only_these = passed, failed
            if attempt == ATTEMPTS - 1:
                for one in passed:
                    one.error = one.attributes.call.conflict(f"the quota {failed[0]} changes too fast")
                    one.decided = True

    def _judge(self, quotas: list[Json], batch: list[Pending]) -> list[Pending]:
        """Those that pass; `quotas` have what they use then."""
        passed: list[Pending] = []
        for one in batch:
            try:
                used = charge(quotas, one.attributes, one.evaluator, self._registry.clock.now(), self._limited)
            except ApiError as error:
                one.error, one.decided = error, True
                continue
            if not one.attributes.call.options.dry_run:
                for quota in quotas:
                    if quota["metadata"]["name"] in used:
                        quota["status"]["used"] = used[quota["metadata"]["name"]]
            passed.append(one)
        return passed

    async def _quotas(self, namespace: str) -> list[Json]:
        cache = await self._registry.cache(self._kind)
        return [orjson.loads(item.body) for item in cache.list(Selection(namespace))]

    async def _store(self, quota: Json) -> bool:
        """Whether nobody has been faster."""
        try:
            await self._registry.write(self._kind, quota, expected=int(quota["metadata"]["resourceVersion"]))
        except Conflict:
            return False
        return True
