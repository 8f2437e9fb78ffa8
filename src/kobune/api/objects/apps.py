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


class ControllerRevision(Object):
    """A template that a StatefulSet or DaemonSet had; `data` is a strategic merge patch of the workload."""

    gvk: ClassVar[GVK] = GVK("apps", "v1", "ControllerRevision")
    data: msgspec.Raw = NOTHING
    revision: int = 0


class RollingUpdateStatefulSet(View):
    partition: int = 0
    max_unavailable: IntOrString | None = None


class StatefulSetUpdateStrategy(View):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdateStatefulSet | None = None


class StatefulSetOrdinals(View):
    start: int = 0


class ClaimRetentionPolicy(View):
    when_deleted: str = "Retain"
    when_scaled: str = "Retain"


class StatefulSetSpec(View):
    replicas: int = 1
    selector: dict[str, Any] | None = None
    template: msgspec.Raw = NOTHING
    volume_claim_templates: list[dict[str, Any]] = []
    service_name: str = ""
    pod_management_policy: str = "OrderedReady"
    update_strategy: StatefulSetUpdateStrategy = msgspec.field(default_factory=StatefulSetUpdateStrategy)
    revision_history_limit: int = 10
    min_ready_seconds: int = 0
    persistent_volume_claim_retention_policy: ClaimRetentionPolicy = msgspec.field(default_factory=ClaimRetentionPolicy)
    ordinals: StatefulSetOrdinals = msgspec.field(default_factory=StatefulSetOrdinals)


class StatefulSetStatus(View):
    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    current_replicas: int = 0
    updated_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    collision_count: int | None = None


class StatefulSet(Object):
    gvk: ClassVar[GVK] = GVK("apps", "v1", "StatefulSet")
    spec: StatefulSetSpec = msgspec.field(default_factory=StatefulSetSpec)
    status: StatefulSetStatus = msgspec.field(default_factory=StatefulSetStatus)


class RollingUpdateDaemonSet(View):
    max_surge: IntOrString = 0
    max_unavailable: IntOrString = 1


class DaemonSetUpdateStrategy(View):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdateDaemonSet | None = None


class DaemonSetSpec(View):
    selector: dict[str, Any] | None = None
    template: msgspec.Raw = NOTHING
    update_strategy: DaemonSetUpdateStrategy = msgspec.field(default_factory=DaemonSetUpdateStrategy)
    min_ready_seconds: int = 0
    revision_history_limit: int = 10


class DaemonSetStatus(View):
    current_number_scheduled: int = 0
    number_misscheduled: int = 0
    desired_number_scheduled: int = 0
    number_ready: int = 0
    observed_generation: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    number_unavailable: int = 0
    collision_count: int | None = None


class DaemonSet(Object):
    gvk: ClassVar[GVK] = GVK("apps", "v1", "DaemonSet")
    spec: DaemonSetSpec = msgspec.field(default_factory=DaemonSetSpec)
    status: DaemonSetStatus = msgspec.field(default_factory=DaemonSetStatus)
