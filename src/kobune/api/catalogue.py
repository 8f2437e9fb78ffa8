"""The catalogue of built-in kinds. Routes, discovery, storage keys, RBAC names and CLI columns all read these rows."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from kobune.api.features import GENERIC_WORKLOAD, is_switched_on
from kobune.api.kinds import SUBRESOURCES, VERBS, Kind, Resource, Subresource

__all__ = (
    "KINDS", "METRICS_KINDS", "SUBRESOURCES", "VERBS", "Catalogue", "Group", "Kind", "Resource", "Subresource", "builtin", "find_builtin",
    "group_priority", "served", "version_order", "version_priority",
)  # fmt: skip

_SCALED = ("status", "scale")
_POD_PARTS = (
    "status", "attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "resize",
)  # fmt: skip
_POD_FIELDS = (
    "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
    "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName", "spec.host",
)  # fmt: skip
_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT_FIELDS = (*(f"involvedObject.{part}" for part in _REFERENCE), "reason", "reportingComponent", "source", "type")
_NEW_EVENT_FIELDS = (*(f"regarding.{part}" for part in _REFERENCE), "reason", "reportingController", "type")
_WITHOUT_COLLECTION = tuple(verb for verb in VERBS if verb != "deletecollection")
_ALL = ("all",)
_EXTENSIONS = ("api-extensions",)

_Plain = partial(Kind, subresources=())
_Cluster = partial(Kind, namespaced=False)
_PlainCluster = partial(Kind, namespaced=False, subresources=())
_Asked = partial(Kind, subresources=(), verbs=("create",))
_AskedCluster = partial(Kind, namespaced=False, subresources=(), verbs=("create",))

_ADMISSION, _FLOW = "admissionregistration.k8s.io", "flowcontrol.apiserver.k8s.io"
_AUTHN, _AUTHZ, _RBAC = "authentication.k8s.io", "authorization.k8s.io", "rbac.authorization.k8s.io"
_CERTIFICATES, _NETWORKING, _STORAGE = "certificates.k8s.io", "networking.k8s.io", "storage.k8s.io"

# Alpha and beta versions are off by default since 1.24, so only those that were on before have rows, and the alpha ones of
# features that are implemented: `features.is_switched_on` says when those are served.
# Sources: upstream api/discovery, DefaultAPIResourceConfigSource, SpecialDefaultResourcePrefixes, the groups' field label
# conversions, and each version's published OpenAPI.
KINDS: tuple[Kind, ...] = (
    #            group          version  name                   plural                    short
    _Asked(      "",            "v1",    "Binding",             "bindings"),
    _PlainCluster("",           "v1",    "ComponentStatus",     "componentstatuses",      ("cs",),     verbs=("get", "list")),
    _Plain(      "",            "v1",    "ConfigMap",           "configmaps",             ("cm",)),
    _Plain(      "",            "v1",    "Endpoints",           "endpoints",              ("ep",),     storage="services/endpoints"),
    _Plain(      "",            "v1",    "Event",               "events",                 ("ev",),     selectable=_EVENT_FIELDS),
    _Plain(      "",            "v1",    "LimitRange",          "limitranges",            ("limits",)),
    _Cluster(    "",            "v1",    "Namespace",           "namespaces",             ("ns",),     subresources=("status", "finalize"), verbs=_WITHOUT_COLLECTION, selectable=("status.phase",)),
    _Cluster(    "",            "v1",    "Node",                "nodes",                  ("no",),     subresources=("status", "proxy"), storage="minions", selectable=("spec.unschedulable",)),
    Kind(        "",            "v1",    "PersistentVolumeClaim", "persistentvolumeclaims", ("pvc",), answers_deleted=True),
    _Cluster(    "",            "v1",    "PersistentVolume",    "persistentvolumes",      ("pv",), answers_deleted=True),
    Kind(        "",            "v1",    "Pod",                 "pods",                   ("po",),     subresources=_POD_PARTS, categories=_ALL, selectable=_POD_FIELDS, answers_deleted=True),
    _Plain(      "",            "v1",    "PodTemplate",         "podtemplates", answers_deleted=True),
    Kind(        "",            "v1",    "ReplicationController", "replicationcontrollers", ("rc",),   subresources=_SCALED, categories=_ALL, storage="controllers", selectable=("status.replicas",)),
    Kind(        "",            "v1",    "ResourceQuota",       "resourcequotas",         ("quota",), answers_deleted=True),
    _Plain(      "",            "v1",    "Secret",              "secrets",                selectable=("type",)),
    Kind(        "",            "v1",    "ServiceAccount",      "serviceaccounts",        ("sa",),     subresources=("token",), answers_deleted=True),
    Kind(        "",            "v1",    "Service",             "services",               ("svc",),    subresources=("status", "proxy"), categories=_ALL, storage="services/specs", selectable=("spec.clusterIP", "spec.type"), answers_deleted=True),

    _PlainCluster(_ADMISSION,   "v1",    "MutatingAdmissionPolicy", "mutatingadmissionpolicies", categories=_EXTENSIONS, since="1.36", stored=f"{_ADMISSION}/v1beta1"),
    _PlainCluster(_ADMISSION,   "v1",    "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", categories=_EXTENSIONS, since="1.36", stored=f"{_ADMISSION}/v1beta1"),
    _PlainCluster(_ADMISSION,   "v1",    "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", categories=_EXTENSIONS),
    _Cluster(    _ADMISSION,    "v1",    "ValidatingAdmissionPolicy", "validatingadmissionpolicies", categories=_EXTENSIONS, since="1.30"),
    _PlainCluster(_ADMISSION,   "v1",    "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", categories=_EXTENSIONS, since="1.30"),
    _PlainCluster(_ADMISSION,   "v1",    "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", categories=_EXTENSIONS),

    _Cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", ("crd", "crds"), categories=_EXTENSIONS, storage="apiextensions.k8s.io/customresourcedefinitions", stored="apiextensions.k8s.io/v1beta1"),
    _Cluster("apiregistration.k8s.io", "v1", "APIService", "apiservices", categories=_EXTENSIONS, storage="apiregistration.k8s.io/apiservices"),

    _Plain(      "apps",        "v1",    "ControllerRevision",  "controllerrevisions"),
    Kind(        "apps",        "v1",    "DaemonSet",           "daemonsets",             ("ds",),     categories=_ALL),
    Kind(        "apps",        "v1",    "Deployment",          "deployments",            ("deploy",), subresources=_SCALED, categories=_ALL),
    Kind(        "apps",        "v1",    "ReplicaSet",          "replicasets",            ("rs",),     subresources=_SCALED, categories=_ALL),
    Kind(        "apps",        "v1",    "StatefulSet",         "statefulsets",           ("sts",),    subresources=_SCALED, categories=_ALL),

    _AskedCluster(_AUTHN,       "v1",    "SelfSubjectReview",   "selfsubjectreviews",     since="1.28"),
    _AskedCluster(_AUTHN,       "v1",    "TokenReview",         "tokenreviews"),
    _Asked(      _AUTHZ,        "v1",    "LocalSubjectAccessReview", "localsubjectaccessreviews"),
    _AskedCluster(_AUTHZ,       "v1",    "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
    _AskedCluster(_AUTHZ,       "v1",    "SelfSubjectRulesReview", "selfsubjectrulesreviews"),
    _AskedCluster(_AUTHZ,       "v1",    "SubjectAccessReview", "subjectaccessreviews"),

    Kind(        "autoscaling", "v2",    "HorizontalPodAutoscaler", "horizontalpodautoscalers", ("hpa",), categories=_ALL),
    Kind(        "autoscaling", "v1",    "HorizontalPodAutoscaler", "horizontalpodautoscalers", ("hpa",), categories=_ALL, stored="autoscaling/v2"),
    Kind(        "autoscaling", "v2beta2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", ("hpa",), categories=_ALL, until="1.26", stored="autoscaling/v2"),

    Kind(        "batch",       "v1",    "CronJob",             "cronjobs",               ("cj",),     categories=_ALL),
    Kind(        "batch",       "v1",    "Job",                 "jobs",                   categories=_ALL, selectable=("status.successful",)),

    _Cluster(    _CERTIFICATES, "v1",    "CertificateSigningRequest", "certificatesigningrequests", ("csr",), subresources=("status", "approval"), selectable=("spec.signerName",)),
    _PlainCluster(_CERTIFICATES, "v1",   "ClusterTrustBundle",  "clustertrustbundles",    since="1.37", selectable=("spec.signerName",)),
    Kind(        _CERTIFICATES, "v1",    "PodCertificateRequest", "podcertificaterequests", since="1.37", selectable=("spec.signerName", "spec.podName", "spec.nodeName")),

    _Plain("coordination.k8s.io", "v1",  "Lease",               "leases"),
    _Plain("discovery.k8s.io",  "v1",    "EndpointSlice",       "endpointslices"),
    _Plain("events.k8s.io",     "v1",    "Event",               "events",                 ("ev",),     selectable=_NEW_EVENT_FIELDS, stored="v1"),

    _Cluster(    _FLOW,         "v1",    "FlowSchema",          "flowschemas",            since="1.29"),
    _Cluster(    _FLOW,         "v1beta3", "FlowSchema",        "flowschemas",            since="1.26", until="1.32", stored=f"{_FLOW}/v1"),
    _Cluster(    _FLOW,         "v1beta2", "FlowSchema",        "flowschemas",            until="1.29", stored=f"{_FLOW}/v1beta3"),
    _Cluster(    _FLOW,         "v1beta1", "FlowSchema",        "flowschemas",            until="1.26", stored=f"{_FLOW}/v1beta2"),
    _Cluster(    _FLOW,         "v1",    "PriorityLevelConfiguration", "prioritylevelconfigurations", since="1.29"),
    _Cluster(    _FLOW,         "v1beta3", "PriorityLevelConfiguration", "prioritylevelconfigurations", since="1.26", until="1.32", stored=f"{_FLOW}/v1"),
    _Cluster(    _FLOW,         "v1beta2", "PriorityLevelConfiguration", "prioritylevelconfigurations", until="1.29", stored=f"{_FLOW}/v1beta3"),
    _Cluster(    _FLOW,         "v1beta1", "PriorityLevelConfiguration", "prioritylevelconfigurations", until="1.26", stored=f"{_FLOW}/v1beta2"),

    _PlainCluster(_NETWORKING,  "v1",    "IngressClass",        "ingressclasses"),
    Kind(        _NETWORKING,   "v1",    "Ingress",             "ingresses",              ("ing",),    storage="ingress"),
    _PlainCluster(_NETWORKING,  "v1",    "IPAddress",           "ipaddresses",            ("ip",),     since="1.33"),
    _Plain(      _NETWORKING,   "v1",    "NetworkPolicy",       "networkpolicies",        ("netpol",)),
    _Cluster(    _NETWORKING,   "v1",    "ServiceCIDR",         "servicecidrs",           since="1.33"),

    _PlainCluster("node.k8s.io", "v1",   "RuntimeClass",        "runtimeclasses"),
    Kind(        "policy",      "v1",    "PodDisruptionBudget", "poddisruptionbudgets",   ("pdb",)),

    _PlainCluster(_RBAC,        "v1",    "ClusterRoleBinding",  "clusterrolebindings"),
    _PlainCluster(_RBAC,        "v1",    "ClusterRole",         "clusterroles"),
    _Plain(      _RBAC,         "v1",    "RoleBinding",         "rolebindings"),
    _Plain(      _RBAC,         "v1",    "Role",                "roles"),

    _PlainCluster("resource.k8s.io", "v1", "DeviceClass",       "deviceclasses",          since="1.34", answers_deleted=True),
    _Cluster("resource.k8s.io", "v1",    "DeviceTaintRule",     "devicetaintrules",       since="1.37", answers_deleted=True),
    Kind("resource.k8s.io",     "v1",    "ResourceClaim",       "resourceclaims",         since="1.34", answers_deleted=True),
    _Plain("resource.k8s.io",   "v1",    "ResourceClaimTemplate", "resourceclaimtemplates", since="1.34", answers_deleted=True),
    _PlainCluster("resource.k8s.io", "v1", "ResourceSlice",     "resourceslices",         since="1.34", selectable=("spec.nodeName", "spec.driver"), answers_deleted=True),

    _PlainCluster("scheduling.k8s.io", "v1", "PriorityClass",   "priorityclasses",        ("pc",)),
    Kind("scheduling.k8s.io",   "v1alpha2", "PodGroup",         "podgroups",              since="1.36", until="1.37", gate=GENERIC_WORKLOAD),
    _Plain("scheduling.k8s.io", "v1alpha2", "Workload",         "workloads",              since="1.36", until="1.37", gate=GENERIC_WORKLOAD),

    _PlainCluster(_STORAGE,     "v1",    "CSIDriver",           "csidrivers", answers_deleted=True),
    _PlainCluster(_STORAGE,     "v1",    "CSINode",             "csinodes", answers_deleted=True),
    _Plain(      _STORAGE,      "v1",    "CSIStorageCapacity",  "csistoragecapacities"),
    _Plain(      _STORAGE,      "v1beta1", "CSIStorageCapacity", "csistoragecapacities",  until="1.27", stored=f"{_STORAGE}/v1"),
    _PlainCluster(_STORAGE,     "v1",    "StorageClass",        "storageclasses",         ("sc",), answers_deleted=True),
    _Cluster(    _STORAGE,      "v1",    "VolumeAttachment",    "volumeattachments", answers_deleted=True),
    _PlainCluster(_STORAGE,     "v1",    "VolumeAttributesClass", "volumeattributesclasses", ("vac",), since="1.34", answers_deleted=True),

    _Cluster("storagemigration.k8s.io", "v1", "StorageVersionMigration", "storageversionmigrations", since="1.37"),
)  # fmt: skip

# What nodes and pods use, measured when it is asked for; upstream clusters have it from metrics-server.
METRICS_KINDS: tuple[Kind, ...] = (
    _PlainCluster("metrics.k8s.io", "v1beta1", "NodeMetrics", "nodes", verbs=("get", "list"), storage="metrics.k8s.io/nodes"),
    _Plain("metrics.k8s.io", "v1beta1", "PodMetrics", "pods", verbs=("get", "list"), storage="metrics.k8s.io/pods"),
)  # fmt: skip

# Groups come in the order of their priority, equal ones by name. Source: upstream's APIService priorities; the
# aggregator's own group stands before all others.
GROUP_PRIORITY = {
    "apiregistration.k8s.io": 20000, "": 18000, "apps": 17800, "events.k8s.io": 17750, _AUTHN: 17700, _AUTHZ: 17600,
    "autoscaling": 17500, "batch": 17400, _CERTIFICATES: 17300, _NETWORKING: 17200, "policy": 17100, _RBAC: 17000,
    _STORAGE: 16800, _ADMISSION: 16700, "apiextensions.k8s.io": 16700, "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200, "resource.k8s.io": 16200,
    _FLOW: 16100, "storagemigration.k8s.io": 15800, "metrics.k8s.io": 100,
}  # fmt: skip
CUSTOM_GROUP_PRIORITY = 1000
# Of versions within their group, where it is not 15 for v1 and 9 for others.
_VERSION_PRIORITY = {
    ("", "v1"): 1, ("autoscaling", "v2"): 30, ("autoscaling", "v2beta2"): 1, (_FLOW, "v1"): 21, (_FLOW, "v1beta3"): 18,
    (_FLOW, "v1beta2"): 15, (_FLOW, "v1beta1"): 12, ("resource.k8s.io", "v1"): 21, ("metrics.k8s.io", "v1beta1"): 100,
}  # fmt: skip
CUSTOM_VERSION_PRIORITY = 100
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_STABILITY = {"": 2, "beta": 1, "alpha": 0, None: 2}


class Group(NamedTuple):
    """An API group; its first version is the preferred one."""

    name: str
    versions: tuple[str, ...]


class Catalogue:
    """The kinds of one cluster: the built-in ones of its version, and custom ones while their definitions last."""

    def __init__(self, kinds: Iterable[Kind] = ()) -> None:
        self._by_plural: dict[tuple[str, str, str], Kind] = {}
        self._by_name: dict[tuple[str, str, str], Kind] = {}
        self._groups: tuple[Group, ...] | None = None
        self.generation = 0  # Counts changes, so that what is derived from the rows can be kept.
        self.listeners: list[Callable[[], object]] = []  # Called after each change.
        for kind in kinds:
            self.add(kind)

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_plural.values())

    def add(self, kind: Kind) -> None:
        """Serve a kind, in place of the one with its group, version and plural."""
        previous = self.find(kind.group, kind.version, kind.plural)
        if previous is not None:
            self.remove(previous)
        self._by_plural[kind.group, kind.version, kind.plural] = kind
        self._by_name[kind.group, kind.version, kind.name] = kind
        self._changed()

    def remove(self, kind: Kind) -> None:
        """Stop serving a kind, if it is served."""
        self._by_plural.pop((kind.group, kind.version, kind.plural), None)
        self._by_name.pop((kind.group, kind.version, kind.name), None)
        self._changed()

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind that a URL names."""
        return self._by_plural.get((group, version, plural))

    def find_kind(self, group: str, version: str, name: str) -> Kind | None:
        """The kind that an object says it is of."""
        return self._by_name.get((group, version, name))

    def storage_version(self, kind: Kind) -> Kind:
        """The row of the version that objects of this kind are stored in."""
        if kind.stored:
            group, _, version = kind.stored.rpartition("/")
            # A version may be stored that clients cannot ask for; its objects are then as in the served one.
            return self.find_kind(group, version, kind.name) or kind
        return kind

    def groups(self) -> tuple[Group, ...]:
        """All groups but the core one, in upstream's order of priority."""
        if self._groups is None:
            versions: dict[str, set[str]] = {}
            for kind in self:
                if kind.group:
                    versions.setdefault(kind.group, set()).add(kind.version)
            self._groups = tuple(
                Group(name, tuple(sorted(versions[name], key=version_order)))
                for name in sorted(versions, key=lambda name: (-group_priority(name), name))
            )
        return self._groups

    def of_version(self, group: str, version: str) -> list[Kind]:
        """The kinds of a group's version, by plural."""
        kinds = [kind for kind in self if kind.group == group and kind.version == version]
        return sorted(kinds, key=lambda kind: kind.plural)

    def _changed(self) -> None:
        self._groups = None
        self.generation += 1
        for listener in self.listeners:
            listener()


