"""HorizontalPodAutoscaler: every 15 seconds the scale of each target is set to what its metrics ask for.

Source: upstream's horizontal controller, whose conditions, events and messages these are.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from kobune.api.errors import ApiError, Conflict, Json, NotFound
from kobune.api.objects.autoscaling import HorizontalPodAutoscaler
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Condition, Key
from kobune.api.selectors import LabelSelector, parse_labels
from kobune.api.timestamps import format_time
from kobune.controlplane.controllers.autoscaling.answers import Answer, Asking, Failure
from kobune.controlplane.controllers.autoscaling.behaviour import History, decide
from kobune.controlplane.controllers.autoscaling.metrics import Metrics
from kobune.controlplane.controllers.conditions import to_json
from kobune.controlplane.controllers.controller import Context, Controller, Maps
from kobune.controlplane.controllers.ownership import index_by_namespace
from kobune.controlplane.controllers.scales import Scale, Served, discovered, find_resource, get_scale

RESYNC_SECONDS = 15.0  # Source: upstream --horizontal-pod-autoscaler-sync-period.
ATTEMPTS = 5  # To write a scale that others change too. Source: upstream retry.DefaultRetry.


@dataclass(slots=True)
class Memory:
    """What is kept between passes."""

    histories: dict[Key, History] = field(default_factory=dict)
    selectors: dict[Key, LabelSelector] = field(default_factory=dict)


@dataclass(slots=True)
class _Pass:
    """One look at one autoscaler."""

    hpa: HorizontalPodAutoscaler
    context: Context
    conditions: list[Condition]

    def set(self, kind: str, status: str, reason: str, message: str) -> None:
        now = self.context.clock.now().replace(microsecond=0)
        for position, each in enumerate(self.conditions):
            if each.type == kind:
                since = each.last_transition_time if each.status == status else now
                self.conditions[position] = _condition(kind, status, reason, message, since)
                return
        self.conditions.append(_condition(kind, status, reason, message, now))

    def warn(self, reason: str, message: str) -> None:
        self.context.events.warning(self.hpa, reason, message)


async def reconcile(key: Key, context: Context) -> float | None:
    """Look once, and again in 15 seconds, whatever came of it."""
    hpa, memory = context.informer(HorizontalPodAutoscaler).get(key), context.own(Memory)
    if hpa is None:
        memory.histories.pop(key, None)
        memory.selectors.pop(key, None)
        return None
    look = _Pass(hpa, context, list(hpa.status.conditions or ()))
    with suppress(NotFound, Conflict):  # Gone or changed in the meantime: the news wakes us, or the next look does it.
        await _look(look, memory)
    return RESYNC_SECONDS


async def _look(look: _Pass, memory: Memory) -> None:
    hpa, context = look.hpa, look.context
    try:
        target = await _find_target(hpa, context)
    except ApiError as error:
        look.warn("FailedGetScale", str(error))
        look.set(
            "AbleToScale",
            "False",
            "FailedGetScale",
            f"the HPA controller was unable to get the target's current scale: {error}",
        )
        await _report(look, None, None, None)
        return
    look.set(
        "AbleToScale", "True", "SucceededGetScale", "the HPA controller was able to get the target's current scale"
    )
    current, now = target.replicas, context.clock.monotonic()
    history = memory.histories.get(hpa.key)
    if history is None:
        history = memory.histories[hpa.key] = History()
        history.remember(current, now)
    least = 1 if hpa.spec.min_replicas is None else hpa.spec.min_replicas
    statuses: list[Json] = []
    if current == 0:
        wanted, reason = 0, ""
        look.set(
            "ScalingActive",
            "False",
            "ScalingDisabled",
            "scaling is disabled since the replica count of the target is zero",
        )
    elif current > hpa.spec.max_replicas:
        wanted, reason = hpa.spec.max_replicas, "Current number of replicas above Spec.MaxReplicas"
    elif current < least:
        wanted, reason = least, "Current number of replicas below Spec.MinReplicas"
    else:
        try:
            asked, name, statuses = await _ask_metrics(look, target, memory)
        except Failure as failure:
            look.set("ScalingActive", "False", failure.reason, failure.text)
            await _report(look, current, None, failure.statuses)
            look.warn("FailedComputeMetricsReplicas", str(failure))
            return
        reason = f"{name} above target" if asked > current else "All metrics below target"
        decision = decide(
            history, hpa.spec.behavior, current=current, wanted=asked, least=least, most=hpa.spec.max_replicas, now=now
        )
        look.set("AbleToScale", "True", *decision.able)
        look.set("ScalingLimited", "True" if decision.limited else "False", *decision.limit)
        wanted = decision.replicas
    if wanted != current:
        try:
            await _rescale(target, wanted, context)
        except ApiError as error:
            look.warn("FailedRescale", f"New size: {wanted}; reason: {reason}; error: {error}")
            look.set(
                "AbleToScale",
                "False",
                "FailedUpdateScale",
                f"the HPA controller was unable to update the target scale: {error}",
            )
            await _report(look, current, None, statuses)
            return
        look.set(
            "AbleToScale",
            "True",
            "SucceededRescale",
            f"the HPA controller was able to update the target scale to {wanted}",
        )
        context.events.normal(hpa, "SuccessfulRescale", f"New size: {wanted}; reason: {reason}")
        history.did(current, wanted, now, hpa.spec.behavior)
    await _report(look, current, wanted, statuses, scaled=wanted != current)


# What is scaled.


async def _find_target(hpa: HorizontalPodAutoscaler, context: Context) -> Scale:
    """The target's scale, read from the server. Raises ApiError."""
    reference = hpa.spec.scale_target_ref
    group = reference.api_version.rpartition("/")[0]
    resource = await find_resource(context, group, reference.kind)
    if resource is None:
        raise NotFound(f'no matches for kind "{reference.kind}" in group "{group}"')
    return await get_scale(context, resource, Key(hpa.namespace, reference.name))


