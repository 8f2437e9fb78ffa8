"""What the scheduler tells users about their pods: events, and the PodScheduled condition. Pure, but for `patch`."""

from datetime import datetime

from kobune.api.errors import Json
from kobune.api.objects.meta import find_condition
from kobune.api.objects.scheduling import Pod
from kobune.api.timestamps import format_time
from kobune.controlplane.scheduler.views import PodGroup

NOTE_LIMIT = 1024  # Characters of an event's text. Source: upstream NoteLengthLimit.
UNSCHEDULABLE, SCHEDULER_ERROR = "Unschedulable", "SchedulerError"


def truncated(message: str) -> str:
    """A message that an event can hold."""
    return message if len(message) <= NOTE_LIMIT else f"{message[: NOTE_LIMIT - 4]} ..."


def not_scheduled(pod: Pod, reason: str, message: str, nominated: str | None, now: datetime) -> Json | None:
    """The status patch that says why the pod has no node; None when the pod says it already.

    Args:
        nominated: the node that is kept for the pod, "" to keep none, None to leave that as it is.
    """
    known = find_condition(pod.status.conditions, "PodScheduled")
    status: Json = {}
    if known is None or (known.status, known.reason, known.message) != ("False", reason, message):
        same = known is not None and known.status == "False"
        since = known.last_transition_time if known is not None and same else None
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": reason,
                "message": message,
                "lastProbeTime": None,
                "lastTransitionTime": format_time(since or now),
                **({"observedGeneration": pod.metadata.generation} if pod.metadata.generation else {}),
            }
        ]
    if nominated is not None and nominated != pod.status.nominated_node_name:
        status["nominatedNodeName"] = nominated or None
    return status or None


def group_condition(group: PodGroup, reason: str, message: str, now: datetime) -> Json | None:
    """The condition that says whether a group has been scheduled; None when the group says it already, or has been once."""
    status = "True" if reason == "Scheduled" else "False"
    known = find_condition(group.status.conditions, "PodGroupScheduled")
    if known is not None and known.status == "True" and status == "False":
        return None  # Pods that come later make it no less scheduled.
    if known is not None and (known.status, known.reason, known.message) == (status, reason, message):
        return None
    since = known.last_transition_time if known is not None and known.status == status else None
    generation = group.metadata.generation
    return {
        "type": "PodGroupScheduled",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": format_time(since or now),
        **({"observedGeneration": generation} if generation else {}),
    }


def preempted(scheduler_name: str, generation: int, now: datetime) -> Json:
    """The status patch of a pod that has to make room. Source: upstream preemption executor."""
    return {
        "conditions": [
            {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "PreemptionByScheduler",
                "message": f"{scheduler_name}: preempting to accommodate a higher priority pod",
                "lastProbeTime": None,
                "lastTransitionTime": format_time(now),
                **({"observedGeneration": generation} if generation else {}),
            }
        ]
    }
