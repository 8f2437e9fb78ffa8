"""The columns of what a cluster itself consists of: nodes, namespaces, events, leases, quotas, classes."""

from datetime import datetime
from typing import Any

from kobune.api.errors import Json
from kobune.controlplane.apiserver.tables.columns import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    Column,
    GroupKind,
    Printer,
    age,
    labels_text,
    name_of,
    named_and_aged,
    part,
)  # fmt: skip
from kobune.controlplane.apiserver.tables.durations import human_duration, since

_ROLE_PREFIX, _ROLE_LABEL = "node-role.kubernetes.io/", "kubernetes.io/role"


def node_cells(node: Json, now: datetime) -> list[Any]:
    status = part(node, "status")
    info = part(status, "nodeInfo")
    kernel = info.get("kernelVersion") or UNKNOWN
    if info.get("architecture"):
        kernel += f" ({info['architecture']})"
    return [
        name_of(node), _node_state(node, status), _roles(node["metadata"].get("labels") or {}), age(node, now),
        info.get("kubeletVersion", ""), _address(status, "InternalIP"), _address(status, "ExternalIP"),
        info.get("osImage") or UNKNOWN, kernel, info.get("containerRuntimeVersion") or UNKNOWN,
    ]  # fmt: skip


def _node_state(node: Json, status: Json) -> str:
    ready = next((one for one in status.get("conditions") or () if one["type"] == "Ready"), None)
    state = "Unknown" if ready is None else "Ready" if ready["status"] == "True" else "NotReady"
    return f"{state},SchedulingDisabled" if part(node, "spec").get("unschedulable") else state


def _roles(labels: dict[str, str]) -> str:
    roles = {label.removeprefix(_ROLE_PREFIX) for label in labels if label.startswith(_ROLE_PREFIX)}
    roles.add(labels.get(_ROLE_LABEL, ""))
    return ",".join(sorted(roles - {""})) or NONE


def _address(status: Json, kind: str) -> str:
    addresses = status.get("addresses") or ()
    return str(next((one["address"] for one in addresses if one["type"] == kind), NONE))


def namespace_cells(obj: Json, now: datetime) -> list[Any]:
    return [name_of(obj), part(obj, "status").get("phase", ""), age(obj, now)]


def event_cells(event: Json, now: datetime) -> list[Any]:
    """Both versions of an event: events.k8s.io/v1 has other names for the same fields."""

    def field(name: str, new_name: str) -> Any:
        return event.get(name) or event.get(new_name)

    target, source = field("involvedObject", "regarding") or {}, field("source", "deprecatedSource") or {}
    first = field("firstTimestamp", "deprecatedFirstTimestamp") or event.get("eventTime")
    last = field("lastTimestamp", "deprecatedLastTimestamp") or first
    count = field("count", "deprecatedCount") or 1
    if series := event.get("series"):
        last, count = series.get("lastObservedTime"), series.get("count", 0)
    component = source.get("component") or field("reportingComponent", "reportingController") or ""
    instance = source.get("host") or event.get("reportingInstance") or ""
    kind, name = str(target.get("kind", "")).lower(), target.get("name")
    return [
        since(last, now), event.get("type", ""), event.get("reason", ""), f"{kind}/{name}" if name else kind,
        target.get("fieldPath", ""), f"{component}, {instance}" if instance else component,
        str(field("message", "note") or "").strip(), since(first, now), count, name_of(event),
    ]  # fmt: skip


def lease_cells(obj: Json, now: datetime) -> list[Any]:
    return [name_of(obj), part(obj, "spec").get("holderIdentity", ""), age(obj, now)]


def quota_cells(obj: Json, now: datetime) -> list[Any]:
    status = part(obj, "status")
    hard, used = part(status, "hard"), part(status, "used")
    requests, limits = list[str](), list[str]()
    for resource in sorted(hard):
        texts = limits if resource.startswith("limits.") else requests
        texts.append(f"{resource}: {used.get(resource, 0)}/{hard[resource]}")
    return [name_of(obj), ", ".join(requests), ", ".join(limits), age(obj, now)]


def priority_cells(obj: Json, now: datetime) -> list[Any]:
    is_default = bool(obj.get("globalDefault"))
    return [name_of(obj), obj.get("value", 0), is_default, age(obj, now), obj.get("preemptionPolicy", "")]


