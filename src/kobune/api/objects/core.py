"""Views of the core group. Each names only the fields that our components read; anyone may add the field they need."""

from collections.abc import Sequence
from datetime import datetime
from sys import intern
from typing import Any, ClassVar

import msgspec

from kobune.api.objects.meta import GVK, Condition, Object, ObjectMeta, View, find_condition, is_true
from kobune.api.sharing import Shared, nothing, shared_map

Quantities = dict[str, str | int | float]  # By resource name; parse with api/quantity.
IntOrString = int | str  # A port by number or name; a count or a percentage.

# Pod phases.
PENDING, RUNNING, SUCCEEDED, FAILED = "Pending", "Running", "Succeeded", "Failed"


class LabelSelectorRequirement(View):
    key: str
    operator: str
    values: list[str] | None = None


class LabelSelector(View):
    """As `api/selectors.labels_from_json` reads it after `msgspec.to_builtins`."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[LabelSelectorRequirement] | None = None


class LocalObjectReference(View):
    name: str = ""


class ObjectReference(View):
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""


# Pod: the template.


class ContainerPort(View):
    container_port: int
    name: str = ""
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")
    protocol: str = "TCP"


class ContainerResourceClaim(View):
    name: str
    request: str = ""


class ResourceRequirements(View):
    requests: Quantities = {}
    limits: Quantities = {}
    claims: list[ContainerResourceClaim] = []


class Container(View):
    """A container, init container or ephemeral container. What only the kubelet reads stays JSON here."""

    name: str = ""
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    working_dir: str = ""
    ports: list[ContainerPort] = []
    env: list[dict[str, Any]] = []
    env_from: list[dict[str, Any]] = []
    resources: ResourceRequirements = msgspec.field(default_factory=ResourceRequirements)
    volume_mounts: list[dict[str, Any]] = []
    liveness_probe: dict[str, Any] | None = None
    readiness_probe: dict[str, Any] | None = None
    startup_probe: dict[str, Any] | None = None
    lifecycle: dict[str, Any] | None = None
    termination_message_path: str = ""
    termination_message_policy: str = ""
    image_pull_policy: str = ""
    security_context: dict[str, Any] | None = None
    restart_policy: str = ""  # "Always" on an init container makes it a sidecar.
    restart_policy_rules: list[dict[str, Any]] = []
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


class Toleration(View):
    key: str = ""
    operator: str = ""  # "" is "Equal".
    value: str = ""
    effect: str = ""  # "" is every effect.
    toleration_seconds: int | None = None


class NodeSelectorRequirement(View):
    key: str
    operator: str
    values: list[str] | None = None


class NodeSelectorTerm(View):
    match_expressions: list[NodeSelectorRequirement] | None = None
    match_fields: list[NodeSelectorRequirement] | None = None


class NodeSelector(View):
    node_selector_terms: list[NodeSelectorTerm] = []


class PreferredSchedulingTerm(View):
    weight: int
    preference: NodeSelectorTerm


class NodeAffinity(View):
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    preferred_during_scheduling_ignored_during_execution: list[PreferredSchedulingTerm] | None = None


class PodAffinityTerm(View):
    topology_key: str = ""
    label_selector: LabelSelector | None = None
    namespaces: list[str] | None = None
    namespace_selector: LabelSelector | None = None
    match_label_keys: list[str] | None = None
    mismatch_label_keys: list[str] | None = None


class WeightedPodAffinityTerm(View):
    weight: int
    pod_affinity_term: PodAffinityTerm


class PodAffinity(View):
    """Affinity or anti-affinity to other pods."""

    required_during_scheduling_ignored_during_execution: list[PodAffinityTerm] | None = None
    preferred_during_scheduling_ignored_during_execution: list[WeightedPodAffinityTerm] | None = None


class Affinity(View):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class TopologySpreadConstraint(View):
    max_skew: int = 1
    topology_key: str = ""
    when_unsatisfiable: str = "DoNotSchedule"
    label_selector: LabelSelector | None = None
    min_domains: int | None = None
    node_affinity_policy: str | None = None
    node_taints_policy: str | None = None
    match_label_keys: list[str] | None = None


class PodSchedulingGate(View):
    name: str


class PodSchedulingGroup(View):
    pod_group_name: str = ""


class PodReadinessGate(View):
    condition_type: str


class PodOS(View):
    name: str = ""


class PodSpec(View):
    """A pod's specification. `volumes`, `security_context` and DNS stay JSON: only the kubelet reads into them."""

    node_name: str = ""
    containers: list[Container] = []
    init_containers: list[Container] = []
    ephemeral_containers: list[Container] = []
    volumes: list[dict[str, Any]] = []
    restart_policy: str = "Always"
    termination_grace_period_seconds: int | None = None
    active_deadline_seconds: int | None = None
    service_account_name: str = ""
    automount_service_account_token: bool | None = None
    node_selector: dict[str, str] = {}
    affinity: Affinity | None = None
    tolerations: list[Toleration] = []
    topology_spread_constraints: list[TopologySpreadConstraint] = []
    scheduler_name: str = "default-scheduler"
    scheduling_gates: list[PodSchedulingGate] = []
    readiness_gates: list[PodReadinessGate] = []
    priority: int = 0
    priority_class_name: str = ""
    preemption_policy: str = "PreemptLowerPriority"
    runtime_class_name: str = ""
    overhead: Quantities = {}
    resources: ResourceRequirements | None = None
    resource_claims: list[dict[str, Any]] = []
    hostname: str = ""
    subdomain: str = ""
    set_hostname_as_fqdn: bool = msgspec.field(default=False, name="setHostnameAsFQDN")
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = msgspec.field(default=False, name="hostIPC")
    host_users: bool = True
    share_process_namespace: bool = False
    enable_service_links: bool = True
    dns_policy: str = "ClusterFirst"
    dns_config: dict[str, Any] | None = None
    host_aliases: list[dict[str, Any]] = []
    security_context: dict[str, Any] | None = None
    image_pull_secrets: list[LocalObjectReference] = []
    os: PodOS | None = None


