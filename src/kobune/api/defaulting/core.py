"""The core group. Source: upstream pkg/apis/core/v1/defaults.go."""

from base64 import b64encode

from kobune.api.defaulting.pods import default_pod, default_template
from kobune.api.defaulting.resources import round_up
from kobune.api.defaulting.services import default_service
from kobune.api.defaulting.volumes import default_claim_spec, default_source
from kobune.api.errors import Json

NAME_LABEL = "kubernetes.io/metadata.name"


def default_namespace(namespace: Json) -> None:
    """Its name as a label, so that selectors can mean it, and its phase."""
    metadata = namespace.setdefault("metadata", {})
    if metadata.get("name"):
        metadata.setdefault("labels", {})[NAME_LABEL] = metadata["name"]
    status = namespace.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Active"


def default_node(node: Json) -> None:
    status = node.get("status")
    if status:
        if status.get("capacity") and "allocatable" not in status:
            status["allocatable"] = dict(status["capacity"])
        round_up(status.get("capacity"))
        round_up(status.get("allocatable"))


def default_secret(secret: Json) -> None:
    """Its type, and its content in one form: what was written as plain text joins the data."""
    plain = secret.pop("stringData", None)
    if plain:
        encoded = {name: b64encode(text.encode()).decode() for name, text in plain.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}
    if not secret.get("type"):
        secret["type"] = "Opaque"


def default_replication_controller(controller: Json) -> None:
    """Selector and labels are those of the template, unless said otherwise."""
    spec = controller.setdefault("spec", {})
    template = spec.get("template")
    if template is not None:
        labels = (template.get("metadata") or {}).get("labels")
        if labels:
            if not spec.get("selector"):
                spec["selector"] = dict(labels)
            metadata = controller.setdefault("metadata", {})
            if not metadata.get("labels"):
                metadata["labels"] = dict(labels)
        default_template(spec)
    if "replicas" not in spec:
        spec["replicas"] = 1


def default_persistent_volume(volume: Json) -> None:
    status = volume.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"
    spec = volume.setdefault("spec", {})
    if not spec.get("persistentVolumeReclaimPolicy"):
        spec["persistentVolumeReclaimPolicy"] = "Retain"
    if "volumeMode" not in spec:
        spec["volumeMode"] = "Filesystem"
    round_up(spec.get("capacity"))
    for field, source in spec.items():
        default_source(field, source)


def default_claim(claim: Json) -> None:
    status = claim.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"
    default_claim_spec(claim.setdefault("spec", {}))
    round_up(status.get("capacity"))
    round_up(status.get("allocatedResources"))


def default_endpoints(endpoints: Json) -> None:
    for subset in endpoints.get("subsets") or ():
        for port in subset.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"


def default_limit_range(limits: Json) -> None:
    for item in (limits.get("spec") or {}).get("limits") or ():
        if item.get("type") == "Container":
            default = {**(item.get("max") or {}), **(item.get("default") or {})}
            request = {**(item.get("min") or {}), **default, **(item.get("defaultRequest") or {})}
            # Upstream's maps are there though empty, and an empty map is not written.
            if default:
                item["default"] = default
            if request:
                item["defaultRequest"] = request
        for field in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            round_up(item.get(field))


def default_quota(quota: Json) -> None:
    round_up((quota.get("spec") or {}).get("hard"))
    status = quota.get("status") or {}
    round_up(status.get("hard"))
    round_up(status.get("used"))


def default_pod_template(template: Json) -> None:
    default_template(template)


DEFAULTS = {
    "Endpoints": default_endpoints,
    "LimitRange": default_limit_range,
    "Namespace": default_namespace,
    "Node": default_node,
    "PersistentVolume": default_persistent_volume,
    "PersistentVolumeClaim": default_claim,
    "Pod": default_pod,
    "PodTemplate": default_pod_template,
    "ReplicationController": default_replication_controller,
    "ResourceQuota": default_quota,
    "Secret": default_secret,
    "Service": default_service,
}
