"""How many replicas a metric asks for. Pure. Source: upstream's replica calculator, whose messages these are.

Amounts are in thousandths, as upstream's milli values.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from kobune.api.objects.core import PENDING, RUNNING
from kobune.api.objects.lean import LeanContainer, Pod
from kobune.api.objects.meta import find_condition
from kobune.api.quantity import cpu_millicores

# Source: upstream --horizontal-pod-autoscaler-cpu-initialization-period and -initial-readiness-delay.
CPU_INITIALIZATION, INITIAL_READINESS = timedelta(minutes=5), timedelta(seconds=30)


class MetricError(Exception):
    """A metric gives no number of replicas; the message says why, `told` what condition and event say of it."""

    def __init__(self, message: str, *, told: str = "") -> None:
        super().__init__(message)
        self.told = told or message


class Sample(NamedTuple):
    """What one pod used."""

    value: int
    timestamp: datetime
    window: timedelta


class Tolerances(NamedTuple):
    """How far from 1 a ratio may be without anything being done."""

    down: float = 0.1
    up: float = 0.1

    def cover(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


class Proposal(NamedTuple):
    replicas: int
    usage: int  # Per pod, or of the whole.
    utilization: int | None = None  # Per cent of the requests.


class _Groups(NamedTuple):
    ready: int
    unready: set[str]
    missing: set[str]
    ignored: set[str]


def by_utilization(
    pods: Sequence[Pod],
    samples: Mapping[str, Sample],
    *,
    current: int,
    target_percent: int,
    resource: str,
    container: str,
    tolerances: Tolerances,
    now: datetime,
) -> Proposal:
    """From use in per cent of requests. Raises MetricError."""
    groups = _group(_some(pods), samples, resource, now)
    values = _counted(samples, groups)
    requests = {pod.name: requested(pod, resource, container) for pod in pods}
    ratio, percent, average = _utilization(values, requests, target_percent)
    fallback = {name: requests[name] * max(100, target_percent) // 100 for name in groups.missing}

    def again(filled: Mapping[str, int]) -> float:
        return _utilization(filled, requests, target_percent)[0]

    return Proposal(_settle(values, groups, ratio, fallback, again, current, tolerances), average, percent)


def by_average(
    pods: Sequence[Pod],
    samples: Mapping[str, Sample],
    *,
    current: int,
    target: int,
    resource: str,
    tolerances: Tolerances,
    now: datetime,
) -> Proposal:
    """From use per pod; `resource` is empty for metrics that are no resource. Raises MetricError."""
    groups = _group(_some(pods), samples, resource, now)
    values = _counted(samples, groups)
    average = sum(values.values()) // len(values)
    fallback = dict.fromkeys(groups.missing, target)

    def again(filled: Mapping[str, int]) -> float:
        return (sum(filled.values()) // len(filled)) / target

    return Proposal(_settle(values, groups, average / target, fallback, again, current, tolerances), average)


def by_value(pods: Sequence[Pod], usage: int, *, current: int, target: int, tolerances: Tolerances) -> Proposal:
    """From one number for the whole. Raises MetricError."""
    ratio = usage / target
    if current == 0:
        return Proposal(math.ceil(ratio), usage)
    if tolerances.cover(ratio):
        return Proposal(current, usage)
    try:
        ready = sum(pod.status.phase == RUNNING and pod.is_ready for pod in _some(pods))
    except MetricError as error:
        raise MetricError(f"unable to calculate ready pods: {error}") from error
    return Proposal(min(math.ceil(ratio * ready), 2**31 - 1), usage)


def by_value_per_pod(usage: int, *, current: int, target: int, tolerances: Tolerances) -> Proposal:
    """From one number for the whole that every pod shall have its share of; `current` is the status's count."""
    ratio = usage / (target * current) if current else math.inf
    replicas = current if tolerances.cover(ratio) else min(math.ceil(usage / target), 2**31 - 1)
    return Proposal(replicas, math.ceil(usage / current) if current else 0)


