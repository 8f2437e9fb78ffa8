"""The ConfigMap `cluster-autoscaler-status`. Source: upstream cluster-autoscaler, clusterstate/api."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import yaml

from kobune.api.errors import Json
from kobune.controlplane.autoscaler.health import Counts
from kobune.controlplane.autoscaler.model import Group

NAME, NAMESPACE = "cluster-autoscaler-status", "kube-system"
UPDATED = "cluster-autoscaler.kubernetes.io/last-updated"


@dataclass(frozen=True, slots=True)
class GroupReport:
    group: Group
    counts: Counts
    scale_up: str  # "NoActivity", "InProgress" or "Backoff".
    candidates: int
    leaving: int = 0  # Nodes on their way out.


class Transitions:
    """When each state of the report last changed."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[str, str]] = {}

    def moment(self, of: str, part: str, state: str, now: str) -> str:
        known = self._known.get((of, part))
        if known is None or known[0] != state:
            known = self._known[of, part] = (state, now)
        return known[1]


def render(
    reports: Mapping[str, GroupReport], *, healthy: bool, now: str, shown: str, transitions: Transitions
) -> Json:
    """The whole ConfigMap.

    Args:
        now: as the API writes times; `shown`: as the annotation does.
    """

    def part(of: str, kind: str, state: str, **more: object) -> Json:
        since = transitions.moment(of, kind, state, now)
        return {"status": state, **more, "lastProbeTime": now, "lastTransitionTime": since}

    total = sum((report.counts for report in reports.values()), Counts())
    candidates = sum(report.candidates for report in reports.values())
    leaving = sum(report.leaving for report in reports.values())
    states = {report.scale_up for report in reports.values()}
    document: Json = {
        "time": shown,
        "autoscalerStatus": "Running",
        "clusterWide": {
            "health": part("", "health", "Healthy" if healthy else "Unhealthy", nodeCounts=_counts(total, leaving)),
            "scaleUp": part("", "scaleUp", "InProgress" if "InProgress" in states else "NoActivity"),
            "scaleDown": part("", "scaleDown", _scale_down(candidates), candidates=candidates),
        },
        "nodeGroups": [_group(report, part) for report in reports.values()],
    }
    return {
        "metadata": {"name": NAME, "namespace": NAMESPACE, "annotations": {UPDATED: shown}},
        "data": {"status": yaml.safe_dump(document, sort_keys=False)},
    }


def _group(report: GroupReport, part: Callable[..., Json]) -> Json:
    group, name = report.group, report.group.name
    is_well = not report.counts.long_unregistered and report.scale_up != "Backoff"
    return {
        "name": name,
        "health": part(
            name,
            "health",
            "Healthy" if is_well else "Unhealthy",
            nodeCounts=_counts(report.counts, report.leaving),
            cloudProviderTarget=group.target,
            minSize=group.min_size,
            maxSize=group.max_size,
        ),
        "scaleUp": part(name, "scaleUp", report.scale_up, **_backoff(report)),
        "scaleDown": part(name, "scaleDown", _scale_down(report.candidates), candidates=report.candidates),
    }


def _backoff(report: GroupReport) -> Json:
    """Why the group is left alone: its machines did not become nodes."""
    if report.scale_up != "Backoff":
        return {}
    return {
        "backoffInfo": {
            "errorCode": "timeout",
            "errorMessage": f"Scale-up timed out for node group {report.group.name}",
        }
    }


def _counts(counts: Counts, leaving: int) -> Json:
    registered = {
        "total": counts.registered,
        "ready": counts.ready,
        "notStarted": counts.not_started,
        **({"beingDeleted": leaving} if leaving else {}),
        "unready": {"total": counts.unready},
    }
    return {
        "registered": registered,
        "longUnregistered": counts.long_unregistered,
        "unregistered": counts.unregistered,
    }


def _scale_down(candidates: int) -> str:
    return "CandidatesPresent" if candidates else "NoCandidates"
