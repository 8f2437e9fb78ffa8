"""The nftables rules of a node: computed from its service ports, as values; nothing is applied here.

One table has three maps that find a packet's chain by one look-up each, however many Services there are: `services`
(by address, protocol and port), `node-ports` and `no-endpoints`. The layout follows upstream's nftables proxier.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kobune.node.proxy.endpoints import Endpoint, ServicePortRules

MASQUERADE_MARK = 0x4000  # Source: upstream, iptablesMasqueradeBit 14.
SERVICES, NODE_PORTS, NO_ENDPOINTS, NO_NODE_PORTS = "services", "node-ports", "no-endpoints", "no-endpoint-node-ports"
CLUSTER_IPS, HAIRPIN = "cluster-ips", "hairpin"
_KEY = "ipv4_addr . inet_proto . inet_service"
_PORT_KEY = "inet_proto . inet_service"
_LOOKUP = "ip daddr . meta l4proto . th dport vmap"
MAP_TYPES = {
    SERVICES: f"{_KEY} : verdict",
    NODE_PORTS: f"{_PORT_KEY} : verdict",
    NO_ENDPOINTS: f"{_KEY} : verdict",
    NO_NODE_PORTS: f"{_PORT_KEY} : verdict",
}
SET_TYPES = {CLUSTER_IPS: "ipv4_addr", HAIRPIN: f"ipv4_addr . ipv4_addr . {_PORT_KEY}"}


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What varies in the table.

    Args:
        chains: by name, their rules in order.
        maps: by name, from key to verdict; sets: by name, their elements.
        affinities: sets that remember clients, by name, with their time-outs in seconds.
    """

    chains: Mapping[str, Sequence[str]] = field(default_factory=dict)
    maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    affinities: Mapping[str, int] = field(default_factory=dict)


def base_chains(*, node_ports: bool) -> dict[str, tuple[str, Sequence[str]]]:
    """The chains that packets enter by: their hook, and their rules.

    Args:
        node_ports: whether this machine's own addresses answer on node ports.
    """
    local = "fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap"
    dispatch = [f"{_LOOKUP} @{SERVICES}", *([f"{local} @{NODE_PORTS}"] if node_ports else [])]
    refuse = [f"ct state new {_LOOKUP} @{NO_ENDPOINTS}", *([f"ct state new {local} @{NO_NODE_PORTS}"] if node_ports else []),
              f"ct state new ip daddr @{CLUSTER_IPS} reject"]  # fmt: skip
    return {
        "nat-prerouting": ("type nat hook prerouting priority -100", dispatch),
        "nat-output": ("type nat hook output priority -100", dispatch),
        "nat-postrouting": (
            "type nat hook postrouting priority 100",
            [
                f"meta mark & {MASQUERADE_MARK:#x} != 0 meta mark set meta mark ^ {MASQUERADE_MARK:#x} masquerade",
                f"ct status dnat ip saddr . ip daddr . meta l4proto . th dport @{HAIRPIN} masquerade",
            ],
        ),
        "filter-input": ("type filter hook input priority -110", refuse),
        "filter-forward": ("type filter hook forward priority -110", refuse),
        # After nat-output, or it would refuse what that one is about to send on.
        "filter-output": ("type filter hook output priority -90", refuse),
    }


REJECT = "reject-all"


def ruleset(ports: Iterable[ServicePortRules], *, local_range: str) -> Ruleset:
    """The rules that serve these ports.

    Args:
        local_range: where this node's own pods live; their traffic to an external address is internal traffic.
    """
    build = _Builder(local_range)
    for port in ports:
        build.add(port)
    return Ruleset(
        chains=build.chains,
        maps=build.maps,
        sets={name: frozenset(elements) for name, elements in build.sets.items()},
        affinities=build.affinities,
    )


