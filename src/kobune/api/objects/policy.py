"""Views of the policy group."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from kobune.api.objects.core import IntOrString
from kobune.api.objects.meta import GVK, Condition, Object, View


class PodDisruptionBudgetSpec(View):
    min_available: IntOrString | None = None
    max_unavailable: IntOrString | None = None
    selector: dict[str, Any] | None = None
    unhealthy_pod_eviction_policy: str | None = None


class PodDisruptionBudgetStatus(View):
    observed_generation: int = 0
    disrupted_pods: dict[str, datetime] = {}
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected_pods: int = 0
    conditions: list[Condition] = []


class PodDisruptionBudget(Object):
    gvk: ClassVar[GVK] = GVK("policy", "v1", "PodDisruptionBudget")
    spec: PodDisruptionBudgetSpec = msgspec.field(default_factory=PodDisruptionBudgetSpec)
    status: PodDisruptionBudgetStatus = msgspec.field(default_factory=PodDisruptionBudgetStatus)
