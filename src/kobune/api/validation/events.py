"""Events, of both groups. An event of the newer form has an eventTime and is checked more strictly."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import invalid, required
from kobune.api.validation.checks import Errors, check_immutable, check_name, same
from kobune.api.validation.kinds import Rules, path_name

LONGEST = {"reportingInstance": 128, "action": 128, "reason": 128, "message": 1024}
MISMATCH = "does not match event.namespace"
# What the two groups call the same thing.
NEWER = {
    "involvedObject": "regarding", "message": "note", "reportingComponent": "reportingController",
    "firstTimestamp": "deprecatedFirstTimestamp", "lastTimestamp": "deprecatedLastTimestamp", "count": "deprecatedCount",
    "source": "deprecatedSource",
}  # fmt: skip
FIXED = (
    "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "type", "eventTime",
    "action", "related", "reportingController", "reportingInstance",
)  # fmt: skip


def check_core_event(event: Json, errors: Errors) -> None:
    _check(event, errors, newer=False)


def check_core_event_update(new: Json, old: Json, errors: Errors) -> None:
    _check(new, errors, newer=False)


def check_event(event: Json, errors: Errors) -> None:
    _check(event, errors, newer=True)
    _check_series(event, errors)
    if not event.get("eventTime"):
        errors.append(required("eventTime"))
    if event.get("type") not in ("Normal", "Warning"):
        errors.append(invalid("type", "", f"has invalid value: {event.get('type') or ''}"))
    for field in ("firstTimestamp", "lastTimestamp", "count"):
        if event.get(NEWER[field]):
            errors.append(invalid(field, "", "needs to be unset"))
    if any((event.get("deprecatedSource") or {}).values()):
        errors.append(invalid("source", "", "needs to be unset"))


def check_event_update(new: Json, old: Json, errors: Errors) -> None:
    _check(new, errors, newer=True)
    if not same(new.get("series"), old.get("series")):
        _check_series(new, errors)
    for field in FIXED:
        check_immutable(new, old, NEWER.get(field, field), field, errors)


def _check(event: Json, errors: Errors, *, newer: bool) -> None:
    def get(field: str) -> str:
        return event.get(NEWER.get(field, field) if newer else field) or ""

    namespace = (event.get("metadata") or {}).get("namespace") or ""
    involved = event.get("regarding" if newer else "involvedObject") or {}
    about = involved.get("namespace") or ""
    if not event.get("eventTime"):
        if about != namespace and (about or namespace not in ("", "default")):
            errors.append(invalid("involvedObject.namespace", about, MISMATCH))
    else:
        if not about and namespace not in ("default", "kube-system"):
            errors.append(invalid("involvedObject.namespace", about, MISMATCH))
        controller, shown = get("reportingComponent"), "reportingController" if newer else "reportingComponent"
        if not controller:
            errors.append(required(shown))
        check_name(names.is_qualified_name, controller, shown, errors)
        for field, limit in LONGEST.items():
            value = get(field)
            if not value and field != "message":
                errors.append(required(field))
            if len(value.encode()) > limit:
                errors.append(invalid(field, "", f"can have at most {limit} characters"))
    check_name(names.is_dns1123_subdomain, namespace, "namespace", errors)


def _check_series(event: Json, errors: Errors) -> None:
    series = event.get("series")
    if series is not None:
        if series.get("count", 0) < 2:
            errors.append(invalid("series.count", "", "should be at least 2"))
        if not series.get("lastObservedTime"):
            errors.append(required("series.lastObservedTime"))


# Events of the core group are hardly checked: they come from everywhere.
CORE_RULES = Rules(check_core_event, check_core_event_update, name=path_name)
RULES = {"Event": Rules(check_event, check_event_update)}
