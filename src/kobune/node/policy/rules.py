"""From NetworkPolicies to a table of packet rules for the pods of one node. Pure.

A packet is judged where it is forwarded: on its sender's node by what the sender may do, on its receiver's by whom that one
lets in. Services' addresses have been translated by then. What belongs to a connection that was let through passes.
Cluster DNS, which the node itself answers, is judged as the pod in whose place it stands.
Source: the API reference of NetworkPolicy.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from kobune.api.objects.meta import Key
from kobune.api.selectors import labels_from_json
from kobune.node.policy.views import Namespace, NetworkPolicy, Peer, Pod, Port, Rule, dns_pod

# After the translation of Services' addresses, and beside kube-proxy's own refusals.
HOOK = "type filter hook forward priority filter; policy accept;"
OF_NODE = "type filter hook input priority filter; policy accept;"


class Way(StrEnum):
    INGRESS = "Ingress"
    EGRESS = "Egress"

    @property
    def other(self) -> str:
        """The field of a packet in which the other side's address stands."""
        return "ip saddr" if self is Way.INGRESS else "ip daddr"

    @property
    def own(self) -> str:
        return "ip daddr" if self is Way.INGRESS else "ip saddr"


@dataclass(frozen=True, slots=True)
class PolicyTable:
    """A node's rules.

    Attributes:
        chains: one for each set of permissions; whatever it does not let through is dropped.
        verdicts: of each way, the chain of each address that has one.
        sets: addresses, by the name under which chains refer to them; `ports`: address, protocol and port together.
        dns: the address of cluster DNS, packets to which end on this node.
    """

    chains: Mapping[str, Sequence[str]] = field(default_factory=dict)
    verdicts: Mapping[Way, Mapping[str, str]] = field(default_factory=dict)
    sets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    ports: Mapping[str, frozenset[str]] = field(default_factory=dict)
    dns: str = ""


def policy_table(
    policies: Iterable[NetworkPolicy],
    pods: Iterable[Pod],
    namespaces: Mapping[Key, Namespace],
    *,
    node_name: str,
    dns_address: str = "",
) -> PolicyTable:
    """The rules of this node's pods. `dns_address`: where the node answers as cluster DNS; empty: it does not."""
    there = [pod for pod in pods if pod.address]
    if dns_address:
        there.append(dns_pod(dns_address, node_name))
    build = _Builder(there, namespaces)
    everyone = sorted(policies, key=lambda policy: policy.key)
    for pod in build.pods:
        if pod.spec.node_name != node_name:
            continue
        selecting = [policy for policy in everyone if _selects(policy, pod)]
        for way in Way:
            applying = [policy for policy in selecting if way in _ways(policy)]
            if applying:
                build.confine(pod, way, [rule for policy in applying for rule in _rules(policy, way)])
    return PolicyTable(build.chains, build.verdicts, build.sets, build.ports, dns_address if build.chains else "")


def render(table: str, rules: PolicyTable) -> str:
    """The transaction that makes the table anew."""
    lines = [f"add table ip {table}", f"delete table ip {table}", f"add table ip {table}"]
    for name, addresses in rules.sets.items():
        lines += _set(f"ip {table} {name}", "type ipv4_addr", addresses)
    for name, ports in rules.ports.items():
        lines += _set(f"ip {table} {name}", "type ipv4_addr . inet_proto . inet_service", ports)
    lines += [f"add chain ip {table} {name}" for name in rules.chains]
    for name, chain in rules.chains.items():
        lines += [f"add rule ip {table} {name} {rule}" for rule in (*chain, "drop")]
    own = sorted({address for verdicts in rules.verdicts.values() for address in verdicts})
    lines += _set(f"ip {table} own", "type ipv4_addr . ipv4_addr", {f"{each} . {each}" for each in own})
    for way in Way:
        name = way.value.lower()
        lines.append(f"add map ip {table} {name} {{ type ipv4_addr : verdict; }}")
        jumps = ", ".join(f"{address} : jump {chain}" for address, chain in rules.verdicts.get(way, {}).items())
        if jumps:
            lines.append(f"add element ip {table} {name} {{ {jumps} }}")
    judged = [f"{way.own} vmap @{way.value.lower()}" for way in (Way.EGRESS, Way.INGRESS)]
    known, oneself = (
        "ct state established,related accept",
        "ip saddr . ip daddr @own accept",
    )  # Nobody is kept from itself.
    lines.append(f"add chain ip {table} forward {{ {HOOK} }}")
    lines += [f"add rule ip {table} forward {rule}" for rule in (known, oneself, *judged)]
    if rules.dns:
        lines.append(f"add chain ip {table} input {{ {OF_NODE} }}")
        # The node itself may always ask.
        others = (f"ip daddr != {rules.dns} accept", "iif lo accept", known)
        lines += [f"add rule ip {table} input {rule}" for rule in (*others, *judged)]
    return "\n".join(lines) + "\n"


