"""The core group: which rules each kind has, and the kinds too small for a module of their own."""

from kobune.api.errors import Json
from kobune.api.field_errors import invalid, required
from kobune.api.validation.checks import Errors, check_not_negative
from kobune.api.validation.claims import check_claim, check_claim_status, check_claim_update
from kobune.api.validation.configuration import (
    check_config_map,
    check_config_map_update,
    check_secret,
    check_secret_update,
)
from kobune.api.validation.endpoints import check_endpoints, check_endpoints_update
from kobune.api.validation.events import CORE_RULES
from kobune.api.validation.kinds import Rules, label_name
from kobune.api.validation.limits import check_limit_range, check_quota, check_quota_status, check_quota_update
from kobune.api.validation.metadata import check_finalizer_name
from kobune.api.validation.nodes import check_node, check_node_update
from kobune.api.validation.persistentvolumes import check_volume, check_volume_update
from kobune.api.validation.pod_status import check_pod_status
from kobune.api.validation.pod_updates import check_binding, check_ephemeral_update, check_pod_update, check_resize
from kobune.api.validation.pods import check_pod, check_template, check_template_policy
from kobune.api.validation.services import check_service, check_service_status, check_service_update
from kobune.api.validation.statuses import check_replica_counts

COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")


def check_namespace(namespace: Json, errors: Errors) -> None:
    for finalizer in (namespace.get("spec") or {}).get("finalizers") or ():
        check_finalizer_name(finalizer, "spec.finalizers", errors)


def check_namespace_update(new: Json, old: Json, errors: Errors) -> None:
    """Its metadata is all that can be wrong."""


def check_namespace_status(new: Json, old: Json, errors: Errors) -> None:
    phase = (new.get("status") or {}).get("phase") or ""
    deleting = bool((new.get("metadata") or {}).get("deletionTimestamp"))
    if deleting and phase != "Terminating":
        errors.append(invalid("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"))
    elif not deleting and phase != "Active":
        errors.append(invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty"))


def check_namespace_finalize(new: Json, old: Json, errors: Errors) -> None:
    for index, finalizer in enumerate((new.get("spec") or {}).get("finalizers") or ()):
        check_finalizer_name(finalizer, f"spec.finalizers[{index}]", errors)


def check_pod_template(template: Json, errors: Errors) -> None:
    check_template(template.get("template") or {}, "template", errors)


def check_replication_controller(controller: Json, errors: Errors) -> None:
    spec = controller.get("spec") or {}
    check_not_negative(spec, "minReadySeconds", "spec", errors)
    selector = spec.get("selector") or {}
    if not selector:
        errors.append(required("spec.selector"))
    if "replicas" not in spec:
        errors.append(required("spec.replicas"))
    check_not_negative(spec, "replicas", "spec", errors)
    template = spec.get("template")
    if template is None:
        errors.append(required("spec.template"))
        return
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not selector.items() <= labels.items():
        detail = "`selector` does not match template `labels`"
        errors.append(invalid("spec.template.metadata.labels", labels or None, detail))
    check_template(template, "spec.template", errors)
    check_template_policy(template, "ReplicationController", "spec.template", errors)


def check_replication_controller_status(new: Json, old: Json, errors: Errors) -> None:
    check_replica_counts(new.get("status") or {}, COUNTS, COUNTS[1:4], "status", errors)


RULES = {
    "Binding": Rules(check_binding, metadata=False),
    "ConfigMap": Rules(check_config_map, check_config_map_update),
    "Endpoints": Rules(check_endpoints, check_endpoints_update),
    "Event": CORE_RULES,
    "LimitRange": Rules(check_limit_range),
    "Namespace": Rules(
        check_namespace,
        check_namespace_update,
        {"status": check_namespace_status, "finalize": check_namespace_finalize},
        label_name,
    ),
    "Node": Rules(check_node, check_node_update, {"status": check_node_update}),
    "PersistentVolume": Rules(check_volume, check_volume_update),
    "PersistentVolumeClaim": Rules(check_claim, check_claim_update, {"status": check_claim_status}),
    "Pod": Rules(
        check_pod,
        check_pod_update,
        {"status": check_pod_status, "ephemeralcontainers": check_ephemeral_update, "resize": check_resize},
    ),
    "PodTemplate": Rules(check_pod_template),
    "ReplicationController": Rules(
        check_replication_controller, subresources={"status": check_replication_controller_status}
    ),
    "ResourceQuota": Rules(check_quota, check_quota_update, {"status": check_quota_status}),
    "Secret": Rules(check_secret, check_secret_update),
    "Service": Rules(check_service, check_service_update, {"status": check_service_status}, label_name),
}