def group_cells(obj: Json, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    policy = "Gang" if (spec.get("schedulingPolicy") or {}).get("gang") else "Basic"
    workload = ((spec.get("podGroupTemplateRef") or {}).get("workload") or {}).get("workloadName") or "<none>"
    conditions = {one["type"]: one for one in (obj.get("status") or {}).get("conditions") or ()}
    status, scheduled = "Pending", conditions.get("PodGroupScheduled")
    if scheduled is not None:
        status = "Scheduled" if scheduled.get("status") == "True" else "Unschedulable"
    if "DisruptionTarget" in conditions:
        status = conditions["DisruptionTarget"].get("reason", "")
    return [name_of(obj), policy, workload, status, age(obj, now)]


def runtime_cells(obj: Json, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("handler", ""), age(obj, now)]


def component_cells(obj: Json, now: datetime) -> list[Any]:
    healthy = next((one for one in obj.get("conditions") or () if one["type"] == "Healthy"), None)
    if healthy is None:
        return [name_of(obj), "Unknown", "", ""]
    state = "Healthy" if healthy["status"] == "True" else "Unhealthy"
    return [name_of(obj), state, healthy.get("message", ""), healthy.get("error", "")]


def signing_cells(obj: Json, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    seconds = spec.get("expirationSeconds")
    return [
        name_of(obj), age(obj, now), spec.get("signerName") or NONE, spec.get("username", ""),
        NONE if seconds is None else human_duration(seconds), _signing_state(status),
    ]  # fmt: skip


def _signing_state(status: Json) -> str:
    conditions = {one["type"] for one in status.get("conditions") or ()}
    state = "Denied" if "Denied" in conditions else "Approved" if "Approved" in conditions else "Pending"
    return state + (",Failed" if "Failed" in conditions else "") + (",Issued" if status.get("certificate") else "")


def bundle_cells(obj: Json, now: datetime) -> list[Any]:
    return [name_of(obj), part(obj, "spec").get("signerName") or NONE]


def pod_certificate_cells(obj: Json, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    states = [one["type"] for one in part(obj, "status").get("conditions") or ()]
    state = next((one for one in reversed(states) if one in ("Issued", "Denied", "Failed")), "Pending")
    fields = ("podName", "serviceAccountName", "nodeName", "signerName")
    annotations = labels_text(spec.get("unverifiedUserAnnotations"))
    return [name_of(obj), *(spec.get(field, "") for field in fields), state, annotations]


def flow_cells(obj: Json, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    conditions = part(obj, "status").get("conditions") or ()
    dangling = next((one["status"] for one in conditions if one["type"] == "Dangling"), "?")
    return [
        name_of(obj), part(spec, "priorityLevelConfiguration").get("name", ""), spec.get("matchingPrecedence", 0),
        part(spec, "distinguisherMethod").get("type", NONE), age(obj, now), dangling,
    ]  # fmt: skip


def level_cells(obj: Json, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    limited = part(spec, "limited")
    queuing = part(part(limited, "limitResponse"), "queuing")
    shares = limited.get("nominalConcurrencyShares", limited.get("assuredConcurrencyShares", 0)) if limited else NONE
    sizes = ("queues", "handSize", "queueLengthLimit")
    return [name_of(obj), spec.get("type", ""), shares, *(queuing.get(size, NONE) for size in sizes), age(obj, now)]


def migration_cells(obj: Json, now: datetime) -> list[Any]:
    resource = part(part(obj, "spec"), "resource")
    states = [one["type"] for one in part(obj, "status").get("conditions") or () if one.get("status") == "True"]
    state = next((one for one in reversed(states) if one in ("Running", "Failed", "Succeeded")), "Unknown")
    return [name_of(obj), f"{resource.get('resource', '')}.{resource.get('group', '')}".rstrip("."), state]


PRINTERS: dict[GroupKind, Printer] = {
    ("", "Node"): Printer(
        (
            NAME,
            Column("Status", "Whether the node is ready, and whether it takes new pods."),
            Column("Roles", "The node's roles, from its labels."),
            AGE,
            Column("Version", "The version of the node's kubelet."),
            Column("Internal-IP", "The node's address inside the cluster's network.", priority=1),
            Column("External-IP", "The node's address from outside.", priority=1),
            Column("OS-Image", "The node's operating system.", priority=1),
            Column("Kernel-Version", "The version of the node's kernel, and its architecture.", priority=1),
            Column("Container-Runtime", "The node's container runtime and its version.", priority=1),
        ),
        node_cells,
    ),
    ("", "Namespace"): Printer((NAME, Column("Status", "The phase of the namespace."), AGE), namespace_cells),
    **dict.fromkeys(
        (("", "Event"), ("events.k8s.io", "Event")),
        Printer(
            (
                Column("Last Seen", "The time since the event last happened."),
                Column("Type", "Normal or Warning."),
                Column("Reason", "Why, in one word."),
                Column("Object", "What the event is about."),
                Column("Subobject", "The part of the object that the event is about.", priority=1),
                Column("Source", "Who reports the event.", priority=1),
                Column("Message", "What happened."),
                Column("First Seen", "The time since the event first happened.", priority=1),
                Column("Count", "How often the event happened.", priority=1),
                Column("Name", "The name of the event.", format="name", priority=1),
            ),
            event_cells,
        ),
    ),
    ("coordination.k8s.io", "Lease"): Printer((NAME, Column("Holder", "Who holds the lease."), AGE), lease_cells),
    ("", "ResourceQuota"): Printer(
        (
            NAME,
            Column("Request", "What is used of each quota on requests."),
            Column("Limit", "What is used of each quota on limits."),
            AGE,
        ),
        quota_cells,
    ),
    ("", "ServiceAccount"): Printer((NAME, AGE), named_and_aged),
    ("", "ComponentStatus"): Printer(
        (
            NAME,
            Column("Status", "Whether the component is healthy."),
            Column("Message", "What the component's check said."),
            Column("Error", "What went wrong in the check."),
        ),
        component_cells,
    ),
    ("scheduling.k8s.io", "PriorityClass"): Printer(
        (
            NAME,
            Column("Value", "The priority of pods of this class.", type="integer"),
            Column("Global-Default", "Whether pods without a class are of this one.", type="boolean"),
            AGE,
            Column("PreemptionPolicy", "Whether such pods push out others."),
        ),
        priority_cells,
    ),
    ("scheduling.k8s.io", "Workload"): Printer((NAME, AGE), named_and_aged),
    ("scheduling.k8s.io", "PodGroup"): Printer(
        (
            NAME,
            Column("Policy", "Whether the pods are placed all together or one by one."),
            Column("Workload", "What the group was made from."),
            Column("Status", "What the scheduler says of it."),
            AGE,
        ),
        group_cells,
    ),
    ("node.k8s.io", "RuntimeClass"): Printer(
        (NAME, Column("Handler", "What the container runtime calls the class."), AGE), runtime_cells
    ),
    ("certificates.k8s.io", "CertificateSigningRequest"): Printer(
        (
            NAME,
            AGE,
            Column("SignerName", "Who is to sign."),
            Column("Requestor", "Who asks."),
            Column("RequestedDuration", "How long the certificate should be valid."),
            Column("Condition", "What the request is at."),
        ),
        signing_cells,
    ),
    ("certificates.k8s.io", "ClusterTrustBundle"): Printer(
        (NAME, Column("SignerName", "Whose certificates the bundle verifies.")), bundle_cells
    ),
    ("certificates.k8s.io", "PodCertificateRequest"): Printer(
        (
            NAME,
            Column("PodName", "The pod that the certificate is for."),
            Column("ServiceAccountName", "The pod's service account."),
            Column("NodeName", "The pod's node."),
            Column("SignerName", "Who is to sign."),
            Column("State", "What the request is at."),
            Column("UnverifiedUserAnnotations", "What the pod's author adds to the request."),
        ),
        pod_certificate_cells,
    ),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): Printer(
        (
            NAME,
            Column("PriorityLevel", "The priority level of matching requests."),
            Column("MatchingPrecedence", "Schemas with lower numbers are tried first."),
            Column("DistinguisherMethod", "How flows are told apart."),
            AGE,
            Column("MissingPL", "Whether the priority level does not exist."),
        ),
        flow_cells,
        order=lambda obj: (part(obj, "spec").get("matchingPrecedence", 0), name_of(obj)),
    ),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): Printer(
        (
            NAME,
            Column("Type", "Whether requests of this level are limited."),
            Column("NominalConcurrencyShares", "The level's share of the server."),
            Column("Queues", "How many queues there are."),
            Column("HandSize", "How many queues a flow is dealt."),
            Column("QueueLengthLimit", "The most requests that wait in a queue."),
            AGE,
        ),
        level_cells,
    ),
    ("storagemigration.k8s.io", "StorageVersionMigration"): Printer(
        (
            NAME._replace(format=""),
            Column("Resource", "What is migrated."),
            Column("Status", "What the migration is at."),
        ),
        migration_cells,
    ),
}
