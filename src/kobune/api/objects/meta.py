"""What every object has: type, metadata, owners; and the rule that names fields on the wire."""

from datetime import datetime
from sys import intern
from typing import ClassVar, NamedTuple

import msgspec

from kobune.api.sharing import Shared, nothing, shared_map, shared_texts

# Words written in capitals inside a camelCase name, as in podCIDR and clusterIP. Source: Kubernetes API conventions.
ACRONYMS = frozenset(
    {"api", "cidr", "cidrs", "cpu", "dns", "id", "ip", "ips", "pid", "tls", "ttl", "uid", "uri", "url"}
)
# Names that the rule gets wrong.
IRREGULAR = {
    "api_version": "apiVersion",
    "pod_ips": "podIPs",
    "host_ips": "hostIPs",
    "pod_cidrs": "podCIDRs",
    "cluster_ips": "clusterIPs",
    "external_ips": "externalIPs",
    "system_uuid": "systemUUID",
    "boot_id": "bootID",
    "machine_id": "machineID",
    "container_id": "containerID",
    "image_id": "imageID",
    "from_": "from",
    "continue_": "continue",
    "int_": "int",
}


def wire_name(field: str) -> str:
    """`node_name` is `nodeName`, `pod_cidr` is `podCIDR`; a name's first word is always in lower case."""
    if field in IRREGULAR:
        return IRREGULAR[field]
    first, *rest = field.split("_")
    return first + "".join(word.upper() if word in ACRONYMS else word.capitalize() for word in rest)


class View(msgspec.Struct, rename=wire_name, kw_only=True, gc=False):
    """A part of an object. Shared between readers: never change one.

    Views never form cycles, so the cyclic collector need not walk the hundreds of thousands that caches hold.
    """


class OwnerReference(View):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


_owners = Shared[list[OwnerReference]]()


class ObjectMeta(View):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = msgspec.field(default_factory=nothing)
    finalizers: list[str] = msgspec.field(default_factory=nothing)

    def __post_init__(self) -> None:
        self.namespace, self.generate_name = intern(self.namespace), intern(self.generate_name)
        self.labels, self.annotations = shared_map(self.labels), shared_texts(self.annotations)
        if self.owner_references:
            self.owner_references = _owners(self.owner_references)

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that manages this object, if any."""
        if not self.owner_references:
            return None
        return next((owner for owner in self.owner_references if owner.controller), None)


class GVK(NamedTuple):
    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        """As in `apiVersion:`."""
        return f"{self.group}/{self.version}" if self.group else self.version


class Key(NamedTuple):
    """One object of a kind; `namespace` is empty for cluster-scoped kinds."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Object(View):
    """A whole object; subclasses add `spec` and `status` and say which kind they are."""

    gvk: ClassVar[GVK] = GVK("", "", "")
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)

    @property
    def key(self) -> Key:
        return Key(self.metadata.namespace, self.metadata.name)

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def uid(self) -> str:
        return self.metadata.uid

    @property
    def is_deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None


class Condition(View):
    """A condition of any kind; the fields that only some kinds have are None elsewhere."""

    type: str
    status: str  # "True", "False" or "Unknown".
    reason: str = ""
    message: str = ""
    observed_generation: int | None = None
    last_transition_time: datetime | None = None
    last_update_time: datetime | None = None
    last_heartbeat_time: datetime | None = None
    last_probe_time: datetime | None = None

    def __post_init__(self) -> None:
        # Every pod and node has some, and they say the same.
        self.type, self.status = intern(self.type), intern(self.status)
        self.reason, self.message = intern(self.reason), intern(self.message)


def find_condition(conditions: list[Condition], kind: str) -> Condition | None:
    """The condition of type `kind`."""
    for condition in conditions:
        if condition.type == kind:
            return condition
    return None


def is_true(conditions: list[Condition], kind: str) -> bool:
    """A condition of type `kind` is there and holds."""
    found = find_condition(conditions, kind)
    return found is not None and found.status == "True"
