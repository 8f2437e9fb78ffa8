"""Which devices there are, and which of them would satisfy a pod's claims on a node. Pure.

Source: Kubernetes documentation, Dynamic Resource Allocation; upstream dynamic-resource-allocation/structured.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from kobune.api.errors import Json
from kobune.api.objects.core import Node, NodeSelector
from kobune.api.objects.meta import Key
from kobune.controlplane.scheduler.device_capacity import Shares, as_quantity, fits, share_of
from kobune.controlplane.scheduler.device_cel import seen, selects
from kobune.controlplane.scheduler.node_rules import compile_selector
from kobune.controlplane.scheduler.views import DeviceClass, ResourceClaim, ResourceSlice

MOST_DEVICES = 32  # Of one claim. Source: resource.k8s.io AllocationResultsMaxSize.
MOST_ALTERNATIVES = 8  # Of one request. Source: resource.k8s.io FirstAvailableDeviceRequestMaxSize.
BLOCKING = ("NoSchedule", "NoExecute")


class DeviceId(NamedTuple):
    driver: str
    pool: str
    name: str


class CounterId(NamedTuple):
    """Something that devices of one pool share, as the memory of a card that can be divided."""

    driver: str
    pool: str
    counter_set: str
    counter: str


Counters = dict[CounterId, int]  # In thousandths, as quantities are compared.


@dataclass(frozen=True, slots=True, eq=False)
class Device:
    """A device as its driver publishes it, and where it can be used."""

    id: DeviceId
    attributes: Mapping[str, tuple[str, Any]]  # By qualified name: kind ("string", "int", "bool", "version") and value.
    taints: tuple[Json, ...]
    node_name: str = ""
    selector: Json | None = None
    everywhere: bool = False
    capacity: Mapping[str, Json] = field(default_factory=dict)  # As published.
    is_shared: bool = False  # Several claims may use it at once, each for a part of its capacity.
    consumes: tuple[tuple[CounterId, int], ...] = ()  # What it takes of shared counters while it is in use.
    binding_conditions: tuple[str, ...] = ()  # What must be true of it before its pod is bound.
    failure_conditions: tuple[str, ...] = ()  # What, when true, says that it cannot be had after all.
    binds_to_node: bool = False  # Once allocated it can be used on that node alone.

    def is_on(self, node: Node) -> bool:
        if self.everywhere or self.node_name == node.name:
            return True
        if self.selector is None:
            return False
        terms = compile_selector(msgspec.convert(self.selector, NodeSelector))
        return any(term.accepts(node) for term in terms)


class Request(NamedTuple):
    """One request, or one of its alternatives, for devices."""

    name: str  # "gpu", or "gpu/large" for an alternative.
    class_name: str
    number: int  # How many; 0: all that match.
    selectors: tuple[str, ...]
    tolerations: tuple[Json, ...]
    admin: bool
    capacity: Mapping[str, int]  # What it wants of each capacity.


class Grant(NamedTuple):
    request: Request
    device: Device
    shares: Shares | None = None  # What it takes of a shared device.


class Inventory:
    """The devices of all complete pools."""

    def __init__(self, slices: Iterable[ResourceSlice]) -> None:
        pools = _in_order(_complete_pools(slices))
        self.devices = list(_devices(pools))
        self.counters: Counters = dict(_counters(pools))
        self._sharing = {device.id: device for device in self.devices if device.consumes}
        self._matches: dict[tuple[str, DeviceId], bool] = {}
        self._seen: dict[DeviceId, Json] = {}

    def on(self, node: Node) -> list[Device]:
        """The devices that can be used on a node, in the order in which they are tried."""
        return [device for device in self.devices if device.is_on(node)]

    def matches(self, expression: str, device: Device) -> bool:
        """Whether a selector selects a device; remembered."""
        key = (expression, device.id)
        known = self._matches.get(key)
        if known is None:
            try:
                known = selects(expression, self._as_seen(device))
            except ValueError:
                known = False  # Admission lets no such expression in; if one came, it selects nothing.
            self._matches[key] = known
        return known

    def _as_seen(self, device: Device) -> Json:
        known = self._seen.get(device.id)
        if known is None:
            capacity = {_qualified(name, device.id.driver): one["value"] for name, one in device.capacity.items()}
            known = seen(device.id.driver, device.attributes, capacity, shared=device.is_shared)
            self._seen[device.id] = known
        return known

    def left(self, taken: Set[DeviceId]) -> Counters:
        """What the devices in use leave of the shared counters."""
        left = dict(self.counters)
        for device in (self._sharing[one] for one in self._sharing.keys() & taken):
            for counter, amount in device.consumes:
                left[counter] = left.get(counter, 0) - amount
        return left


class _Pool(NamedTuple):
    driver: str
    name: str
    slices: list[Json]  # Of the newest generation, all of them.


def _complete_pools(slices: Iterable[ResourceSlice]) -> Iterator[_Pool]:
    pools: dict[tuple[str, str], list[Json]] = {}
    for one in slices:
        spec = one.spec
        pools.setdefault((spec.get("driver", ""), spec["pool"]["name"]), []).append(spec)
    for (driver, pool), specs in pools.items():
        newest = max(spec["pool"].get("generation", 0) for spec in specs)
        current = [spec for spec in specs if spec["pool"].get("generation", 0) == newest]
        if len(current) < current[0]["pool"].get("resourceSliceCount", 1):
            continue  # The driver is still publishing.
        yield _Pool(driver, pool, current)


def _in_order(pools: Iterable[_Pool]) -> list[_Pool]:
    """As devices are tried: by driver and name, pools with devices that have to be waited for last."""
    return sorted(
        pools,
        key=lambda pool: (
            any(one.get("bindingConditions") for spec in pool.slices for one in spec.get("devices") or ()),
            pool.driver,
            pool.name,
        ),
    )


def _devices(pools: Iterable[_Pool]) -> Iterator[Device]:
    for pool in pools:
        for spec in pool.slices:
            for device in spec.get("devices") or ():
                yield _device(pool.driver, pool.name, spec, device)


def _counters(pools: Iterable[_Pool]) -> Iterator[tuple[CounterId, int]]:
    for pool in pools:
        for spec in pool.slices:
            for one in spec.get("sharedCounters") or ():
                yield from _amounts(pool.driver, pool.name, one["name"], one)


def _amounts(driver: str, pool: str, counter_set: str, holder: Json) -> Iterator[tuple[CounterId, int]]:
    for name, value in (holder.get("counters") or {}).items():
        yield CounterId(driver, pool, counter_set, name), as_quantity(value["value"])


def _device(driver: str, pool: str, spec: Json, device: Json) -> Device:
    where = device if spec.get("perDeviceNodeSelection") else spec
    attributes = {
        _qualified(name, driver): next(iter(value.items()))
        for name, value in (device.get("attributes") or {}).items()
        if value
    }
    return Device(
        DeviceId(driver, pool, device["name"]),
        attributes,
        tuple(device.get("taints") or ()),
        where.get("nodeName") or "",
        where.get("nodeSelector"),
        bool(where.get("allNodes")),
        device.get("capacity") or {},
        bool(device.get("allowMultipleAllocations")),
        tuple(
            amount
            for one in device.get("consumesCounters") or ()
            for amount in _amounts(driver, pool, one["counterSet"], one)
        ),
        tuple(device.get("bindingConditions") or ()),
        tuple(device.get("bindingFailureConditions") or ()),
        bool(device.get("bindsToNode")),
    )


def _qualified(name: str, driver: str) -> str:
    return name if "/" in name else f"{driver}/{name}"


def requests_of(claim: ResourceClaim) -> list[list[Request]]:
    """The claim's requests, each as its alternatives in order of preference."""
    return [_alternatives(request) for request in (claim.spec.get("devices") or {}).get("requests") or ()]


