"""Which writes of each kind are charged for, and what must be said for it.

Source: upstream pkg/quota/v1/evaluator/core and apiserver quota/v1/generic.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from kobune.api.errors import Json
from kobune.api.kinds import Kind
from kobune.api.quota.pods import has_deadline, missing_resources
from kobune.api.quota.usage import Measure, allocated, attribute_classes, find_measure
from kobune.controlplane.apiserver.admission.attributes import Attributes


def _nothing_missing(_obj: Json, _names: Iterable[str]) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Evaluator:
    """How writes of one kind are charged for.

    `measure` counts an object, `handles` says whether a write can change what is used. `missing` is what an object must
    say but does not, in upstream's words, when a quota limits these names.
    """

    measure: Measure
    handles: Callable[[Attributes], bool]
    missing: Callable[[Json, Iterable[str]], str] = _nothing_missing


def find_evaluator(kind: Kind) -> Evaluator | None:
    """None for what is never charged for."""
    measure = find_measure(kind)
    if measure is None:
        return None
    name = (kind.group, kind.plural)
    missing = missing_resources if name == ("", "pods") else _nothing_missing
    return Evaluator(measure, HANDLES.get(name, _created), missing)


def _created(attributes: Attributes) -> bool:
    return attributes.operation == "CREATE" and not attributes.call.subresource


def _created_or_updated(attributes: Attributes) -> bool:
    return not attributes.call.subresource and attributes.operation in ("CREATE", "UPDATE")


def _handles_pod(attributes: Attributes) -> bool:
    if attributes.call.subresource == "resize":
        return attributes.operation == "UPDATE"
    if attributes.call.subresource:
        return False
    if attributes.operation == "CREATE":
        return True
    new, old = attributes.object, attributes.old_object
    return (
        attributes.operation == "UPDATE"
        and new is not None
        and old is not None
        and has_deadline(new) != has_deadline(old)
    )


def _handles_claim(attributes: Attributes) -> bool:
    if attributes.call.subresource != "status":
        return _created_or_updated(attributes)
    new, old = attributes.object or {}, attributes.old_object or {}
    return allocated(new) != allocated(old) or attribute_classes(new) != attribute_classes(old)


HANDLES: Mapping[tuple[str, str], Callable[[Attributes], bool]] = {
    ("", "pods"): _handles_pod,
    ("", "services"): _created_or_updated,
    ("", "persistentvolumeclaims"): _handles_claim,
    ("resource.k8s.io", "resourceclaims"): _created_or_updated,
}