class PodTemplateSpec(View):
    """What a workload makes pods from. A controller that writes pods reads the template as JSON instead."""

    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)


# Pod: the status. Of each part there is what every view reads, and the whole.


class AnyContainerStateTerminated(View):
    exit_code: int = 0
    finished_at: datetime | None = None


class AnyContainerState(View):
    terminated: AnyContainerStateTerminated | None = None


class AnyContainerStatus(View):
    name: str
    restart_count: int = 0
    state: AnyContainerState = msgspec.field(default_factory=AnyContainerState)
    resources: ResourceRequirements | None = None


class ContainerStateRunning(View):
    started_at: datetime | None = None


class ContainerStateTerminated(AnyContainerStateTerminated):
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None
    container_id: str = ""


class ContainerStateWaiting(View):
    reason: str = ""
    message: str = ""


class ContainerState(AnyContainerState):
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None
    waiting: ContainerStateWaiting | None = None


class ContainerStatus(AnyContainerStatus):
    ready: bool = False
    started: bool | None = None
    image: str = ""
    image_id: str = ""
    container_id: str = ""
    state: ContainerState = msgspec.field(default_factory=ContainerState)
    last_state: ContainerState = msgspec.field(default_factory=ContainerState)


class PodIP(View):
    ip: str = ""


class PodResourceClaimStatus(View):
    name: str
    resource_claim_name: str | None = None


class ExtendedResourceClaimStatus(View):
    resource_claim_name: str = ""


class AnyPodStatus(View):
    phase: str = PENDING
    conditions: list[Condition] = msgspec.field(default_factory=nothing)
    reason: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: list[PodIP] = msgspec.field(default_factory=nothing)
    start_time: datetime | None = None
    nominated_node_name: str = ""
    resource_claim_statuses: list[PodResourceClaimStatus] = msgspec.field(default_factory=nothing)
    extended_resource_claim_status: ExtendedResourceClaimStatus | None = None
    container_statuses: Sequence[AnyContainerStatus] = ()
    init_container_statuses: Sequence[AnyContainerStatus] = ()

    def __post_init__(self) -> None:
        self.phase = intern(self.phase)
        if self.container_statuses:
            # Those of pods that run well say the same.
            self.container_statuses = _container_statuses(self.container_statuses)


_container_statuses = Shared[Sequence[AnyContainerStatus]]()


class PodStatus(AnyPodStatus):
    message: str = ""
    host_ip: str = msgspec.field(default="", name="hostIP")
    qos_class: str = ""
    container_statuses: Sequence[ContainerStatus] = ()
    init_container_statuses: Sequence[ContainerStatus] = ()
    ephemeral_container_statuses: Sequence[ContainerStatus] = ()


class AnyPod(Object):
    """What every view of a pod has, however little of its spec it reads."""

    gvk: ClassVar[GVK] = GVK("", "v1", "Pod")
    status: AnyPodStatus = msgspec.field(default_factory=AnyPodStatus)

    @property
    def is_finished(self) -> bool:
        """No container will run again."""
        return self.status.phase in (SUCCEEDED, FAILED)

    @property
    def is_active(self) -> bool:
        """Neither finished nor being deleted: it counts as a replica."""
        return self.status.phase not in (SUCCEEDED, FAILED) and self.metadata.deletion_timestamp is None

    @property
    def is_ready(self) -> bool:
        return is_true(self.status.conditions, "Ready")

    @property
    def ready_since(self) -> datetime | None:
        """When the pod became ready; None while it is not."""
        ready = find_condition(self.status.conditions, "Ready")
        return ready.last_transition_time if ready is not None and ready.status == "True" else None


class Pod(AnyPod):
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)

    @property
    def node_name(self) -> str:
        return self.spec.node_name