def preference_of(claim: ResourceClaim) -> dict[str, int]:
    """What each alternative of the claim's requests is worth: the first one most. Empty when there are none."""
    requests = [one for one in (claim.spec.get("devices") or {}).get("requests") or () if one.get("firstAvailable")]
    return {
        alternative.name: MOST_ALTERNATIVES - place
        for request in requests
        for place, alternative in enumerate(_alternatives(request))
    }


def _alternatives(request: Json) -> list[Request]:
    name = request["name"]
    if request.get("firstAvailable"):
        return [_request(f"{name}/{one['name']}", one) for one in request["firstAvailable"]]
    return [_request(name, request.get("exactly") or {})]


def _request(name: str, exact: Json) -> Request:
    everything = exact.get("allocationMode") == "All"
    return Request(
        name,
        exact.get("deviceClassName", ""),
        0 if everything else exact.get("count") or 1,
        tuple(one["cel"]["expression"] for one in exact.get("selectors") or () if one.get("cel")),
        tuple(exact.get("tolerations") or ()),
        bool(exact.get("adminAccess")),
        {name: as_quantity(value) for name, value in ((exact.get("capacity") or {}).get("requests") or {}).items()},
    )


def allocate(
    claim: ResourceClaim,
    free: Sequence[Device],
    present: Sequence[Device],
    classes: Mapping[Key, DeviceClass],
    inventory: Inventory,
    left: Counters,
    shares: Mapping[DeviceId, Sequence[Shares]],
) -> list[Grant] | None:
    """Devices for every request of one claim that keep its constraints together; None when there are none.

    Args:
        free: the node's devices that nobody has; `present`: all of them, for administrative access.
        left: what is left of the shared counters.
        shares: what others have of devices that are shared.
    """
    constraints = (claim.spec.get("devices") or {}).get("constraints") or ()
    search = _Search(free, present, classes, inventory, constraints, left, shares)
    grants: list[Grant] = []
    return grants if search.fill(requests_of(claim), grants) and len(grants) <= MOST_DEVICES else None


