"""What one metric of an autoscaler says: replicas, the words for it, and its figures for the status."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import NamedTuple

from kobune.api.errors import Json
from kobune.api.objects.autoscaling import HorizontalPodAutoscaler, MetricIdentifier, MetricSpec, MetricTarget
from kobune.api.objects.lean import Pod
from kobune.api.quantity import cpu_millicores, format_binary, format_decimal, parse_quantity
from kobune.api.selectors import LabelSelector
from kobune.controlplane.controllers.autoscaling.metrics import Metrics
from kobune.controlplane.controllers.autoscaling.replicas import (
    MetricError,
    Proposal,
    Tolerances,
    by_average,
    by_utilization,
    by_value,
    by_value_per_pod,
)


class Failure(Exception):
    """No number of replicas can be had. `reason` and `text`: of the condition ScalingActive."""

    def __init__(self, reason: str, text: str, why: str, *, brief: str = "", statuses: Sequence[Json] = ()) -> None:
        super().__init__(why)
        self.reason, self.text = reason, text
        self.brief = brief or why  # Of the event.
        self.statuses = statuses  # Of all metrics.


class Answer(NamedTuple):
    """What one metric says."""

    replicas: int
    name: str
    status: Json


@dataclass(frozen=True, slots=True)
class Asking:
    """Answers one metric after the other.

    Attributes:
        current: the replicas that the target's scale asks for; `counted`: those that its status counts.
    """

    hpa: HorizontalPodAutoscaler
    pods: Sequence[Pod]
    selector: LabelSelector
    current: int
    counted: int
    metrics: Metrics
    now: datetime

    async def answer(self, spec: MetricSpec) -> Answer:
        """Raises Failure in upstream's words."""
        match spec.type:
            case "Resource" if spec.resource is not None:
                each = spec.resource
                outer = f"failed to get {each.name} resource metric value"
                return await _or_fail(self._resource(spec), "FailedGetResourceMetric", outer)
            case "ContainerResource" if spec.container_resource is not None:
                outer = f"failed to get {spec.container_resource.container} container metric value"
                return await _or_fail(self._resource(spec), "FailedGetContainerResourceMetric", outer)
            case "Pods" if spec.pods is not None:
                return await _or_fail(self._pods(spec), "FailedGetPodsMetric", "failed to get pods metric value")
            case "Object" if spec.object is not None:
                return await _or_fail(self._object(spec), "FailedGetObjectMetric", "failed to get object metric value")
            case "External" if spec.external is not None:
                outer = f"failed to get {spec.external.metric.name} external metric value"
                return await _or_fail(self._external(spec), "FailedGetExternalMetric", outer)
        why = f'unknown metric source type "{spec.type}"'
        raise Failure("InvalidMetricSourceType", f"the HPA was unable to compute the replica count: {why}", why)

    @property
    def tolerances(self) -> Tolerances:
        behavior = self.hpa.spec.behavior
        default = Tolerances()
        if behavior is None:
            return default
        down, up = behavior.scale_down, behavior.scale_up
        return Tolerances(
            default.down if down is None or down.tolerance is None else float(parse_quantity(down.tolerance)),
            default.up if up is None or up.tolerance is None else float(parse_quantity(up.tolerance)),
        )

    async def _resource(self, spec: MetricSpec) -> Answer:
        inside = spec.container_resource
        source = inside or spec.resource
        assert source is not None
        name, container, target = source.name, source.container, source.target
        what = "usage" if target.average_value is not None else "utilization"
        if target.average_value is None and target.average_utilization is None:
            raise MetricError(
                "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set"
            )
        try:
            try:
                samples = await self.metrics.resource(self.hpa.namespace, self.selector, name, container)
            except MetricError as error:
                raise MetricError(f"unable to get metrics for resource {name}: {error}") from error
            if target.average_value is not None:
                proposal = by_average(
                    self.pods, samples, current=self.current, target=cpu_millicores(target.average_value),
                    resource=name, tolerances=self.tolerances, now=self.now,
                )  # fmt: skip
                described = f"{name} resource"
            else:
                proposal = by_utilization(
                    self.pods, samples, current=self.current, target_percent=target.average_utilization or 0,
                    resource=name, container=container, tolerances=self.tolerances, now=self.now,
                )  # fmt: skip
                kind = "container resource" if inside is not None else "resource"
                described = f"{name} {kind} utilization (percentage of request)"
        except MetricError as error:
            raise MetricError(f"failed to get {name} {what}: {error}") from error
        current: Json = {"averageValue": _written(proposal.usage, binary=name == "memory")}
        if proposal.utilization is not None:
            current["averageUtilization"] = proposal.utilization
        if inside is not None:
            status = {"containerResource": {"name": name, "container": container, "current": current}}
        else:
            status = {"resource": {"name": name, "current": current}}
        return Answer(proposal.replicas, described, {"type": spec.type, **status})

    async def _pods(self, spec: MetricSpec) -> Answer:
        source = spec.pods
        assert source is not None
        name = source.metric.name
        try:
            samples = await self.metrics.pods(self.hpa.namespace, self.selector, name, source.metric.selector)
        except MetricError as error:
            raise MetricError(f"unable to get metric {name}: {error}") from error
        proposal = by_average(
            self.pods, samples, current=self.current, target=_amount(source.target.average_value),
            resource="", tolerances=self.tolerances, now=self.now,
        )  # fmt: skip
        status = {"metric": _identifier(source.metric), "current": {"averageValue": _written(proposal.usage)}}
        return Answer(proposal.replicas, f"pods metric {name}", {"type": spec.type, "pods": status})

    async def _object(self, spec: MetricSpec) -> Answer:
        source = spec.object
        assert source is not None
        name, described = source.metric.name, source.described_object
        per_pod = source.target.type == "AverageValue" and source.target.average_value is not None
        if not per_pod and (source.target.type != "Value" or source.target.value is None):
            raise MetricError(
                "invalid object metric source: neither a value target nor an average value target was set"
            )
        try:
            usage = await self.metrics.object(self.hpa.namespace, described, name, source.metric.selector)
        except MetricError as error:
            # The parts stand in the wrong places; upstream has them so.
            why = f"unable to get metric {name}: {described.kind} on {self.hpa.namespace} {described.name}/{error}"
            raise MetricError(f"failed to get {name} object metric: {why}" if per_pod else why, told=why) from error
        proposal, words = self._whole(usage, source.target, per_pod=per_pod)
        status: Json = {
            "describedObject": {"kind": described.kind, "name": described.name, "apiVersion": described.api_version},
            "metric": _identifier(source.metric),
            "current": {words: _written(proposal.usage)},
        }
        if not described.api_version:
            del status["describedObject"]["apiVersion"]
        words = _external_name(source.metric) if per_pod else f"{described.kind} metric {name}"
        return Answer(proposal.replicas, words, {"type": spec.type, "object": status})

    async def _external(self, spec: MetricSpec) -> Answer:
        source = spec.external
        assert source is not None
        name, namespace = source.metric.name, self.hpa.namespace
        per_pod = source.target.average_value is not None
        if not per_pod and source.target.value is None:
            raise MetricError(
                "invalid external metric source: neither a value target nor an average value target was set"
            )
        try:
            values = await self.metrics.external(namespace, name, source.metric.selector)
        except MetricError as error:
            where = f"{namespace}/{name}/{_go_selector(source.metric.selector)}"
            outer = f"failed to get {name} external metric" if per_pod else f"failed to get external metric {name}"
            why = f"unable to get external metric {where}: {error}"
            raise MetricError(f"{outer}: {why}", told=why) from error
        proposal, words = self._whole(min(sum(values), 2**63 - 1), source.target, per_pod=per_pod)
        status = {"metric": _identifier(source.metric), "current": {words: _written(proposal.usage)}}
        return Answer(proposal.replicas, _external_name(source.metric), {"type": spec.type, "external": status})

    def _whole(self, usage: int, target: MetricTarget, *, per_pod: bool) -> tuple[Proposal, str]:
        """The proposal of one number for all pods, and the field of the status it goes to."""
        if per_pod:
            amount = _amount(target.average_value)
            return by_value_per_pod(
                usage, current=self.counted, target=amount, tolerances=self.tolerances
            ), "averageValue"
        amount = _amount(target.value)
        proposal = by_value(self.pods, usage, current=self.current, target=amount, tolerances=self.tolerances)
        return proposal, "value"


async def _or_fail(answer: Awaitable[Answer], reason: str, outer: str) -> Answer:
    try:
        return await answer
    except MetricError as error:
        text = f"the HPA was unable to compute the replica count: {error.told}"
        raise Failure(reason, text, f"{outer}: {error}", brief=error.told) from error


def _amount(text: str | int | float | None) -> int:
    return max(cpu_millicores(text), 1) if text is not None else 1


def _written(thousandths: int, *, binary: bool = False) -> str:
    amount = Fraction(thousandths, 1000)
    whole = int(amount) if amount.denominator == 1 else amount
    return format_binary(whole) if binary else format_decimal(whole)


def _identifier(metric: MetricIdentifier) -> Json:
    return {"name": metric.name, **({"selector": metric.selector} if metric.selector is not None else {})}


def _external_name(metric: MetricIdentifier) -> str:
    return f"external metric {metric.name}({_go_selector(metric.selector)})"


def _go_selector(selector: Json | None) -> str:
    """As Go prints a selector; upstream's messages have it."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    rules = "".join(
        f"LabelSelectorRequirement{{Key:{each['key']},Operator:{each['operator']},"
        f"Values:[{' '.join(each.get('values') or ())}],}},"
        for each in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{rules}}},}}"
    )