class _Builder:
    def __init__(self, local_range: str) -> None:
        self.chains: dict[str, Sequence[str]] = {REJECT: ["reject"]}
        self.maps: dict[str, dict[str, str]] = {name: {} for name in MAP_TYPES}
        self.sets: dict[str, set[str]] = {name: set() for name in SET_TYPES}
        self.affinities: dict[str, int] = {}
        self._local_range = local_range

    def add(self, port: ServicePortRules) -> None:
        key = f"{port.cluster_ip} . {port.protocol} . {port.port}"
        self.sets[CLUSTER_IPS].add(port.cluster_ip)
        for endpoint in {*port.cluster, *port.internal, *port.external}:
            self.sets[HAIRPIN].add(f"{endpoint.address} . {endpoint.address} . {port.protocol} . {endpoint.port}")
        if port.internal:
            self.maps[SERVICES][key] = f"goto {self._balance(port, port.internal, 'service')}"
        else:
            # A policy asked for local endpoints: others exist, and a client should wait for these rather than give up.
            self.maps[NO_ENDPOINTS][key] = "drop" if port.cluster else f"goto {REJECT}"
        self._add_external(port)

    def _add_external(self, port: ServicePortRules) -> None:
        keys = [f"{address} . {port.protocol} . {port.port}" for address in port.external_ips]
        node_key = f"{port.protocol} . {port.node_port}" if port.node_port else ""
        if port.cluster and (keys or node_key):
            verdict = f"goto {self._outside(port)}"
            self.maps[SERVICES] |= dict.fromkeys(keys, verdict)
            if node_key:
                self.maps[NODE_PORTS][node_key] = verdict
        else:
            self.maps[NO_ENDPOINTS] |= dict.fromkeys(keys, f"goto {REJECT}")
            if node_key:
                self.maps[NO_NODE_PORTS][node_key] = f"goto {REJECT}"

    def _outside(self, port: ServicePortRules) -> str:
        """The chain for traffic from outside the cluster."""
        name = _chain("external", port.name)
        everyone = self._balance(port, port.cluster, "service" if port.internal == port.cluster else "cluster")
        mark = f"meta mark set meta mark | {MASQUERADE_MARK:#x}"
        if not port.local_external:
            # The endpoint may be on another node, and its answer must come back this way.
            self.chains[name] = [mark, f"goto {everyone}"]
            return name
        here = [f"goto {self._balance(port, port.external, 'local')}"] if port.external else ["drop"]
        self.chains[name] = [
            # Pods and programs of this node are no outsiders: they may use every endpoint.
            f"ip saddr {self._local_range} goto {everyone}",
            f"fib saddr type local {mark}",
            f"fib saddr type local goto {everyone}",
            *here,
        ]
        return name

    def _balance(self, port: ServicePortRules, endpoints: Sequence[Endpoint], role: str) -> str:
        """The chain that sends a connection to one of these endpoints."""
        name = _chain(role, port.name)
        if name in self.chains:
            return name
        if port.affinity_seconds:
            chains = [self._sticky(port, endpoint) for endpoint in endpoints]
            rules = [f"ip saddr @{_set(chain)} goto {chain}" for chain in chains]
            choice = ", ".join(f"{number} : goto {chain}" for number, chain in enumerate(chains))
            self.chains[name] = [*rules, f"numgen random mod {len(chains)} vmap {{ {choice} }}"]
        elif len(endpoints) == 1:
            self.chains[name] = [f"meta l4proto {port.protocol} dnat ip to {endpoints[0].address}:{endpoints[0].port}"]
        else:
            choice = ", ".join(f"{number} : {each.address} . {each.port}" for number, each in enumerate(endpoints))
            spread = f"numgen random mod {len(endpoints)} map {{ {choice} }}"
            self.chains[name] = [f"meta l4proto {port.protocol} dnat ip addr . port to {spread}"]
        return name

    def _sticky(self, port: ServicePortRules, endpoint: Endpoint) -> str:
        """The chain of one endpoint, which remembers the client that it was chosen for."""
        name = _chain("endpoint", f"{port.name}_{endpoint.address}.{endpoint.port}")
        self.affinities[_set(name)] = port.affinity_seconds
        self.chains[name] = [
            f"update @{_set(name)} {{ ip saddr }}",
            f"meta l4proto {port.protocol} dnat ip to {endpoint.address}:{endpoint.port}",
        ]
        return name


def _chain(role: str, name: str) -> str:
    """Names are cut at a length, so a digest keeps them apart."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:8].upper()
    return f"{role}-{digest}-{name}".rstrip("/")[:120]


def _set(chain: str) -> str:
    return f"affinity-{chain}"[:120]
