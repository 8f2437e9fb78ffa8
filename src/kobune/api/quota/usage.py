"""What an object of each kind is charged for, by the names that quotas use.

Source: upstream pkg/quota/v1/evaluator/core and apiserver quota/v1/generic.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from kobune.api.errors import Json
from kobune.api.kinds import Kind
from kobune.api.quantity import to_bytes
from kobune.api.quota.amounts import Amounts
from kobune.api.quota.pods import is_pod_resource, pod_in_scope, pod_usage
from kobune.api.quota.scopes import selects

CLASS_SUFFIX = ".storageclass.storage.k8s.io/"
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
CLAIM_RESOURCES = ("persistentvolumeclaims", "requests.storage")
SERVICE_RESOURCES = ("count/services", "services", "services.nodeports", "services.loadbalancers")
DEVICE_CLASS_SUFFIX = ".deviceclass.resource.k8s.io/devices"
MOST_DEVICES = 32  # Of a request for all there are. Source: upstream AllocationResultsMaxSize.
# Kinds that are counted under their plain name too.
PLAIN_NAMES = ("configmaps", "replicationcontrollers", "resourcequotas", "secrets")
NEVER = frozenset({("", "bindings"), ("", "events"), ("events.k8s.io", "events")})


def _no_scope(_scope: Json, _obj: Json) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Measure:
    """How one kind is counted.

    `covers` says which of a quota's names concern the kind, `usage` what an object uses at a moment, `in_scope` whether a
    scope holds it.
    """

    covers: Callable[[str], bool]
    usage: Callable[[Json, datetime], Amounts]
    in_scope: Callable[[Json, Json], bool] = _no_scope


def find_measure(kind: Kind) -> Measure | None:
    """None for what is never charged for."""
    if (kind.group, kind.plural) in NEVER or not kind.namespaced or not kind.is_kept:
        return None
    return measure_of(kind.group, kind.plural)


def measure_of(group: str, plural: str) -> Measure:
    """Of a namespaced kind that is charged for; of most kinds only the number matters."""
    special = SPECIAL.get((group, plural))
    if special is not None:
        return special
    names = [f"count/{plural}.{group}" if group else f"count/{plural}"]
    if not group and plural in PLAIN_NAMES:
        names.append(plural)
    return Measure(lambda name: name in names, lambda _obj, _now: dict.fromkeys(names, "1"))


def service_usage(service: Json, _now: datetime) -> Amounts:
    spec = service.get("spec") or {}
    ports, sort = spec.get("ports") or (), spec.get("type")
    balanced, node_ports = 0, 0
    if sort == "NodePort":
        node_ports = len(ports)
    elif sort == "LoadBalancer":
        balanced = 1
        given = sum(bool(port.get("nodePort")) for port in ports)
        node_ports = given if spec.get("allocateLoadBalancerNodePorts") is False else len(ports)
    return {
        "count/services": "1", "services": "1", "services.nodeports": str(node_ports),
        "services.loadbalancers": str(balanced),
    }  # fmt: skip


def claim_usage(claim: Json, _now: datetime) -> Amounts:
    spec = claim.get("spec") or {}
    usage = {"persistentvolumeclaims": "1", "count/persistentvolumeclaims": "1"}
    requested = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if requested is not None:
        given = allocated(claim)
        if given is not None and to_bytes(given) > to_bytes(requested):
            requested = given
        usage["requests.storage"] = requested
    sort = (claim["metadata"].get("annotations") or {}).get(CLASS_ANNOTATION, spec.get("storageClassName"))
    if sort:
        usage |= {f"{sort}{CLASS_SUFFIX}{name}": usage[name] for name in CLAIM_RESOURCES if name in usage}
    return usage


def device_usage(claim: Json, _now: datetime) -> Amounts:
    """Of alternatives, each device class is charged for the greediest."""
    usage: dict[str, int] = {"count/resourceclaims.resource.k8s.io": 1}
    for request in ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ():
        greatest: dict[str, int] = {}
        for one in request.get("firstAvailable") or [request.get("exactly") or {}]:
            modes = {"ExactCount": one.get("count", 0), "All": MOST_DEVICES}
            name = f"{one.get('deviceClassName', '')}{DEVICE_CLASS_SUFFIX}"
            greatest[name] = max(greatest.get(name, 0), modes.get(one.get("allocationMode", ""), 0))
        for name, count in greatest.items():
            usage[name] = usage.get(name, 0) + count
    return {name: str(count) for name, count in usage.items()}


def _covers_claim(name: str) -> bool:
    plain = name.rpartition(CLASS_SUFFIX)[2] if CLASS_SUFFIX in name else name
    return name == "count/persistentvolumeclaims" or plain in CLAIM_RESOURCES


def allocated(claim: Json) -> str | None:
    """The storage that its volume has been given, or is on the way to."""
    amount: str | None = ((claim.get("status") or {}).get("allocatedResources") or {}).get("storage")
    return amount


def attribute_classes(claim: Json) -> set[str]:
    """The VolumeAttributesClasses that the claim has, wants or is on the way to."""
    status = claim.get("status") or {}
    names = (
        (claim.get("spec") or {}).get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return {name for name in names if name}


def _claim_in_scope(scope: Json, claim: Json) -> bool:
    if scope["scopeName"] != "VolumeAttributesClass":
        return False
    return any(selects(scope, name) for name in attribute_classes(claim) or [""])


SPECIAL: Mapping[tuple[str, str], Measure] = {
    ("", "pods"): Measure(is_pod_resource, pod_usage, pod_in_scope),
    ("", "services"): Measure(SERVICE_RESOURCES.__contains__, service_usage),
    ("", "persistentvolumeclaims"): Measure(_covers_claim, claim_usage, _claim_in_scope),
    ("resource.k8s.io", "resourceclaims"): Measure(
        lambda name: name == "count/resourceclaims.resource.k8s.io" or name.endswith(DEVICE_CLASS_SUFFIX),
        device_usage,
    ),
}
