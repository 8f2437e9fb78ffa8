"""The shapes of metrics.k8s.io/v1beta1. Source: upstream staging/src/k8s.io/metrics, pkg/apis/metrics/v1beta1."""

from collections.abc import Mapping
from typing import Any

from kobune.api.kinds import Kind

_USAGE = {
    "type": "object",
    "description": "How much of each resource is in use.",
    "additionalProperties": {"type": "string", "description": "A quantity."},
}
_WHEN = {
    "timestamp": {"type": "string", "format": "date-time", "description": "When the window ended."},
    "window": {"type": "string", "description": "Over how long the cpu was measured, as Go writes a duration."},
}
_CONTAINER = {
    "type": "object",
    "required": ["name", "usage"],
    "properties": {"name": {"type": "string", "description": "The container's name."}, "usage": _USAGE},
}
_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "NodeMetrics": {
        "type": "object", "description": "What a node uses.", "required": ["timestamp", "window", "usage"],
        "properties": {**_WHEN, "usage": _USAGE},
    },
    "PodMetrics": {
        "type": "object", "description": "What a pod uses.", "required": ["timestamp", "window", "containers"],
        "properties": {
            **_WHEN,
            "containers": {"type": "array", "description": "What each container uses.", "items": _CONTAINER},
        },
    },
}  # fmt: skip


def usage_schema(kind: Kind) -> Mapping[str, Any] | None:
    """None for a kind of another group."""
    return _SCHEMAS[kind.name] if kind.group == "metrics.k8s.io" else None