def group_priority(group: str) -> int:
    """Higher comes first; custom groups have all the same."""
    return GROUP_PRIORITY.get(group, CUSTOM_GROUP_PRIORITY)


def version_priority(group: str, version: str) -> int:
    """Higher comes first within the group; custom versions have all the same, and are told apart by their names."""
    if group not in GROUP_PRIORITY:
        return CUSTOM_VERSION_PRIORITY
    return _VERSION_PRIORITY.get((group, version), 15 if version == "v1" else 9)


def version_order(version: str) -> tuple[object, ...]:
    """A sort key that puts the preferred version first: v2, v1, v1beta2, v1beta1, v1alpha1, then other names."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (1, version)
    return (0, -_STABILITY[match[2]], -int(match[1]), -int(match[3] or 0))


def builtin(
    cluster_version: str, gates: frozenset[str] = frozenset(), runtime_config: Mapping[str, bool] | None = None
) -> Catalogue:
    """The catalogue of a new cluster of this version ("1.36") with these feature gates on."""
    kinds = served(KINDS, cluster_version)
    return Catalogue(kind for kind in kinds if is_switched_on(kind, gates, runtime_config or {}))


def served(kinds: Iterable[Kind], cluster_version: str) -> tuple[Kind, ...]:
    """The rows that a cluster of this version ("1.36") serves, with the subresources it serves."""
    minor = _minor(cluster_version)
    return tuple(
        _with_served_parts(kind, minor)
        for kind in kinds
        if _minor(kind.since) <= minor and not (kind.until and _minor(kind.until) <= minor)
    )


def find_builtin(group: str, version: str, name: str) -> Kind | None:
    """The row of a built-in kind, whatever cluster version serves it."""
    return _BUILTIN.get((group, version, name))


_BUILTIN = {(kind.group, kind.version, kind.name): kind for kind in KINDS}


def _with_served_parts(kind: Kind, minor: int) -> Kind:
    parts = tuple(part for part in kind.subresources if _minor(SUBRESOURCES[part].since) <= minor)
    return kind if parts == kind.subresources else replace(kind, subresources=parts)


def _minor(version: str) -> int:
    return int(version.split(".")[1])
