"""The columns of metrics.k8s.io. Source: metrics-server's tables."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kobune.api.errors import Json
from kobune.api.quantity import added
from kobune.controlplane.apiserver.tables.columns import NAME, Column, GroupKind, Printer, name_of

RESOURCES = ("cpu", "memory")
_COLUMNS = (
    NAME,
    *(Column(name, f"The {name} in use.") for name in RESOURCES),
    Column("Window", "Measured over so long."),
)


def _node(node: Json, _now: datetime) -> list[Any]:
    return [name_of(node), *(node["usage"][name] for name in RESOURCES), node["window"]]


def _pod(pod: Json, _now: datetime) -> list[Any]:
    total = dict.fromkeys(RESOURCES, "0")
    for container in pod["containers"]:
        total = {name: added(amount, container["usage"][name]) for name, amount in total.items()}
    return [name_of(pod), *total.values(), pod["window"]]


PRINTERS: Mapping[GroupKind, Printer] = {
    ("metrics.k8s.io", "NodeMetrics"): Printer(_COLUMNS, _node),
    ("metrics.k8s.io", "PodMetrics"): Printer(_COLUMNS, _pod),
}