async def _rescale(target: Scale, replicas: int, context: Context) -> None:
    """Write the scale; somebody else's change in between is read and tried again."""
    scale = target.content
    for attempt in range(ATTEMPTS):
        body = {**scale, "spec": {**(scale.get("spec") or {}), "replicas": replicas}}
        try:
            await context.client.call("PUT", target.path, body=orjson.dumps(body))
            return
        except Conflict:
            if attempt == ATTEMPTS - 1:
                raise
            scale = orjson.loads(await context.client.call("GET", target.path))


# What the metrics say.


async def _ask_metrics(look: _Pass, target: Scale, memory: Memory) -> tuple[int, str, list[Json]]:
    """The most replicas that any metric asks for, that metric's name, and the metrics' figures.

    Raises:
        Failure: none can be had, or one cannot and the others ask for less than there is.
    """
    hpa, specs = look.hpa, look.hpa.spec.metrics
    selector, pods = _select(look, target, memory)
    own = {"object", "pods", "external"}
    custom = any(spec.type.lower() in own for spec in specs)
    served = look.context.own(Served).found
    if custom:
        served = await discovered(look.context, lambda each: each.resource.group == "custom.metrics.k8s.io")
    ask = Asking(
        hpa,
        pods,
        selector,
        target.replicas,
        target.counted,
        Metrics(look.context.client, served),
        look.context.clock.now(),
    )
    statuses: list[Json] = []
    best: Answer | None = None
    failures: list[Failure] = []
    for spec in specs:
        try:
            answer = await ask.answer(spec)
        except Failure as failure:
            failures.append(failure)
            statuses.append({"type": ""})
            if failure.reason != "InvalidMetricSourceType":
                look.warn(failure.reason, failure.brief)
            continue
        statuses.append(answer.status)
        if best is None or answer.replicas > best.replicas:
            best = answer
    if failures and (best is None or best.replicas < target.replicas):
        first = failures[0]
        why = f"invalid metrics ({len(failures)} invalid out of {len(specs)}), first error is: {first}"
        raise Failure(first.reason, first.text, why, statuses=statuses)
    if best is None:
        return 0, "", statuses
    message = f"the HPA was able to successfully calculate a replica count from {best.name}"
    look.set("ScalingActive", "True", "ValidMetricFound", message)
    return best.replicas, best.name, statuses


def _select(look: _Pass, target: Scale, memory: Memory) -> tuple[LabelSelector, list[Pod]]:
    """The target's pods. Raises Failure when they are not known, or somebody else scales them too."""
    hpa, context = look.hpa, look.context
    if not target.selector:
        look.warn("SelectorRequired", "selector is required")
        raise Failure("InvalidSelector", "the HPA target's scale is missing a selector", "selector is required")
    try:
        selector = parse_labels(target.selector)
    except ApiError as error:
        why = f"couldn't convert selector into a corresponding internal selector object: {error}"
        look.warn("InvalidSelector", why)
        raise Failure("InvalidSelector", why, why) from error
    memory.selectors[hpa.key] = selector
    pods = [
        pod for pod in context.informer(Pod).index("namespace", hpa.namespace) if selector.matches(pod.metadata.labels)
    ]
    others = sorted(
        key
        for key, each in memory.selectors.items()
        if key.namespace == hpa.namespace and any(each.matches(pod.metadata.labels) for pod in pods)
    )
    if len(others) > 1:
        names = " ".join(f"{{{key.name} {key.namespace}}}" for key in others)
        why = f"pods by selector {target.selector} are controlled by multiple HPAs: [{names}]"
        look.warn("AmbiguousSelector", why)
        raise Failure("AmbiguousSelector", why, why)
    return selector, pods


# What the autoscaler's status says.


async def _report(
    look: _Pass, current: int | None, desired: int | None, metrics: Sequence[Json] | None, *, scaled: bool = False
) -> None:
    """Write what has changed. None: that stays as it was."""
    hpa, status = look.hpa, look.hpa.status
    wanted: Json = {}
    if look.conditions != (status.conditions or []):
        wanted["conditions"] = to_json(look.conditions)
    if current is not None and current != status.current_replicas:
        wanted["currentReplicas"] = current
    if desired is not None and desired != status.desired_replicas:
        wanted["desiredReplicas"] = desired
    if metrics is not None and list(metrics) != (status.current_metrics or []):
        wanted["currentMetrics"] = list(metrics) or None
    if scaled:
        wanted["lastScaleTime"] = format_time(look.context.clock.now())
    if not wanted:
        return
    try:
        await look.context.client.patch_status(HorizontalPodAutoscaler, hpa.key, wanted)
    except NotFound:
        return
    except ApiError as error:
        look.warn("FailedUpdateStatus", str(error))


def _condition(kind: str, status: str, reason: str, message: str, since: datetime | None) -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=since)


def _changed(
    _context: Context, old: HorizontalPodAutoscaler | None, new: HorizontalPodAutoscaler | None
) -> Iterable[Key]:
    """Wishes wake us, our own reports do not."""
    if old is not None and new is not None and old.spec == new.spec:
        return ()
    item = new or old
    return (item.key,) if item is not None else ()


def _prepare(context: Context) -> None:
    index_by_namespace(context, Pod)


CONTROLLER = Controller(
    "horizontal-pod-autoscaler-controller",
    (Maps(HorizontalPodAutoscaler, _changed), Maps(Pod)),
    reconcile,
    prepare=_prepare,
    component="horizontal-pod-autoscaler",
)
