"""What a pod can read about itself: fieldRef and resourceFieldRef, for environment and downward API files alike."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from kobune.api.quantity import Number, cpu_millicores, parse_quantity, to_bytes
from kobune.node.kubelet.config import Amounts
from kobune.node.kubelet.pod import Pod, ResourceFieldRef

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")


class Place(NamedTuple):
    """Where a pod runs, which its spec does not say."""

    pod_ips: Sequence[str]
    host_ips: Sequence[str]
    node_name: str
    allocatable: Amounts


class UnknownField(Exception):
    """The pod has no such field to offer."""


def field_value(pod: Pod, path: str, place: Place) -> str:
    """The value of a fieldRef.

    Raises:
        UnknownField: in upstream's words.
    """
    meta = pod.metadata
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        return (meta.labels if subscript[1] == "labels" else meta.annotations).get(subscript[2], "")
    match path:
        case "metadata.name":
            return meta.name
        case "metadata.namespace":
            return meta.namespace
        case "metadata.uid":
            return meta.uid
        case "metadata.labels":
            return _map_lines(meta.labels)
        case "metadata.annotations":
            return _map_lines(meta.annotations)
        case "spec.nodeName":
            return place.node_name
        case "spec.serviceAccountName":
            return pod.spec.service_account_name
        case "status.hostIP":
            return place.host_ips[0] if place.host_ips else ""
        case "status.hostIPs":
            return ",".join(place.host_ips)
        case "status.podIP":
            return place.pod_ips[0] if place.pod_ips else ""
        case "status.podIPs":
            return ",".join(place.pod_ips)
    raise UnknownField(f"unsupported fieldPath: {path}")


def resource_value(pod: Pod, reference: ResourceFieldRef, place: Place, *, container: str = "") -> str:
    """The value of a resourceFieldRef in multiples of its divisor, rounded up. A missing limit is the node's allocatable.

    Args:
        container: the one meant when the reference names none.
    Raises:
        UnknownField: in upstream's words.
    """
    name = reference.container_name or container
    found = pod.find_container(name)
    if found is None:
        raise UnknownField(f"container {name} not found")
    which, _, resource = reference.resource.partition(".")
    if which not in ("limits", "requests") or resource not in ("cpu", "memory", "ephemeral-storage"):
        raise UnknownField(f"unsupported container resource : {reference.resource}")
    given = (found.resources.limits if which == "limits" else found.resources.requests).get(resource)
    if given is None and which == "limits":
        amount: Number = {
            "cpu": -(-place.allocatable.cpu_millicores // 1000),
            "memory": place.allocatable.memory_bytes,
            "ephemeral-storage": place.allocatable.ephemeral_bytes,
        }[resource]
    else:
        amount = parse_quantity(given if given is not None else 0)
    divisor = parse_quantity(reference.divisor or "1") or 1
    if resource == "cpu":
        return str(-(-cpu_millicores(_text(amount)) // max(1, cpu_millicores(_text(divisor)))))
    return str(-(-to_bytes(_text(amount)) // max(1, to_bytes(_text(divisor)))))


def _text(amount: Number) -> str:
    return str(amount) if isinstance(amount, int) else f"{float(amount):.9f}"


def _map_lines(values: dict[str, str]) -> str:
    return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(values.items()))


def _quoted(text: str) -> str:
    """As Go's %q writes it, for the characters labels and annotations hold."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r") + '"'
