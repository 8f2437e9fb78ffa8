"""PriorityClasses."""

from kobune.api.errors import Json


def default_priority_class(priority_class: Json) -> None:
    priority_class.setdefault("preemptionPolicy", "PreemptLowerPriority")


DEFAULTS = {"PriorityClass": default_priority_class}
