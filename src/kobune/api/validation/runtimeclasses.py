"""RuntimeClasses."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate
from kobune.api.validation.affinity import check_tolerations
from kobune.api.validation.checks import Errors, check_immutable, check_required_name
from kobune.api.validation.kinds import Rules
from kobune.api.validation.metadata import check_labels
from kobune.api.validation.quantities import check_container_requirements

TOLERATION_KEY = ("key", "operator", "value", "effect")


def check_class(runtime: Json, errors: Errors) -> None:
    check_required_name(names.is_dns1123_label, runtime.get("handler"), "handler", errors)
    overhead, scheduling = runtime.get("overhead"), runtime.get("scheduling")
    if overhead is not None:
        check_container_requirements({"limits": overhead.get("podFixed") or {}}, "overhead", errors)
    if scheduling is not None:
        check_labels(scheduling.get("nodeSelector"), "scheduling.nodeSelector", errors)
        tolerations = scheduling.get("tolerations") or []
        check_tolerations(tolerations, "scheduling.tolerations", errors)
        seen = set()
        for index, toleration in enumerate(tolerations):
            key = tuple(toleration.get(field) or "" for field in TOLERATION_KEY)
            if key in seen:
                errors.append(duplicate(f"scheduling.tolerations[{index}]", toleration))
            seen.add(key)


def check_class_update(new: Json, old: Json, errors: Errors) -> None:
    check_class(new, errors)
    check_immutable(new, old, "handler", "handler", errors)


RULES = {"RuntimeClass": Rules(check_class, check_class_update)}
