"""A pod as the kubelet reads it: nearly the whole spec, where other components' views name a few fields."""

# ruff: noqa: RUF012 - msgspec gives each Struct its own copy of an empty default.

from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar

import msgspec

from kobune.api.errors import Json
from kobune.api.objects.meta import GVK, Object, View

Quantity = str | int | float
ResourceList = dict[str, Quantity]


class KeySelector(View):
    """One key of a ConfigMap or Secret."""

    name: str = ""
    key: str = ""
    optional: bool = False


class FieldRef(View):
    field_path: str = ""


class ResourceFieldRef(View):
    resource: str = ""
    container_name: str = ""
    divisor: Quantity = "0"


class EnvVarSource(View):
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None


class EnvVar(View):
    name: str
    value: str = ""
    value_from: EnvVarSource | None = None


class SourceRef(View):
    """A whole ConfigMap or Secret."""

    name: str = ""
    optional: bool = False


class EnvFrom(View):
    prefix: str = ""
    config_map_ref: SourceRef | None = None
    secret_ref: SourceRef | None = None


class ContainerPort(View):
    container_port: int
    name: str = ""
    host_port: int = 0
    host_ip: str = ""
    protocol: str = "TCP"


class Resources(View):
    requests: ResourceList = {}
    limits: ResourceList = {}


class VolumeMount(View):
    name: str
    mount_path: str
    read_only: bool = False
    sub_path: str = ""
    sub_path_expr: str = ""
    mount_propagation: str = "None"
    recursive_read_only: str = ""


class ExecAction(View):
    command: list[str] = []


class HTTPHeader(View):
    name: str
    value: str = ""


class HTTPGetAction(View):
    port: int | str = 0
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: list[HTTPHeader] = []


class TCPSocketAction(View):
    port: int | str = 0
    host: str = ""


class GRPCAction(View):
    port: int = 0
    service: str = ""


class SleepAction(View):
    seconds: int = 0