# Node.


class Taint(View):
    key: str
    effect: str
    value: str = ""
    time_added: datetime | None = None


class NodeAddress(View):
    type: str
    address: str


class ContainerImage(View):
    names: list[str] = []
    size_bytes: int = 0


class DaemonEndpoint(View):
    port: int = msgspec.field(default=0, name="Port")


class NodeDaemonEndpoints(View):
    kubelet_endpoint: DaemonEndpoint = msgspec.field(default_factory=DaemonEndpoint)


class NodeSystemInfo(View):
    kubelet_version: str = ""
    operating_system: str = ""
    architecture: str = ""
    machine_id: str = ""
    boot_id: str = ""


class AttachedVolume(View):
    name: str
    device_path: str = ""


class NodeSpec(View):
    pod_cidr: str = ""
    pod_cidrs: list[str] = []
    provider_id: str = ""
    unschedulable: bool = False
    taints: list[Taint] = []


class NodeStatus(View):
    capacity: Quantities = {}
    allocatable: Quantities = {}
    conditions: list[Condition] = []
    addresses: list[NodeAddress] = []
    daemon_endpoints: NodeDaemonEndpoints = msgspec.field(default_factory=NodeDaemonEndpoints)
    node_info: NodeSystemInfo = msgspec.field(default_factory=NodeSystemInfo)
    images: list[ContainerImage] = []
    volumes_in_use: list[str] = []
    volumes_attached: list[AttachedVolume] = []
    declared_features: list[str] = []

    def __post_init__(self) -> None:
        # The nodes of a pool are alike.
        self.capacity, self.allocatable = shared_map(self.capacity), shared_map(self.allocatable)


class Node(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "Node")
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)

    @property
    def is_ready(self) -> bool:
        return is_true(self.status.conditions, "Ready")

    @property
    def takes_pods(self) -> bool:
        """Ready, and the control plane has taken note: pods are no longer kept away."""
        return self.is_ready and not any(taint.key == "node.kubernetes.io/not-ready" for taint in self.spec.taints)

    @property
    def internal_ip(self) -> str:
        """Where other nodes reach it; empty when it does not say."""
        return next((each.address for each in self.status.addresses if each.type == "InternalIP"), "")


# The rest of the group.


class NamespaceSpec(View):
    finalizers: list[str] = []


class NamespaceStatus(View):
    phase: str = "Active"
    conditions: list[Condition] = []


class Namespace(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "Namespace")
    spec: NamespaceSpec = msgspec.field(default_factory=NamespaceSpec)
    status: NamespaceStatus = msgspec.field(default_factory=NamespaceStatus)


class ServicePort(View):
    port: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    target_port: IntOrString = 0
    node_port: int = 0


class ServiceSpec(View):
    type: str = "ClusterIP"
    selector: dict[str, str] = {}
    ports: list[ServicePort] = []
    cluster_ip: str = ""
    cluster_ips: list[str] = []
    ip_families: list[str] = []
    ip_family_policy: str = ""
    external_ips: list[str] = []
    external_name: str = ""
    external_traffic_policy: str = ""
    internal_traffic_policy: str = ""
    health_check_node_port: int = 0
    load_balancer_class: str | None = None
    load_balancer_ip: str = ""
    load_balancer_source_ranges: list[str] = []
    publish_not_ready_addresses: bool = False
    session_affinity: str = "None"
    session_affinity_config: dict[str, Any] | None = None
    traffic_distribution: str | None = None
    allocate_load_balancer_node_ports: bool = True


class LoadBalancerIngress(View):
    ip: str = ""
    hostname: str = ""
    ip_mode: str = ""


class LoadBalancerStatus(View):
    ingress: list[LoadBalancerIngress] = []


class ServiceStatus(View):
    load_balancer: LoadBalancerStatus = msgspec.field(default_factory=LoadBalancerStatus)
    conditions: list[Condition] = []


class Service(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "Service")
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)
    status: ServiceStatus = msgspec.field(default_factory=ServiceStatus)


class EndpointAddress(View):
    ip: str
    hostname: str = ""
    node_name: str = ""
    target_ref: ObjectReference | None = None


class EndpointPort(View):
    port: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None


class EndpointSubset(View):
    addresses: list[EndpointAddress] = []
    not_ready_addresses: list[EndpointAddress] = []
    ports: list[EndpointPort] = []


class Endpoints(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "Endpoints")
    subsets: list[EndpointSubset] = []


class ServiceAccount(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "ServiceAccount")
    secrets: list[ObjectReference] = []
    image_pull_secrets: list[LocalObjectReference] = []
    automount_service_account_token: bool | None = None


class ConfigMap(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "ConfigMap")
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
    immutable: bool = False


class Secret(Object):
    gvk: ClassVar[GVK] = GVK("", "v1", "Secret")
    type: str = "Opaque"
    data: dict[str, str] = {}  # Values in base64.
    immutable: bool = False
