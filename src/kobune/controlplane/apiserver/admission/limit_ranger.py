"""LimitRanger: a namespace's default, least and greatest amounts for containers, pods and claims."""

from collections.abc import Awaitable, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.api.quantity import canonical, parse_quantity
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.store.selection import Selection

ANNOTATION = "kubernetes.io/limit-ranger"
COMPUTE = ("cpu", "memory")


class Amounts(NamedTuple):
    """What something requests and what it is limited to, by resource, as written."""

    requests: Json
    limits: Json


class LimitRanger:
    name = "LimitRanger"
    operations = ("CREATE", "UPDATE")
    resources = ("pods", "persistentvolumeclaims")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kind = registry.builtin("", "v1", "LimitRange")

    def admit(self, attributes: Attributes) -> Awaitable[None] | None:
        wanted = attributes.call.kind.name == "Pod" and attributes.operation == "CREATE"
        return self._admit(attributes) if wanted and self._has_any() else None

    def rests_on(self, _: Attributes) -> Sequence[Kind] | None:
        return (self._kind,)

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        # What a pod may take is settled when it is made; a claim may be resized.
        is_pod = attributes.call.kind.name == "Pod"
        wanted = attributes.operation == "CREATE" or not is_pod
        return self._validate(attributes) if wanted and self._has_any() else None

    def _has_any(self) -> bool:
        cache = self._registry.open_cache(self._kind)
        return cache is None or len(cache) > 0

    async def _limits(self, attributes: Attributes) -> list[Json]:
        cache = await self._registry.cache(self._kind)
        ranges: list[Json] = [orjson.loads(item.body) for item in cache.list(Selection(attributes.call.namespace))]
        return [limit for one in ranges for limit in (one.get("spec") or {}).get("limits") or ()]

    async def _admit(self, attributes: Attributes) -> None:
        assert attributes.object is not None
        defaults = Amounts({}, {})
        for limit in await self._limits(attributes):
            if limit.get("type") == "Container":
                defaults.requests.update(limit.get("defaultRequest") or {})
                defaults.limits.update(limit.get("default") or {})
        if not defaults.requests and not defaults.limits:
            return
        notes: list[str] = []
        spec = attributes.object["spec"]
        for field, what in (("containers", "container"), ("initContainers", "init container")):
            for container in spec.get(field) or ():
                notes += _fill(container, defaults, what)
        if notes:
            annotations = attributes.object["metadata"].get("annotations") or {}
            text = "LimitRanger plugin set: " + "; ".join(notes)
            attributes.object["metadata"]["annotations"] = {**annotations, ANNOTATION: text}

    async def _validate(self, attributes: Attributes) -> None:
        assert attributes.object is not None
        spec, faults = attributes.object.get("spec") or {}, list[str]()
        is_pod = attributes.call.kind.name == "Pod"
        for limit in await self._limits(attributes):
            sort = limit.get("type")
            if sort == "Container" and is_pod:
                for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
                    faults += constraints(limit, _amounts(container))
            elif sort == "Pod" and is_pod:
                faults += constraints(limit, pod_amounts(spec))
            elif sort == "PersistentVolumeClaim" and not is_pod:
                requests = _amounts(spec).requests
                only: Json = {"type": sort, "min": limit.get("min")}
                faults += constraints(only, Amounts(requests, {}))
                faults += _greatest_request(limit, requests)
        if faults:
            unique = list(dict.fromkeys(faults))
            raise refused(attributes, unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]")


def constraints(limit: Json, amounts: Amounts) -> list[str]:
    """What breaks a limit, in upstream's words."""
    sort, faults = limit["type"], list[str]()
    for name, least in sorted((limit.get("min") or {}).items()):
        request, most = amounts.requests.get(name), amounts.limits.get(name)
        said = f"minimum {name} usage per {sort} is {canonical(least)}"
        if request is None:
            faults.append(f"{said}.  No request is specified")
        elif parse_quantity(request) < parse_quantity(least):
            faults.append(f"{said}, but request is {canonical(request)}")
        elif most is not None and parse_quantity(most) < parse_quantity(least):
            faults.append(f"{said}, but limit is {canonical(most)}")
    for name, greatest in sorted((limit.get("max") or {}).items()):
        request, most = amounts.requests.get(name), amounts.limits.get(name)
        said = f"maximum {name} usage per {sort} is {canonical(greatest)}"
        if most is None:
            faults.append(f"{said}.  No limit is specified")
        elif parse_quantity(most) > parse_quantity(greatest):
            faults.append(f"{said}, but limit is {canonical(most)}")
        elif request is not None and parse_quantity(request) > parse_quantity(greatest):
            faults.append(f"{said}, but request is {canonical(request)}")
    for name, ratio in sorted((limit.get("maxLimitRequestRatio") or {}).items()):
        faults += _ratio(sort, name, ratio, amounts)
    return faults