class Probe(View):
    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: GRPCAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class Handler(View):
    """A lifecycle hook."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(View):
    post_start: Handler | None = None
    pre_stop: Handler | None = None


class Capabilities(View):
    add: list[str] = []
    drop: list[str] = []


class SeccompProfile(View):
    type: str = "RuntimeDefault"
    localhost_profile: str = ""


class ContainerSecurity(View):
    privileged: bool = False
    allow_privilege_escalation: bool | None = None
    read_only_root_filesystem: bool = False
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    proc_mount: str = "Default"
    capabilities: Capabilities | None = None
    seccomp_profile: SeccompProfile | None = None


class ExitCodes(View):
    operator: str = "In"
    values: list[int] = []


class RestartRule(View):
    """Restart on these exit codes, whatever the policy says."""

    action: str = "Restart"
    exit_codes: ExitCodes | None = None


class ResizePolicy(View):
    resource_name: str = ""
    restart_policy: str = "NotRequired"


class Container(View):
    name: str
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    working_dir: str = ""
    ports: list[ContainerPort] = []
    env_from: list[EnvFrom] = []
    env: list[EnvVar] = []
    resources: Resources = msgspec.field(default_factory=Resources)
    resize_policy: list[ResizePolicy] = []
    volume_mounts: list[VolumeMount] = []
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: str = "File"
    image_pull_policy: str = "IfNotPresent"
    security_context: ContainerSecurity | None = None
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    restart_policy: str = ""  # Its own; "Always" makes an init container a sidecar.
    restart_policy_rules: list[RestartRule] = []
    target_container_name: str = ""  # Ephemeral containers only.

    @property
    def is_sidecar(self) -> bool:
        """A restartable init container; meaningful for init containers only."""
        return self.restart_policy == "Always"


class KeyToPath(View):
    key: str
    path: str
    mode: int | None = None


class EmptyDirSource(View):
    medium: str = ""
    size_limit: Quantity | None = None


class HostPathSource(View):
    path: str
    type: str = ""


class ConfigMapSource(View):
    name: str = ""
    items: list[KeyToPath] = []
    default_mode: int = 0o644
    optional: bool = False


class SecretSource(View):
    secret_name: str = ""
    items: list[KeyToPath] = []
    default_mode: int = 0o644
    optional: bool = False


class SecretProjection(View):
    name: str = ""
    items: list[KeyToPath] = []
    optional: bool = False


class DownwardFile(View):
    path: str
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: int | None = None


class DownwardSource(View):
    items: list[DownwardFile] = []
    default_mode: int = 0o644


class TokenProjection(View):
    path: str
    audience: str = ""
    expiration_seconds: int = 3600


class Projection(View):
    secret: SecretProjection | None = None
    config_map: SecretProjection | None = None
    downward_api: DownwardSource | None = None
    service_account_token: TokenProjection | None = None


class ProjectedSource(View):
    sources: list[Projection] = []
    default_mode: int = 0o644


class ClaimSource(View):
    claim_name: str
    read_only: bool = False


class EphemeralSource(View):
    """A claim made for this pod, named POD-VOLUME by the ephemeral volume controller."""


class ImageSource(View):
    reference: str = ""
    pull_policy: str = "IfNotPresent"


class Volume(View):
    name: str
    empty_dir: EmptyDirSource | None = None
    host_path: HostPathSource | None = None
    config_map: ConfigMapSource | None = None
    secret: SecretSource | None = None
    downward_api: DownwardSource | None = None
    projected: ProjectedSource | None = None
    persistent_volume_claim: ClaimSource | None = None
    ephemeral: EphemeralSource | None = None
    image: ImageSource | None = None


class Sysctl(View):
    name: str
    value: str


class PodSecurity(View):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: list[int] = []
    fs_group: int | None = None
    fs_group_change_policy: str = "Always"
    seccomp_profile: SeccompProfile | None = None
    sysctls: list[Sysctl] = []


class DNSOption(View):
    name: str = ""
    value: str | None = None


class DNSConfig(View):
    nameservers: list[str] = []
    searches: list[str] = []
    options: list[DNSOption] = []


class HostAlias(View):
    ip: str
    hostnames: list[str] = []


class LocalRef(View):
    name: str = ""


class ReadinessGate(View):
    condition_type: str


class Toleration(View):
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


class PodSpec(View):
    containers: list[Container] = []
    init_containers: list[Container] = []
    ephemeral_containers: list[Container] = []
    volumes: list[Volume] = []
    node_name: str = ""
    node_selector: dict[str, str] = {}
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    dns_policy: str = "ClusterFirst"
    dns_config: DNSConfig | None = None
    service_account_name: str = ""
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = msgspec.field(default=False, name="hostIPC")
    share_process_namespace: bool = False
    security_context: PodSecurity | None = None
    image_pull_secrets: list[LocalRef] = []
    hostname: str = ""
    subdomain: str = ""
    set_hostname_as_fqdn: bool = msgspec.field(default=False, name="setHostnameAsFQDN")
    host_aliases: list[HostAlias] = []
    priority: int = 0
    priority_class_name: str = ""
    enable_service_links: bool = True
    readiness_gates: list[ReadinessGate] = []
    tolerations: list[Toleration] = []
    runtime_class_name: str = ""
    overhead: ResourceList = {}
    resources: Resources | None = None


class Pod(Object):
    """The kubelet's pod. `status` stays JSON: it is compared with, and replaced by, what `status.render_status` makes."""

    gvk: ClassVar[GVK] = GVK("", "v1", "Pod")
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: Json = {}

    @property
    def phase(self) -> str:
        return str(self.status.get("phase", ""))

    @property
    def is_finished(self) -> bool:
        """Its phase is final."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def is_static(self) -> bool:
        """Read from a manifest on the node rather than from the API server."""
        return self.metadata.annotations.get("kubernetes.io/config.source", "api") != "api"

    @property
    def is_mirror(self) -> bool:
        """The API server's picture of a static pod."""
        return "kubernetes.io/config.mirror" in self.metadata.annotations

    def all_containers(self) -> Iterator[Container]:
        """Init, regular and ephemeral containers."""
        yield from self.spec.init_containers
        yield from self.spec.containers
        yield from self.spec.ephemeral_containers

    def find_container(self, name: str) -> Container | None:
        """The container of this name, of whatever sort."""
        return next((container for container in self.all_containers() if container.name == name), None)

    def grace_seconds(self) -> int:
        """How long its containers may take to end: the deletion's own answer, else the spec's."""
        given = self.metadata.deletion_grace_period_seconds
        return given if given is not None else self.spec.termination_grace_period_seconds


def describe(pod: Pod) -> str:
    """`web_default(UID)`, as upstream names a pod in messages."""
    return f"{pod.name}_{pod.namespace}({pod.uid})"


def field_path(pod: Pod, container: str) -> str:
    """Where in the pod a container stands, for events: `spec.containers{web}`."""
    spec = pod.spec
    for field, group in (
        ("initContainers", spec.init_containers),
        ("ephemeralContainers", spec.ephemeral_containers),
    ):
        if any(each.name == container for each in group):
            return f"spec.{field}{{{container}}}"
    return f"spec.containers{{{container}}}"


def pod_from_json(manifest: Json) -> Pod:
    """The pod of a manifest; nulls are left out first, as the API server does."""
    return msgspec.convert(_without_nulls(manifest), Pod, strict=False)


def _without_nulls(value: Json) -> Json:
    def clean(each: object) -> object:
        if isinstance(each, dict):
            return {name: clean(inner) for name, inner in each.items() if inner is not None}
        return [clean(inner) for inner in each] if isinstance(each, list) else each

    return {name: clean(inner) for name, inner in value.items() if inner is not None}


def started_at(pod: Pod) -> datetime | None:
    """When the kubelet first saw the pod, by its status."""
    value = pod.status.get("startTime")
    return datetime.fromisoformat(value) if value else None
