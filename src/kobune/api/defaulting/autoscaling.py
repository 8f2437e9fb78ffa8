"""HorizontalPodAutoscalers, in both versions."""

from typing import Any

from kobune.api.copying import clone
from kobune.api.errors import Json

CPU_UTILIZATION = 80  # Percent. Source: upstream autoscaling.DefaultCPUUtilization.

SCALE_UP: dict[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
# Its stabilization window is the controller's to choose.
SCALE_DOWN: dict[str, Any] = {
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}


def default_autoscaler_v1(autoscaler: Json) -> None:
    spec = autoscaler.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if "targetCPUUtilizationPercentage" not in spec and not _other_metrics(autoscaler):
        spec["targetCPUUtilizationPercentage"] = CPU_UTILIZATION


def default_autoscaler(autoscaler: Json) -> None:
    spec = autoscaler.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": CPU_UTILIZATION}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        for field, rules in (("scaleUp", SCALE_UP), ("scaleDown", SCALE_DOWN)):
            behavior[field] = {**clone(rules), **behavior.get(field, {})}


def _other_metrics(autoscaler: Json) -> bool:
    """In this version other metrics live in an annotation."""
    return "autoscaling.alpha.kubernetes.io/metrics" in ((autoscaler.get("metadata") or {}).get("annotations") or {})


DEFAULTS = {"v1/HorizontalPodAutoscaler": default_autoscaler_v1, "HorizontalPodAutoscaler": default_autoscaler}