def requested(pod: Pod, resource: str, container: str) -> int:
    """The pod's, or one container's, request. Raises MetricError when there is none."""
    whole = pod.spec.resources
    if not container and whole is not None and whole.requests:
        if resource in whole.requests:
            return cpu_millicores(whole.requests[resource])
        raise MetricError(f"missing pod-level request for {resource} in Pod {pod.name}")
    total = 0
    for each in _running(pod):
        if container in ("", each.name):
            if resource not in each.resources.requests:
                raise MetricError(f"missing request for {resource} in container {each.name} of Pod {pod.name}")
            total += cpu_millicores(each.resources.requests[resource])
        if container == each.name:
            return total
    if container:
        raise MetricError(f"container {container} not found in Pod {pod.name}")
    return total


def _running(pod: Pod) -> Iterable[LeanContainer]:
    sidecars = (each for each in pod.spec.init_containers if each.restart_policy == "Always")
    return (*pod.spec.containers, *sidecars)


def _some(pods: Sequence[Pod]) -> Sequence[Pod]:
    if not pods:
        raise MetricError("no pods returned by selector while calculating replica count")
    return pods


def _group(pods: Sequence[Pod], samples: Mapping[str, Sample], resource: str, now: datetime) -> _Groups:
    ready, unready, missing, ignored = 0, set(), set(), set()
    for pod in pods:
        if pod.is_deleting or pod.status.phase == "Failed":
            ignored.add(pod.name)
        elif pod.status.phase == PENDING:
            unready.add(pod.name)
        elif pod.name not in samples:
            missing.add(pod.name)
        elif resource == "cpu" and _is_starting(pod, samples[pod.name], now):
            unready.add(pod.name)
        else:
            ready += 1
    return _Groups(ready, unready, missing, ignored)


def _is_starting(pod: Pod, sample: Sample, now: datetime) -> bool:
    """What a pod uses to start says nothing of what it will use."""
    condition, began = find_condition(pod.status.conditions, "Ready"), pod.status.start_time
    if condition is None or began is None or condition.last_transition_time is None:
        return True
    unready, since = condition.status == "False", condition.last_transition_time
    if began + CPU_INITIALIZATION > now:
        return unready or sample.timestamp < since + sample.window
    return unready and began + INITIAL_READINESS > since


def _counted(samples: Mapping[str, Sample], groups: _Groups) -> dict[str, int]:
    left = {name: each.value for name, each in samples.items() if name not in groups.ignored | groups.unready}
    if not left:
        raise MetricError("did not receive metrics for targeted pods (pods might be unready)")
    return left


def _utilization(values: Mapping[str, int], requests: Mapping[str, int], target_percent: int) -> tuple[float, int, int]:
    """Ratio to the target, per cent, and average use."""
    known = [name for name in values if name in requests]
    used, asked = sum(values[name] for name in known), sum(requests[name] for name in known)
    if asked == 0:
        raise MetricError("no metrics returned matched known pods")
    percent = used * 100 // asked
    return percent / target_percent, percent, used // len(known)


def _settle(
    values: Mapping[str, int],
    groups: _Groups,
    ratio: float,
    fallback: Mapping[str, int],
    again: Callable[[Mapping[str, int]], float],
    current: int,
    tolerances: Tolerances,
) -> int:
    """The number of replicas, with pods that gave no figure counted against the change that the others ask for."""
    up_with_unready = bool(groups.unready) and ratio > 1.0
    if not up_with_unready and not groups.missing:
        return current if tolerances.cover(ratio) else math.ceil(ratio * groups.ready)
    filled = dict(values)
    if ratio < 1.0:
        filled.update(fallback)
    elif ratio > 1.0:
        filled.update(dict.fromkeys(groups.missing, 0))
    if up_with_unready:
        filled.update(dict.fromkeys(groups.unready, 0))
    new = again(filled)
    if tolerances.cover(new) or (ratio < 1.0 < new) or (new < 1.0 < ratio):
        return current
    replicas = math.ceil(new * len(filled))
    wrong_way = (new < 1.0 and replicas > current) or (new > 1.0 and replicas < current)
    return current if wrong_way else replicas
