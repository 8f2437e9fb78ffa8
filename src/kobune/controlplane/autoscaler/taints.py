"""The autoscaler's own taints: of nodes on their way out, and of those that soon may be. Source: upstream's utils/taints."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.api.objects.core import Node
from kobune.api.objects.meta import Key
from kobune.api.timestamps import format_time
from kobune.client.client import Client

TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"
CANDIDATE = "DeletionCandidateOfClusterAutoscaler"
EFFECTS = {TO_BE_DELETED: "NoSchedule", CANDIDATE: "PreferNoSchedule"}
CANDIDATES_AT_ONCE = 10  # Changed in one scan. Source: upstream's --max-bulk-soft-taint-count.


class Marks(NamedTuple):
    """Nodes whose mark as a candidate changes."""

    add: Sequence[str]
    drop: Sequence[str]


def plan_marks(nodes: Mapping[str, Node], candidates: Collection[str], owned: Collection[str]) -> Marks:
    """What brings the marks in line with the candidates, a few at a time.

    Args:
        owned: the nodes that are the autoscaler's to judge; others keep their taints.
    """
    add = [name for name in candidates if name in nodes and not has_taint(nodes[name], CANDIDATE)]
    drop = [
        name for name in owned if name in nodes and name not in candidates and has_taint(nodes[name], CANDIDATE)
    ]  # Whoever is needed again takes pods as before: that is more urgent.
    drop = drop[:CANDIDATES_AT_ONCE]
    return Marks(add[: CANDIDATES_AT_ONCE - len(drop)], drop)


def has_taint(node: Node, key: str) -> bool:
    return any(taint.key == key for taint in node.spec.taints)


async def add_taint(client: Client, name: str, key: str, clock: Clock) -> None:
    """Taint the node with the present time. Raises ApiError."""
    node = await client.get(Node, Key("", name))
    taint = {"key": key, "value": str(int(clock.now().timestamp())), "effect": EFFECTS[key]}
    others = [each for each in _taints(node) if each["key"] != key]
    version = {"resourceVersion": node.metadata.resource_version}
    await client.patch(Node, node.key, {"metadata": version, "spec": {"taints": [*others, taint]}})


async def drop_taint(client: Client, name: str, key: str) -> None:
    """Take the taint away. Raises ApiError."""
    node = await client.get(Node, Key("", name))
    others = [each for each in _taints(node) if each["key"] != key]
    version = {"resourceVersion": node.metadata.resource_version}
    await client.patch(Node, node.key, {"metadata": version, "spec": {"taints": others or None}})


def _taints(node: Node) -> list[Json]:
    found: list[Json] = []
    for taint in node.spec.taints:
        entry: Json = {"key": taint.key, "effect": taint.effect}
        if taint.value:
            entry["value"] = taint.value
        if taint.time_added:
            entry["timeAdded"] = format_time(taint.time_added)
        found.append(entry)
    return found