class _Search:
    """Depth first over requests, alternatives and devices."""

    def __init__(
        self,
        free: Sequence[Device],
        present: Sequence[Device],
        classes: Mapping[Key, DeviceClass],
        inventory: Inventory,
        constraints: Sequence[Json],
        left: Counters,
        shares: Mapping[DeviceId, Sequence[Shares]],
    ) -> None:
        self._left, self._shares = left, shares
        self._free, self._present, self._classes = free, present, classes
        self._inventory, self._constraints = inventory, constraints

    def fill(self, requests: Sequence[Sequence[Request]], grants: list[Grant]) -> bool:
        """Grant devices to all requests, or leave `grants` as it was."""
        if not requests:
            return True
        first, rest = requests[0], requests[1:]
        return any(self._grant(request, rest, grants) for request in first)

    def _grant(self, request: Request, rest: Sequence[Sequence[Request]], grants: list[Grant]) -> bool:
        candidates = [
            device for device in (self._present if request.admin else self._free) if self._suits(request, device)
        ]
        if request.number:
            return self._take(request, request.number, candidates, rest, grants)
        if not candidates:
            return False
        if not request.admin and len(candidates) < sum(self._suits(request, device) for device in self._present):
            return False  # "All" means all, and somebody has one of them.
        before = len(grants)
        for device in candidates:
            if not self._may(request, device, grants):
                del grants[before:]
                return False
            grants.append(_grant(request, device))
        if self.fill(rest, grants):
            return True
        del grants[before:]
        return False

    def _take(
        self,
        request: Request,
        count: int,
        candidates: Sequence[Device],
        rest: Sequence[Sequence[Request]],
        grants: list[Grant],
    ) -> bool:
        if not count:
            return self.fill(rest, grants)
        for index, device in enumerate(candidates):
            if self._may(request, device, grants):
                grants.append(_grant(request, device))
                following = index if device.is_shared else index + 1
                if self._take(request, count - 1, candidates[following:], rest, grants):
                    return True
                grants.pop()
        return False

    def _suits(self, request: Request, device: Device) -> bool:
        device_class = self._classes.get(Key("", request.class_name))
        if device_class is None or not _tolerated(device, request.tolerations):
            return False
        of_class = [one["cel"]["expression"] for one in device_class.spec.get("selectors") or () if one.get("cel")]
        return all(self._inventory.matches(expression, device) for expression in (*of_class, *request.selectors))

    def _may(self, request: Request, device: Device, grants: Sequence[Grant]) -> bool:
        """Not granted twice within the claim, in keeping with the constraints, and with enough left of what it shares."""
        own = [grant for grant in grants if grant.device is device]
        if own and not device.is_shared:
            return False
        wanted = share_of(device.capacity, request.capacity) if device.is_shared or request.capacity else {}
        if wanted is None:
            return False
        in_use = bool(own or self._shares.get(device.id))
        if device.is_shared and not request.admin:
            others = [*self._shares.get(device.id, ()), *(grant.shares or {} for grant in own)]
            if not fits(device.capacity, [*others, wanted]):
                return False
        if device.consumes and not in_use and not request.admin and not self._has_counters(device, grants):
            return False
        return all(_keeps(constraint, request, device, grants) for constraint in self._constraints)

    def _has_counters(self, device: Device, grants: Sequence[Grant]) -> bool:
        spent: Counters = {}
        for grant in grants:
            for counter, amount in grant.device.consumes if not grant.request.admin else ():
                spent[counter] = spent.get(counter, 0) + amount
        return all(self._left.get(counter, 0) - spent.get(counter, 0) >= amount for counter, amount in device.consumes)


def _grant(request: Request, device: Device) -> Grant:
    shared = device.is_shared and not request.admin
    return Grant(request, device, share_of(device.capacity, request.capacity) if shared else None)


def _tolerated(device: Device, tolerations: Sequence[Json]) -> bool:
    for taint in device.taints:
        if taint.get("effect") not in BLOCKING:
            continue
        if not any(_tolerates(one, taint) for one in tolerations):
            return False
    return True


def _tolerates(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("value", "") == taint.get("value", ""))


def _keeps(constraint: Json, request: Request, device: Device, grants: Sequence[Grant]) -> bool:
    def concerned(name: str) -> bool:
        wanted = constraint.get("requests") or ()
        return not wanted or name in wanted or name.partition("/")[0] in wanted

    if not concerned(request.name):
        return True
    others = [grant.device for grant in grants if concerned(grant.request.name)]
    same, distinct = constraint.get("matchAttribute"), constraint.get("distinctAttribute")
    if same:
        value = device.attributes.get(same)
        return value is not None and all(other.attributes.get(same) == value for other in others)
    if distinct:
        value = device.attributes.get(distinct)
        return value is not None and all(other.attributes.get(distinct) != value for other in others)
    return True
