"""Views of the apps group. Pod templates stay bytes: they are copied whole, hardly ever looked into."""

from typing import Any, ClassVar

import msgspec

from kobune.api.objects.core import IntOrString
from kobune.api.objects.meta import GVK, Condition, Object, View

NOTHING = msgspec.Raw(b"{}")


class ReplicaSetSpec(View):
    replicas: int = 1
    min_ready_seconds: int = 0
    selector: dict[str, Any] | None = None
    template: msgspec.Raw = NOTHING


class ReplicaSetStatus(View):
    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    terminating_replicas: int | None = None
    observed_generation: int = 0
    conditions: list[Condition] = []


class ReplicaSet(Object):
    gvk: ClassVar[GVK] = GVK("apps", "v1", "ReplicaSet")
    spec: ReplicaSetSpec = msgspec.field(default_factory=ReplicaSetSpec)
    status: ReplicaSetStatus = msgspec.field(default_factory=ReplicaSetStatus)


class RollingUpdateDeployment(View):
    max_surge: IntOrString = 0
    max_unavailable: IntOrString = 0


class DeploymentStrategy(View):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdateDeployment | None = None


class DeploymentSpec(View):
    replicas: int = 1
    selector: dict[str, Any] | None = None
    template: msgspec.Raw = NOTHING
    strategy: DeploymentStrategy = msgspec.field(default_factory=DeploymentStrategy)
    min_ready_seconds: int = 0
    revision_history_limit: int | None = None
    paused: bool = False
    progress_deadline_seconds: int | None = None


class DeploymentStatus(View):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    terminating_replicas: int | None = None
    collision_count: int | None = None
    conditions: list[Condition] = []


class Deployment(Object):
    gvk: ClassVar[GVK] = GVK("apps", "v1", "Deployment")
    spec: DeploymentSpec = msgspec.field(default_factory=DeploymentSpec)
    status: DeploymentStatus = msgspec.field(default_factory=DeploymentStatus)