def pod_amounts(spec: Json) -> Amounts:
    """What a whole pod requests and is limited to: its containers together, or one greedier init container.

    Source: upstream limitranger podRequests and podLimits.
    """
    own = spec.get("resources") or {}
    return Amounts(
        _total(spec, "requests") | {name: one for name, one in (own.get("requests") or {}).items() if name in COMPUTE},
        _total(spec, "limits") | {name: one for name, one in (own.get("limits") or {}).items() if name in COMPUTE},
    )


def _total(spec: Json, field: str) -> Json:
    total: dict[str, Fraction] = {}
    for container in spec.get("containers") or ():
        _add(total, (container.get("resources") or {}).get(field) or {})
    sidecars: dict[str, Fraction] = {}
    greatest: dict[str, Fraction] = {}
    for container in spec.get("initContainers") or ():
        amounts = (container.get("resources") or {}).get(field) or {}
        if container.get("restartPolicy") == "Always":
            _add(total, amounts)
            _add(sidecars, amounts)
            together = dict(sidecars)
        else:
            together = dict(sidecars)
            _add(together, amounts)
        for name, amount in together.items():
            greatest[name] = max(greatest.get(name, Fraction(0)), amount)
    for name, amount in greatest.items():
        total[name] = max(total.get(name, Fraction(0)), amount)
    return {name: _written(name, amount) for name, amount in total.items()}


def _written(name: str, amount: Fraction) -> str:
    return f"{int(amount * 1000)}m" if name == "cpu" else str(int(amount))


def _add(total: dict[str, Fraction], amounts: Json) -> None:
    for name, amount in amounts.items():
        total[name] = total.get(name, Fraction(0)) + Fraction(parse_quantity(amount))


def _ratio(sort: str, name: str, ratio: str, amounts: Amounts) -> Iterable[str]:
    request, most = amounts.requests.get(name), amounts.limits.get(name)
    said = f"{name} max limit to request ratio per {sort} is {canonical(ratio)}"
    if request is None or not parse_quantity(request):
        return [f"{said}, but no request is specified or request is 0"]
    if most is None or not parse_quantity(most):
        return [f"{said}, but no limit is specified or limit is 0"]
    actual = Fraction(parse_quantity(most)) / Fraction(parse_quantity(request))
    return [f"{said}, but provided ratio is {float(actual):f}"] if actual > Fraction(parse_quantity(ratio)) else []


def _greatest_request(limit: Json, requests: Json) -> list[str]:
    faults = []
    for name, greatest in sorted((limit.get("max") or {}).items()):
        said = f"maximum {name} usage per {limit['type']} is {canonical(greatest)}"
        if name not in requests:
            faults.append(f"{said}.  No request is specified")
        elif parse_quantity(requests[name]) > parse_quantity(greatest):
            faults.append(f"{said}, but request is {canonical(requests[name])}")
    return faults


def _amounts(holder: Json) -> Amounts:
    resources = holder.get("resources") or {}
    return Amounts(resources.get("requests") or {}, resources.get("limits") or {})


def _fill(container: Json, defaults: Amounts, what: str) -> list[str]:
    """Give a container what it lacks; what was given, as the annotation says it."""
    resources, notes = container.setdefault("resources", {}), []
    for field, given, word in (("requests", defaults.requests, "request"), ("limits", defaults.limits, "limit")):
        missing = {name: amount for name, amount in given.items() if name not in (resources.get(field) or {})}
        if missing:
            resources[field] = {**(resources.get(field) or {}), **missing}
            notes.append(f"{', '.join(sorted(missing))} {word} for {what} {container['name']}")
    return notes
