"""Priority: turns a pod's priority class into its number."""

from collections.abc import Awaitable, Sequence

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.store.cache import Cache

DEFAULT_PRIORITY = 0
DEFAULT_POLICY = "PreemptLowerPriority"


class Priority:
    name = "Priority"
    operations = ("CREATE", "UPDATE")
    resources = ("pods", "priorityclasses")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kind = registry.builtin("scheduling.k8s.io", "v1", "PriorityClass")
        self._default: tuple[int, Json | None] = (-1, None)  # As of the newest change of any class.

    def admit(self, attributes: Attributes) -> Awaitable[None] | None:
        cache = self._registry.open_cache(self._kind)
        name = ((attributes.object or {}).get("spec") or {}).get("priorityClassName") or ""
        if cache is None or (name and cache.get("", name) is None):
            return self._wait(attributes, name)
        self._admit(attributes, cache)
        return None

    async def _wait(self, attributes: Attributes, name: str) -> None:
        await self._registry.find_item(self._kind, "", name)  # It may have been made on another server.
        self._admit(attributes, await self._registry.cache(self._kind))

    def _admit(self, attributes: Attributes, cache: Cache) -> None:
        pod = attributes.object
        if attributes.call.kind.name != "Pod" or pod is None:
            return
        spec = pod.setdefault("spec", {})
        if attributes.operation == "UPDATE":
            old = (attributes.old_object or {}).get("spec") or {}
            for field in ("priority", "preemptionPolicy"):
                if spec.get(field) is None and old.get(field) is not None:
                    spec[field] = old[field]
            return
        name, priority, policy = self._resolve(attributes, cache, spec.get("priorityClassName") or "")
        if name:
            spec["priorityClassName"] = name
        if spec.get("priority") not in (None, priority):
            raise refused(
                attributes,
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
                f"priority admission controller computed {priority} from the given PriorityClass name",
            )
        if spec.get("preemptionPolicy") not in (None, policy):
            raise refused(
                attributes,
                f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
                f"priority admission controller computed {policy} from the given PriorityClass name",
            )
        spec["priority"], spec["preemptionPolicy"] = priority, policy

    def rests_on(self, _: Attributes) -> Sequence[Kind] | None:
        return (self._kind,)

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        obj = attributes.object
        if attributes.call.kind.name != "PriorityClass" or obj is None or not obj.get("globalDefault"):
            return None
        return self._validate(attributes, obj)

    async def _validate(self, attributes: Attributes, obj: Json) -> None:
        default = self._default_class(await self._registry.cache(self._kind))
        if default is not None and default["metadata"]["name"] != obj["metadata"].get("name"):
            raise refused(
                attributes,
                f"PriorityClass {default['metadata']['name']} is already marked as default. Only one default can exist",
            )

    def _resolve(self, attributes: Attributes, cache: Cache, name: str) -> tuple[str, int, str]:
        if not name:
            found = self._default_class(cache)
            if found is None:
                return "", DEFAULT_PRIORITY, DEFAULT_POLICY
        else:
            item = cache.get("", name)
            if item is None:
                raise refused(attributes, f"no PriorityClass with name {name} was found")
            found = orjson.loads(item.body)
        return found["metadata"]["name"], found.get("value", 0), found.get("preemptionPolicy") or DEFAULT_POLICY

    def _default_class(self, cache: Cache) -> Json | None:
        """The class of pods that name none; of several the one with the least priority."""
        seen, found = self._default
        if seen != cache.changed_at:
            marked: list[Json] = [
                orjson.loads(item.body) for item in cache.list() if b'"globalDefault":true' in item.body
            ]
            found = min(marked, key=lambda one: (one.get("value", 0), one["metadata"]["name"]), default=None)
            self._default = (cache.changed_at, found)
        return found
