"""Gives Services their cluster addresses and node ports. Source: upstream registry/core/service/storage/alloc.go."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from kobune.api.errors import Json, invalid
from kobune.api.field_errors import invalid as invalid_field
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.services.ranges import AddressRanges
from kobune.controlplane.apiserver.services.reservations import AddressRange, PortRange, RangeFull, Reservations, Taken

NODE_PORT_TYPES = ("NodePort", "LoadBalancer")
NOT_OURS = "the provided network does not match the current range"  # Source: upstream ErrMismatchedNetwork.
IP_TAKEN = "provided IP is already allocated"
PORT_TAKEN = "provided port is already allocated"

Undo = Callable[[], Awaitable[None]]


class ServiceAllocation:
    """What one write takes and lets go."""

    def __init__(self) -> None:
        self.taken: list[Undo] = []
        self.freed: list[Undo] = []

    async def commit(self) -> None:
        for free in self.freed:
            await free()

    async def abandon(self) -> None:
        for free in self.taken:
            await free()


class ServiceAllocator:
    def __init__(self, reservations: Reservations, ranges: AddressRanges, ports: PortRange) -> None:
        self._reservations = reservations
        self._ranges = ranges
        self._addresses = ranges.first  # An address is kept under the same key whichever range it is of.
        self._ports = ports

    async def allocate(self, call: Call, new: Json, old: Json | None) -> ServiceAllocation:
        """Complete the Service, taking what it lacks. Raises Invalid when it names what is taken."""
        allocation = ServiceAllocation()
        if call.subresource:
            return allocation
        if old is not None:
            carry_over(new, old)
        owner = f"{call.namespace}/{new['metadata'].get('name', '')}"
        try:
            await self._allocate_address(call, new, old, owner, allocation)
            await self._allocate_ports(call, new, old, owner, allocation)
        except BaseException:
            await allocation.abandon()
            raise
        return allocation

    async def release(self, obj: Json) -> None:
        for address in addresses_of(obj):
            await self._reservations.free(self._addresses, address)
        for port in node_ports_of(obj):
            await self._reservations.free(self._ports, str(port))

    async def _allocate_address(
        self, call: Call, new: Json, old: Json | None, owner: str, allocation: ServiceAllocation
    ) -> None:
        spec = new["spec"]
        before = addresses_of(old) if old else []
        if spec.get("type") != "ExternalName":
            _complete_families(spec)
            wanted = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
            if wanted != "None" and wanted not in before:
                wanted = await self._take_address(call, new, wanted, owner, allocation)
            spec["clusterIP"], spec["clusterIPs"] = wanted, [wanted]
        if not call.options.dry_run:
            for address in set(before) - set(addresses_of(new)):
                allocation.freed.append(self._freeing(self._addresses, address))

    async def _take_address(self, call: Call, new: Json, wanted: str, owner: str, allocation: ServiceAllocation) -> str:
        reservations = self._reservations
        try:
            ranges = await self._ranges.ready()
            if wanted:
                ranges = [each for each in ranges if each.holds(wanted)][:1]
                if not ranges:
                    raise Taken(NOT_OURS)
            if call.options.dry_run:
                if wanted and not await reservations.is_free(ranges[0], wanted):
                    raise Taken(IP_TAKEN)
                return wanted or ranges[0].name(ranges[0].size - 1)
            if wanted:
                await reservations.take(ranges[0], wanted, owner, already=IP_TAKEN)
            else:
                wanted = await self._take_any(ranges, owner)
        except (Taken, ValueError) as error:
            fault = invalid_field("spec.clusterIPs", [wanted], f"failed to allocate IP {wanted}: {error}")
            raise invalid("Service", new["metadata"].get("name", ""), fault) from error
        allocation.taken.append(self._freeing(self._addresses, wanted))
        return wanted

    async def _take_any(self, ranges: Sequence[AddressRange], owner: str) -> str:
        """From the first range that has any left."""
        for each in ranges[:-1]:
            with suppress(RangeFull):
                return await self._reservations.take_any(each, owner)
        return await self._reservations.take_any(ranges[-1], owner)

    async def _allocate_ports(
        self, call: Call, new: Json, old: Json | None, owner: str, allocation: ServiceAllocation
    ) -> None:
        spec, before = new["spec"], node_ports_of(old) if old else set()
        held = set(before)
        if spec.get("type") in NODE_PORT_TYPES:
            give = spec.get("type") == "NodePort" or spec.get("allocateLoadBalancerNodePorts", True) is not False
            by_port: dict[Any, int] = {}  # One number for TCP and UDP of the same port.
            for position, port in enumerate(spec.get("ports") or ()):
                number = port.get("nodePort") or by_port.get(port.get("port"), 0)
                if not number and not give:
                    continue
                if number not in held:
                    field = f"spec.ports[{position}].nodePort"
                    number = await self._take_port(call, new, number, owner, field, allocation)
                    held.add(number)
                port["nodePort"] = number
                by_port.setdefault(port.get("port"), number)
            if spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
                number = spec.get("healthCheckNodePort") or 0
                if number not in held:
                    number = await self._take_port(call, new, number, owner, "spec.healthCheckNodePort", allocation)
                spec["healthCheckNodePort"] = number
        if not call.options.dry_run:
            for number in before - node_ports_of(new):
                allocation.freed.append(self._freeing(self._ports, str(number)))

    async def _take_port(
        self, call: Call, new: Json, number: int, owner: str, field: str, allocation: ServiceAllocation
    ) -> int:
        reservations = self._reservations
        try:
            if call.options.dry_run:
                if number and not await reservations.is_free(self._ports, str(number)):
                    raise Taken(PORT_TAKEN)
                return number or int(self._ports.name(self._ports.size - 1))
            if number:
                await reservations.take(self._ports, str(number), owner, already=PORT_TAKEN)
            else:
                number = int(await reservations.take_any(self._ports, owner))
        except Taken as error:
            raise invalid(
                "Service", new["metadata"].get("name", ""), invalid_field(field, number, str(error))
            ) from error
        allocation.taken.append(self._freeing(self._ports, str(number)))
        return number

    def _freeing(self, range_: AddressRange | PortRange, name: str) -> Undo:
        return lambda: self._reservations.free(range_, name)


def carry_over(new: Json, old: Json) -> None:
    """What the client leaves out it keeps, what its new type has no use for it loses.

    Source: upstream patchAllocatedValues and dropTypeDependentFields.
    """
    spec, before = new["spec"], old["spec"]
    kind, was = spec.get("type", "ClusterIP"), before.get("type", "ClusterIP")
    if kind == "ExternalName":
        if was != "ExternalName":
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if spec.get(field) == before.get(field):
                    spec.pop(field, None)
    elif was != "ExternalName":
        if not spec.get("clusterIP") and not spec.get("clusterIPs"):
            for field in ("clusterIP", "clusterIPs"):
                if before.get(field):
                    spec[field] = before[field]
        elif spec.get("clusterIP") != before.get("clusterIP") and spec.get("clusterIPs") == before.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]] if spec.get("clusterIP") else []
    if kind in NODE_PORT_TYPES and was in NODE_PORT_TYPES:
        numbers = {(one.get("protocol"), one.get("port")): one.get("nodePort") for one in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            number = numbers.get((port.get("protocol"), port.get("port")))
            if number and not port.get("nodePort"):
                port["nodePort"] = number
        if kind == "LoadBalancer" and before.get("healthCheckNodePort") and not spec.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = before["healthCheckNodePort"]
    elif kind not in NODE_PORT_TYPES and was in NODE_PORT_TYPES and node_ports_of(new) <= node_ports_of(old):
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)
        for field in ("externalTrafficPolicy", "healthCheckNodePort"):
            if spec.get(field) == before.get(field):
                spec.pop(field, None)
    if was == "LoadBalancer" and kind != "LoadBalancer":
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(field) == before.get(field):
                spec.pop(field, None)
        new["status"] = {"loadBalancer": {}}


def _complete_families(spec: Json) -> None:
    headless = spec.get("clusterIP") == "None"
    selects = bool(spec.get("selector"))
    if not spec.get("ipFamilyPolicy"):
        spec["ipFamilyPolicy"] = "RequireDualStack" if headless and not selects else "SingleStack"
    if not spec.get("ipFamilies"):
        both = headless and not selects and spec["ipFamilyPolicy"] != "SingleStack"
        spec["ipFamilies"] = ["IPv4", "IPv6"] if both else ["IPv4"]


def addresses_of(service: Json) -> list[str]:
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return []
    given = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [address for address in given if address != "None"]


def node_ports_of(service: Json) -> set[int]:
    spec = service.get("spec") or {}
    ports = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
    if spec.get("healthCheckNodePort"):
        ports.add(spec["healthCheckNodePort"])
    return ports
