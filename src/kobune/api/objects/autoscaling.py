"""HorizontalPodAutoscalers."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from kobune.api.objects.meta import GVK, Condition, Object, View


class CrossVersionObjectReference(View):
    api_version: str = ""
    kind: str = ""
    name: str = ""


class MetricTarget(View):
    type: str = ""
    value: str | int | float | None = None
    average_value: str | int | float | None = None
    average_utilization: int | None = None


class MetricIdentifier(View):
    name: str = ""
    selector: dict[str, Any] | None = None


class ResourceMetric(View):
    name: str = ""
    container: str = ""  # Of containerResource alone.
    target: MetricTarget = msgspec.field(default_factory=MetricTarget)


class NamedMetric(View):
    """A pods, object or external metric."""

    metric: MetricIdentifier = msgspec.field(default_factory=MetricIdentifier)
    target: MetricTarget = msgspec.field(default_factory=MetricTarget)
    described_object: CrossVersionObjectReference = msgspec.field(default_factory=CrossVersionObjectReference)


class MetricSpec(View):
    type: str = ""
    resource: ResourceMetric | None = None
    container_resource: ResourceMetric | None = None
    pods: NamedMetric | None = None
    object: NamedMetric | None = None
    external: NamedMetric | None = None


class ScalingPolicy(View):
    type: str = ""  # Pods or Percent.
    value: int = 0
    period_seconds: int = 0


class ScalingRules(View):
    stabilization_window_seconds: int | None = None
    select_policy: str = "Max"
    policies: list[ScalingPolicy] = []
    tolerance: str | int | float | None = None


class Behavior(View):
    scale_up: ScalingRules | None = None
    scale_down: ScalingRules | None = None


class HorizontalPodAutoscalerSpec(View):
    scale_target_ref: CrossVersionObjectReference = msgspec.field(default_factory=CrossVersionObjectReference)
    min_replicas: int | None = None
    max_replicas: int = 0
    metrics: list[MetricSpec] = []
    behavior: Behavior | None = None


class HorizontalPodAutoscalerStatus(View):
    current_replicas: int = 0
    desired_replicas: int = 0
    last_scale_time: datetime | None = None
    current_metrics: list[dict[str, Any]] | None = None
    conditions: list[Condition] | None = None


class HorizontalPodAutoscaler(Object):
    gvk: ClassVar[GVK] = GVK("autoscaling", "v2", "HorizontalPodAutoscaler")
    spec: HorizontalPodAutoscalerSpec = msgspec.field(default_factory=HorizontalPodAutoscalerSpec)
    status: HorizontalPodAutoscalerStatus = msgspec.field(default_factory=HorizontalPodAutoscalerStatus)
