"""What the server itself writes into objects of each kind: initial status, generation, what an update may not touch.

Source: upstream pkg/registry, each kind's strategy.go.
"""

from datetime import datetime
from typing import Any

from kobune.api.catalogue import Kind
from kobune.api.defaulting.apps import TEMPLATE_GENERATION
from kobune.api.errors import Json
from kobune.api.qos import qos_class
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver.request import User

# Kinds that count the changes of their wishes in metadata.generation. Custom kinds all do.
COUNTS_GENERATION = frozenset(
    {
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("apps", "DaemonSet"),
        ("apps", "Deployment"),
        ("apps", "ReplicaSet"),
        ("apps", "StatefulSet"),
        ("batch", "CronJob"),
        ("batch", "Job"),
        ("", "Pod"),
        ("", "PodTemplate"),
        ("", "ReplicationController"),
        ("discovery.k8s.io", "EndpointSlice"),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
        ("networking.k8s.io", "Ingress"),
        ("networking.k8s.io", "IngressClass"),
        ("networking.k8s.io", "NetworkPolicy"),
        ("policy", "PodDisruptionBudget"),
        ("resource.k8s.io", "DeviceClass"),
        ("resource.k8s.io", "DeviceTaintRule"),
        ("resource.k8s.io", "ResourceSlice"),
        ("scheduling.k8s.io", "PriorityClass"),
    }
)
CREATE_ON_UPDATE = frozenset(
    {
        ("", "Endpoints"),
        ("", "Event"),
        ("", "LimitRange"),
        ("", "Service"),
        ("coordination.k8s.io", "Lease"),
        ("coordination.k8s.io", "LeaseCandidate"),
        ("events.k8s.io", "Event"),
        ("node.k8s.io", "RuntimeClass"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("rbac.authorization.k8s.io", "Role"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
    }
)
# Kinds whose update must name a resourceVersion. Custom kinds all must.
CONDITIONAL_UPDATE = frozenset(
    {
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("apiregistration.k8s.io", "APIService"),
        ("certificates.k8s.io", "ClusterTrustBundle"),
        ("certificates.k8s.io", "PodCertificateRequest"),
        ("coordination.k8s.io", "Lease"),
        ("coordination.k8s.io", "LeaseCandidate"),
        ("node.k8s.io", "RuntimeClass"),
        ("policy", "PodDisruptionBudget"),
        ("storage.k8s.io", "CSIDriver"),
        ("storage.k8s.io", "CSINode"),
        ("storage.k8s.io", "CSIStorageCapacity"),
        ("storage.k8s.io", "VolumeAttachment"),
    }
)
# Deleting one of these leaves its dependents alone unless the client says otherwise.
ORPHANS_BY_DEFAULT = frozenset({("batch", "Job"), ("", "ReplicationController")})
EVENTS = frozenset({("", "Event"), ("events.k8s.io", "Event")})
# Dependents of these are nobody's business.
WITHOUT_DEPENDENTS = EVENTS
LEASE, NODE_LEASES = ("coordination.k8s.io", "Lease"), "kube-node-lease"

# The status of a new object where upstream's is more than {}: the fields that it always writes.
INITIAL_STATUS: dict[tuple[str, str], Json] = {
    ("", "Namespace"): {"phase": "Active"},
    ("", "PersistentVolumeClaim"): {"phase": "Pending"},
    ("", "ReplicationController"): {"replicas": 0},
    ("", "Service"): {"loadBalancer": {}},
    ("apps", "DaemonSet"): {
        "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
    },
    ("apps", "ReplicaSet"): {"replicas": 0},
    ("apps", "StatefulSet"): {"replicas": 0, "availableReplicas": 0},
    ("autoscaling", "HorizontalPodAutoscaler"): {"desiredReplicas": 0, "currentMetrics": None},
    ("networking.k8s.io", "Ingress"): {"loadBalancer": {}},
    ("policy", "PodDisruptionBudget"): {
        "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
    },
}  # fmt: skip
# Kinds whose taints of devices say since when they are.
TAINTING = frozenset({("resource.k8s.io", "DeviceTaintRule"), ("resource.k8s.io", "ResourceSlice")})
NAME_LABEL = "kubernetes.io/metadata.name"
# Top-level fields whose change is no change of wishes.
NOT_WISHES = frozenset({"apiVersion", "kind", "metadata", "status"})


def may_be_lost(kind: tuple[str, str], namespace: str) -> bool:
    """With the machine's power: events and the heartbeats of nodes, nothing else. Any other Lease is somebody's lock."""
    return kind in EVENTS or (kind == LEASE and namespace == NODE_LEASES)


def prepare_create(kind: Kind, obj: Json, *, user: User, now: datetime) -> None:
    """Write the server's own fields into a new object."""
    name = (kind.group, kind.name)
    if name in COUNTS_GENERATION or kind.custom:
        obj["metadata"]["generation"] = 1
    if name == ("", "Pod"):
        _new_pod(obj, now)
        return
    if "status" in kind.subresources and name != ("", "Node"):
        if kind.custom:
            obj.pop("status", None)
        else:
            obj["status"] = dict(INITIAL_STATUS.get(name, {}))
    if name == ("", "Namespace"):
        # A generated name is not known before.
        obj["metadata"].setdefault("labels", {})[NAME_LABEL] = obj["metadata"].get("name", "")
        finalizers = obj.setdefault("spec", {}).setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")
    elif name == ("", "PersistentVolume"):
        obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": format_time(now)}
    elif name == ("apiextensions.k8s.io", "CustomResourceDefinition"):
        _note_stored_version(obj)
    elif name == ("certificates.k8s.io", "CertificateSigningRequest"):
        _sign_request(obj, user)
    elif name == ("batch", "Job"):
        _generate_selector(obj)
    elif name == ("apps", "DaemonSet"):
        obj["metadata"].setdefault("annotations", {})[TEMPLATE_GENERATION] = str(max(_template_generation(obj), 1))
    elif name in TAINTING:
        _date_taints(obj, None, now)


def prepare_update(kind: Kind, new: Json, old: Json, *, now: datetime) -> None:
    """Undo what an update of the whole object may not change, and count the change of wishes."""
    if "status" in kind.subresources:
        if "status" in old:
            new["status"] = old["status"]
        else:
            new.pop("status", None)
    if kind.group == "" and kind.name == "Namespace":
        spec = new.setdefault("spec", {})
        if "finalizers" in old.get("spec", {}):
            spec["finalizers"] = old["spec"]["finalizers"]
    if kind.group == "apps" and kind.name == "DaemonSet":
        changed = (new.get("spec") or {}).get("template") != (old.get("spec") or {}).get("template")
        annotations = new["metadata"]["annotations"] = dict(new["metadata"].get("annotations") or {})
        annotations[TEMPLATE_GENERATION] = str(_template_generation(old) + changed)
    if kind.group == "certificates.k8s.io" and kind.name == "CertificateSigningRequest":
        new["spec"] = old["spec"]
    if kind.group == "apiextensions.k8s.io" and kind.name == "CustomResourceDefinition":
        _note_stored_version(new)
    if (kind.group, kind.name) in TAINTING:
        _date_taints(new, old, now)
    count_generation(kind, new, old)


def count_generation(kind: Kind, new: Json, old: Json) -> None:
    """One more in metadata.generation when the wishes have changed."""
    generation = old["metadata"].get("generation", 0)
    if kind.custom:
        if _without_metadata(new) != _without_metadata(old):
            generation += 1
    elif (kind.group, kind.name) in COUNTS_GENERATION and wishes(new) != wishes(old):
        generation += 1
    if generation:
        new["metadata"]["generation"] = generation
    else:
        new["metadata"].pop("generation", None)


def prepare_status(kind: Kind, new: Json, old: Json) -> Json:
    """The object that an update of the status makes: the old one with the new status, and some of its metadata."""
    result = dict(old)
    if "status" in new:
        result["status"] = new["status"]
    else:
        result.pop("status", None)
    meta = result["metadata"] = dict(old["metadata"])
    if kind.custom:
        return result
    given = new["metadata"]
    for field in ("labels", "annotations", "finalizers", "ownerReferences"):
        kept = (field == "ownerReferences" and kind.name == "Pod") or (field == "labels" and kind.name == "Deployment")
        if kept:
            continue
        if field in given:
            meta[field] = given[field]
        else:
            meta.pop(field, None)
    if kind.group == "" and kind.name == "Pod":
        _keep_pod_status(result["status"] if isinstance(result.get("status"), dict) else {}, old.get("status") or {})
    return result


def wishes(obj: Json) -> Json:
    """Everything that a client wishes for: the object without metadata and status."""
    return {field: value for field, value in obj.items() if field not in NOT_WISHES}


def _without_metadata(obj: Json) -> Json:
    """Of a custom object without a status subresource the status, too, is a wish."""
    return {field: value for field, value in obj.items() if field != "metadata"}


def _template_generation(daemon_set: Json) -> int:
    said = (daemon_set["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "")
    return int(said) if said.isascii() and said.isdigit() else 0


def _note_stored_version(definition: Json) -> None:
    """Add the storage version to those in which objects may be stored."""
    status = {**(definition.get("status") or {})}
    versions = (definition.get("spec") or {}).get("versions") or ()
    stored = [*(status.get("storedVersions") or ())]
    stored += [one.get("name", "") for one in versions if one.get("storage") and one.get("name") not in stored][:1]
    definition["status"] = {"acceptedNames": {"kind": "", "plural": ""}, "conditions": None, **status}
    definition["status"]["storedVersions"] = stored


def _new_pod(pod: Json, now: datetime) -> None:
    status: Json = {"phase": "Pending", "qosClass": qos_class(pod.get("spec") or {})}
    pod["status"] = status
    if (pod.get("spec") or {}).get("schedulingGates"):
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": None,
                "lastTransitionTime": None,
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }
        ]


def _keep_pod_status(new: Json, old: Json) -> None:
    """A status writer may forget the QoS class and the observed generations; the server does not."""
    for field in ("qosClass", "observedGeneration"):
        if not new.get(field) and old.get(field):
            new[field] = old[field]
    generations: dict[Any, Any] = {}
    for condition in old.get("conditions") or ():
        if condition.get("observedGeneration"):
            generations.setdefault(condition.get("type"), condition["observedGeneration"])
    if generations:
        for condition in new.get("conditions") or ():
            if isinstance(condition, dict) and not condition.get("observedGeneration"):
                generation = generations.get(condition.get("type"))
                if generation:
                    condition["observedGeneration"] = generation


def _sign_request(request: Json, user: User) -> None:
    spec = request.setdefault("spec", {})
    for field in ("username", "uid", "groups", "extra"):
        spec.pop(field, None)
    spec["username"] = user.name
    if user.uid:
        spec["uid"] = user.uid
    spec["groups"] = list(user.groups)
    if user.extra:
        spec["extra"] = {name: list(values) for name, values in user.extra.items()}


def _date_taints(obj: Json, old: Json | None, now: datetime) -> None:
    """A taint without a time is from now; a rule whose effect is another, too, unless the client gives it another time."""
    spec = obj.get("spec") or {}
    rule = spec.get("taint")
    before = ((old or {}).get("spec") or {}).get("taint")
    if (
        rule
        and before
        and rule.get("effect") != before.get("effect")
        and rule.get("timeAdded") == before.get("timeAdded")
    ):
        rule["timeAdded"] = None
    for taint in (*((rule,) if rule else ()), *_taints_of(spec)):
        if not taint.get("timeAdded"):
            taint["timeAdded"] = format_time(now)


def _taints_of(slice_spec: Json) -> list[Json]:
    return [taint for device in slice_spec.get("devices") or () for taint in device.get("taints") or ()]


def _generate_selector(job: Json) -> None:
    """Unless the client selects pods itself, the job's uid does. Source: upstream generateSelectorIfNeeded."""
    spec = job.get("spec") or {}
    if spec.get("manualSelector") or not isinstance(spec.get("template"), dict):
        return
    uid, name = job["metadata"]["uid"], job["metadata"].get("name", "")
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    for label, value in (("job-name", name), ("controller-uid", uid)):
        labels.setdefault(label, value)
        labels.setdefault(f"batch.kubernetes.io/{label}", value)
    selected = spec.setdefault("selector", {}).setdefault("matchLabels", {})
    selected.setdefault("batch.kubernetes.io/controller-uid", uid)