class _Builder:
    def __init__(self, pods: Sequence[Pod], namespaces: Mapping[Key, Namespace]) -> None:
        self.pods = sorted(pods, key=lambda pod: pod.key)
        self.chains: dict[str, Sequence[str]] = {}
        self.verdicts: dict[Way, dict[str, str]] = {way: {} for way in Way}
        self.sets: dict[str, frozenset[str]] = {}
        self.ports: dict[str, frozenset[str]] = {}
        self._namespaces = namespaces
        self._found: dict[tuple[str, str], list[Pod]] = {}  # Pods by peer and the policy's namespace.

    def confine(self, pod: Pod, way: Way, rules: Sequence[Rule]) -> None:
        """Let the pod have what these rules permit, and nothing else. They are of policies in the pod's namespace."""
        lines = list(dict.fromkeys(line for rule in rules for line in self._lines(pod, way, rule)))
        name = f"{way.value.lower()}-{_digest(lines)}"
        self.chains[name] = lines
        self.verdicts[way][pod.address] = name

    def _lines(self, pod: Pod, way: Way, rule: Rule) -> Iterable[str]:
        namespace = pod.metadata.namespace
        peers: Sequence[Peer | None] = rule.peers or [None]
        ports: Sequence[Port | None] = rule.ports or [None]
        for peer in peers:
            where = self._where(way, peer, namespace)
            for port in ports:
                if port is not None and isinstance(port.port, str) and way is Way.EGRESS:
                    yield from self._named_elsewhere(peer, port, port.port, namespace)
                else:
                    for match in _port_matches(port, pod):
                        yield " ".join(part for part in (where, match, "return") if part)

    def _where(self, way: Way, peer: Peer | None, namespace: str) -> str:
        """Which other sides are meant, as a packet's field."""
        if peer is None:
            return ""
        if peer.ip_block is not None:
            excluded = ", ".join(sorted(peer.ip_block.excluded))
            beside = f" {way.other} != {{ {excluded} }}" if excluded else ""
            return f"{way.other} {peer.ip_block.cidr}{beside}"
        members = frozenset(pod.address for pod in self._peers(peer, namespace))
        name = f"pods-{_digest([namespace, repr(peer.pod_selector), repr(peer.namespace_selector)])}"
        self.sets[name] = members
        return f"{way.other} @{name}"

    def _named_elsewhere(self, peer: Peer | None, port: Port, name: str, namespace: str) -> Iterable[str]:
        """A port of those spoken to, by its name: each may mean another number by it."""
        if peer is not None and peer.ip_block is not None:
            return  # Addresses have no names for ports.
        pods = self.pods if peer is None else self._peers(peer, namespace)
        protocol = port.protocol.lower()
        members = frozenset(
            f"{pod.address} . {protocol} . {number}" for pod in pods for number in pod.named_ports(name, port.protocol)
        )
        chosen = f"ports-{_digest(sorted(members))}"
        self.ports[chosen] = members
        yield f"ip daddr . meta l4proto . th dport @{chosen} return"

    def _peers(self, peer: Peer, namespace: str) -> list[Pod]:
        key = (namespace if peer.namespace_selector is None else "", f"{peer.pod_selector} {peer.namespace_selector}")
        found = self._found.get(key)
        if found is None:
            chosen = labels_from_json({} if peer.pod_selector is None else peer.pod_selector)
            spaces = None if peer.namespace_selector is None else labels_from_json(peer.namespace_selector)
            found = self._found[key] = [
                pod
                for pod in self.pods
                if (
                    pod.metadata.namespace == namespace
                    if spaces is None
                    else spaces.matches(self._labels_of(pod.metadata.namespace))
                )
                and chosen.matches(pod.metadata.labels)
            ]
        return found

    def _labels_of(self, namespace: str) -> Mapping[str, str]:
        found = self._namespaces.get(Key("", namespace))
        return found.metadata.labels if found is not None else {}


def _selects(policy: NetworkPolicy, pod: Pod) -> bool:
    same = policy.metadata.namespace == pod.metadata.namespace
    return same and labels_from_json(policy.spec.pod_selector).matches(pod.metadata.labels)


def _ways(policy: NetworkPolicy) -> Sequence[str]:
    """Which ways the policy is about; one that does not say so is about egress if it has rules for it."""
    if policy.spec.policy_types:
        return policy.spec.policy_types
    return [Way.INGRESS, Way.EGRESS] if policy.spec.egress else [Way.INGRESS]


def _rules(policy: NetworkPolicy, way: Way) -> Sequence[Rule]:
    return policy.spec.ingress if way is Way.INGRESS else policy.spec.egress


def _port_matches(port: Port | None, pod: Pod) -> Iterable[str]:
    """The port as matches of a packet; a name is one of the pod's own, which may have none or several of it."""
    if port is None:
        return [""]
    protocol = port.protocol.lower()
    if port.port is None:
        return [f"meta l4proto {protocol}"]
    numbers = pod.named_ports(port.port, port.protocol) if isinstance(port.port, str) else [port.port]
    last = f"-{port.end_port}" if port.end_port is not None else ""
    return [f"{protocol} dport {number}{last}" for number in numbers]


def _set(place: str, kind: str, members: Iterable[str]) -> list[str]:
    lines = [f"add set {place} {{ {kind}; }}"]
    joined = ", ".join(sorted(members))
    return [*lines, f"add element {place} {{ {joined} }}"] if joined else lines


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
