"""Conditions as lists of values: set one, drop one, write them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from kobune.api.errors import Json
from kobune.api.objects.meta import Condition
from kobune.api.timestamps import format_time

_TIMES = (
    ("lastProbeTime", "last_probe_time"),
    ("lastUpdateTime", "last_update_time"),
    ("lastHeartbeatTime", "last_heartbeat_time"),
    ("lastTransitionTime", "last_transition_time"),
)


def with_condition(
    conditions: Sequence[Condition],
    kind: str,
    status: str,
    reason: str,
    message: str,
    now: datetime,
    *,
    updated: bool = False,
) -> list[Condition]:
    """The conditions with this one set, at the end. One that has this status and reason already stays as it is.

    `updated` gives it a lastUpdateTime too, as Deployments have it. The transition's time changes with the status only.
    """
    moment = now.replace(microsecond=0)
    known = next((each for each in conditions if each.type == kind), None)
    if known is not None and known.status == status and known.reason == reason:
        return list(conditions)
    since = known.last_transition_time if known is not None and known.status == status else moment
    new = Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=since,
        last_update_time=moment if updated else None,
    )
    return [*without_condition(conditions, kind), new]


def without_condition(conditions: Sequence[Condition], kind: str) -> list[Condition]:
    """The conditions but for this one."""
    return [each for each in conditions if each.type != kind]


def to_json(conditions: Sequence[Condition]) -> list[Json]:
    """The conditions as the API has them."""
    written = []
    for each in conditions:
        entry: Json = {"type": each.type, "status": each.status}
        for name, attribute in _TIMES:
            moment = getattr(each, attribute)
            if moment is not None:
                entry[name] = format_time(moment)
        if each.reason:
            entry["reason"] = each.reason
        if each.message:
            entry["message"] = each.message
        if each.observed_generation is not None:
            entry["observedGeneration"] = each.observed_generation
        written.append(entry)
    return written


def omit_zeros(counts: Mapping[str, int], *, keep: Sequence[str] = ()) -> Json:
    """Counts for a merge patch that removes those of zero but for `keep`, because upstream leaves them out."""
    return {name: count if count or name in keep else None for name, count in counts.items()}
