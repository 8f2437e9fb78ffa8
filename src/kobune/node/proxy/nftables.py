"""Applying rules: the smallest nft transaction from one ruleset to the next, all of it or nothing."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from kobune.node.nft import has_chain, run
from kobune.node.proxy.rules import MAP_TYPES, SET_TYPES, Ruleset, base_chains


def render_table(table: str, rules: Ruleset, *, node_ports: bool) -> str:
    """The transaction that makes the table anew, whatever it was before."""
    lines = [f"add table ip {table}", f"delete table ip {table}", f"add table ip {table}"]
    lines += [f"add map ip {table} {name} {{ type {kind}; }}" for name, kind in MAP_TYPES.items()]
    lines += [f"add set ip {table} {name} {{ type {kind}; }}" for name, kind in SET_TYPES.items()]
    lines += render_changes(table, Ruleset(), rules)
    for name, (hook, chain_rules) in base_chains(node_ports=node_ports).items():
        lines.append(f"add chain ip {table} {name} {{ {hook}; policy accept; }}")
        lines += [f"add rule ip {table} {name} {rule}" for rule in chain_rules]
    return "\n".join(lines) + "\n"


def render_changes(table: str, old: Ruleset, new: Ruleset) -> list[str]:
    """The commands from `old` to `new`; none when they are equal. What is referred to comes before what refers to it."""
    lines = [
        f"add set ip {table} {name} {{ type ipv4_addr; flags dynamic, timeout; timeout {seconds}s; }}"
        for name, seconds in new.affinities.items()
        if old.affinities.get(name) != seconds
    ]
    lines += [f"add chain ip {table} {name}" for name in new.chains if name not in old.chains]
    for name, rules in new.chains.items():
        if old.chains.get(name) != rules:
            lines += [f"flush chain ip {table} {name}"] if name in old.chains else []
            lines += [f"add rule ip {table} {name} {rule}" for rule in rules]
    for name in MAP_TYPES:
        lines += _map_changes(f"ip {table} {name}", old.maps.get(name, {}), new.maps.get(name, {}))
    for name in SET_TYPES:
        before, after = old.sets.get(name, frozenset()), new.sets.get(name, frozenset())
        lines += _elements("delete", f"ip {table} {name}", sorted(before - after))
        lines += _elements("add", f"ip {table} {name}", sorted(after - before))
    # All are emptied before any is deleted: they refer to each other.
    gone = [name for name in old.chains if name not in new.chains]
    lines += [f"flush chain ip {table} {name}" for name in gone]
    lines += [f"delete chain ip {table} {name}" for name in gone]
    lines += [f"delete set ip {table} {name}" for name in old.affinities if name not in new.affinities]
    return lines


def _map_changes(place: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    gone = [f"{key} : {verdict}" for key, verdict in old.items() if new.get(key) != verdict]
    come = [f"{key} : {verdict}" for key, verdict in new.items() if old.get(key) != verdict]
    yield from _elements("delete", place, gone)
    yield from _elements("add", place, come)


def _elements(verb: str, place: str, elements: Iterable[str]) -> Iterator[str]:
    joined = ", ".join(elements)
    if joined:
        yield f"{verb} element {place} {{ {joined} }}"


def exists(table: str, namespace: Path | None) -> bool:
    """Whether the table is there, by its last chain, so that an emptied one counts as gone. Blocks."""
    return has_chain(table, "filter-output", namespace)


def forget_connections(filters: Iterable[list[str]], namespace: Path | None) -> None:
    """Make the kernel choose anew for UDP flows that match, which would keep their old way for ever. Blocks."""
    for each in filters:
        # It fails when nothing matched, which is the usual case.
        run(["conntrack", "-D", "-p", "udp", *each], "", namespace)
