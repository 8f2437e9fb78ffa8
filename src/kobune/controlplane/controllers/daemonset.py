"""DaemonSet: one pod on every node that fits, and rolling updates with surge or without."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import msgspec
import orjson

from kobune.api.defaulting.apps import TEMPLATE_GENERATION
from kobune.api.errors import ApiError, Json, NotFound
from kobune.api.objects.apps import ControllerRevision, DaemonSet
from kobune.api.objects.core import Node, NodeSelector, NodeSelectorRequirement, PodTemplateSpec, Taint, Toleration
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key
from kobune.api.selectors import Requirement, labels_from_json
from kobune.controlplane.controllers.conditions import omit_zeros
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps, Owns
from kobune.controlplane.controllers.deployment.rolling import share
from kobune.controlplane.controllers.history import POD_LABEL, hash_of, sync_history, truncate
from kobune.controlplane.controllers.ownership import claim, index_by_namespace, owners_matching
from kobune.controlplane.controllers.pods import (
    Unseen,
    create_pod,
    delete_pod,
    index_by_controller,
    is_available,
    is_namespace_terminating,
    next_availability,
    pod_manifest,
    watch_deletions,
)
from kobune.controlplane.controllers.taint_eviction import tolerates

BEHIND_SECONDS = 1.0
BURST = 250  # Pods made or removed per pass. Source: upstream BurstReplicas.
FIRST_BACKOFF, MAX_BACKOFF = (
    1.0,
    900.0,
)  # Seconds between replacements of failed pods. Source: upstream failedPodsBackoff.
GENERATION_LABEL = "pod-template-generation"
NODE_FIELD = "metadata.name"
# What every daemon pod tolerates: (key, effect). Source: upstream AddOrUpdateDaemonPodTolerations.
TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
# A node selector's operators in the words of label selectors.
OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}
TOLERATED_ON_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")

_templates: msgspec.json.Decoder[PodTemplateSpec] = msgspec.json.Decoder(PodTemplateSpec, strict=False)


class Fit(NamedTuple):
    """Whether a node should get a daemon pod, and whether one that is there may stay."""

    run: bool
    stay: bool


class Plan(NamedTuple):
    create: list[str]  # Node names.
    delete: list[Pod]
    failed: list[Pod]  # Those among `delete` that had failed.


class Backoffs:
    """When the next failed pod of a DaemonSet on a node may be replaced."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], tuple[float, float]] = {}  # Due and delay.

    def wait(self, owner: str, node: str, now: float) -> float:
        """0 when a replacement is due, and then the next one later; else seconds to wait."""
        due, delay = self._until.get((owner, node), (0.0, FIRST_BACKOFF / 2))
        if now < due:
            return due - now
        if now > due + 2 * MAX_BACKOFF:
            delay = FIRST_BACKOFF / 2  # It has been well for long.
        delay = min(delay * 2, MAX_BACKOFF)
        self._until[owner, node] = (now + delay, delay)
        return 0.0


async def reconcile(key: Key, context: Context) -> float | None:
    """One pass over all nodes for one DaemonSet."""
    item = context.informer(DaemonSet).get(key)
    if item is None:
        return None
    if not item.spec.selector:
        message = "This daemon set is selecting all pods. A non-empty selector is required."
        context.events.warning(item, "SelectingAll", message)
        return None
    unseen, now = context.own(Unseen), context.clock.monotonic()
    for view in (Pod, ControllerRevision):
        if unseen.is_behind(key, view, context.informer(view), now):
            return BEHIND_SECONDS
    pods = await claim(context, item, labels_from_json(item.spec.selector), Pod)
    pods = [pod for pod in pods if pod.is_deleting or not unseen.is_condemned(pod.uid, now)]
    history = await sync_history(context, item)
    mark = hash_of(history.update)
    nodes = list(context.informer(Node).items.values())
    fits = {node.name: fit(item, node) for node in nodes}
    moment = context.clock.now()
    retry: float | None = None
    if not item.is_deleting:
        step = plan(item, pods, fits, mark, moment)
        retry = await _act(context, item, step, mark)
    await _report(context, item, pods, fits, mark, history.collisions, moment)
    live = {history.update.name} | {
        each.name for each in history.revisions if hash_of(each) in {pod.metadata.labels.get(POD_LABEL) for pod in pods}
    }
    await truncate(context, history.revisions, live, item.spec.revision_history_limit)
    waits = (retry, next_availability(pods, item.spec.min_ready_seconds, moment))
    return min((wait for wait in waits if wait is not None), default=None)


def fit(item: DaemonSet, node: Node) -> Fit:
    """Judges a node by the template's node name, selector, affinity and tolerations. Source: NodeShouldRunDaemonPod."""
    spec = _template(bytes(item.spec.template)).spec
    if spec.node_name and spec.node_name != node.name:
        return Fit(run=False, stay=False)
    if not spec.node_selector.items() <= node.metadata.labels.items():
        return Fit(run=False, stay=False)
    affinity = spec.affinity.node_affinity if spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    if required is not None and not selects(required, node):
        return Fit(run=False, stay=False)
    tolerations = [*spec.tolerations, *_own_tolerations(spec.host_network)]
    taints = list(node.spec.taints)
    if node.spec.unschedulable:
        taints.append(Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule"))
    refused = [taint.effect for taint in taints if not any(tolerates(each, taint) for each in tolerations)]
    return Fit(run=not {"NoSchedule", "NoExecute"} & set(refused), stay="NoExecute" not in refused)


def selects(selector: NodeSelector, node: Node) -> bool:
    """Any of the selector's terms matches the node; an empty term matches nothing."""
    fields = {NODE_FIELD: node.name}
    for term in selector.node_selector_terms:
        expressions, on_fields = term.match_expressions or [], term.match_fields or []
        if not expressions and not on_fields:
            continue
        if all(_matches(each, node.metadata.labels) for each in expressions) and all(
            _matches(each, fields) for each in on_fields
        ):
            return True
    return False


def plan(item: DaemonSet, pods: Sequence[Pod], fits: Mapping[str, Fit], mark: str, now: datetime) -> Plan:
    """Pods to make and remove: first each node's one pod, then the update. Source: upstream manage and rollingUpdate."""
    by_node: dict[str, list[Pod]] = {}
    for pod in pods:
        by_node.setdefault(node_of(pod), []).append(pod)
    step = Plan([], [], [])
    surge = bounds(item, sum(each.run for each in fits.values()))[0]
    for name, (run, stay) in fits.items():
        here = by_node.get(name, [])
        if run and not here:
            step.create.append(name)
        elif not stay:
            step.delete.extend(pod for pod in here if not pod.is_deleting)
        elif here:
            _plan_node(item, here, surge, mark, now, step)
    # Nodes that are gone: pod garbage collection removes what ran there; what was never bound is removed here.
    step.delete.extend(
        pod
        for name, here in by_node.items()
        if name not in fits
        for pod in here
        if not pod.is_deleting and not pod.spec.node_name
    )
    if item.spec.update_strategy.type == "RollingUpdate":
        _plan_update(item, by_node, fits, mark, now, step)
    del step.create[BURST:]
    del step.delete[BURST:]
    return step


def node_of(pod: Pod) -> str:
    """The node the pod is bound to or, before that, the one that its affinity names."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    for term in required.node_selector_terms if required else ():
        for each in term.match_fields or ():
            if each.key == NODE_FIELD and each.operator == "In" and each.values and len(each.values) == 1:
                return each.values[0]
    return ""


def bounds(item: DaemonSet, nodes: int) -> tuple[int, int]:
    """(surge, unavailable) in pods; never both zero."""
    rolling = item.spec.update_strategy.rolling_update
    if item.spec.update_strategy.type != "RollingUpdate":
        return 0, 0
    if rolling is None:
        return 0, 1
    surge, missing = share(rolling.max_surge, nodes, up=True), share(rolling.max_unavailable, nodes, up=True)
    return (surge, missing) if surge or missing else (0, 1)


def daemon_pod(item: DaemonSet, node: str, mark: str) -> Json:
    """The pod for a node: only there, and tolerating what nodes suffer."""
    generation = item.metadata.annotations.get(TEMPLATE_GENERATION, "")
    labels = {POD_LABEL: mark} | ({GENERATION_LABEL: generation} if generation else {})
    manifest = pod_manifest(bytes(item.spec.template), item, labels=labels)
    spec = manifest["spec"]
    here = [{"key": NODE_FIELD, "operator": "In", "values": [node]}]
    affinity = spec.setdefault("affinity", {}) or {}
    spec["affinity"] = affinity
    node_affinity = affinity.setdefault("nodeAffinity", {})
    required = node_affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    # The node itself takes the place of whatever fields were named; the expressions have been judged already.
    required["nodeSelectorTerms"] = [{"matchFields": here}]
    tolerations = spec.setdefault("tolerations", [])
    for each in _own_tolerations(bool(spec.get("hostNetwork"))):
        entry = {"key": each.key, "operator": "Exists", "effect": each.effect}
        if entry not in tolerations:
            tolerations.append(entry)
    return manifest


def plan_status(
    item: DaemonSet, pods: Sequence[Pod], fits: Mapping[str, Fit], mark: str, collisions: int, now: datetime
) -> Json:
    """Counts by node; a node's oldest pod speaks for it."""
    by_node: dict[str, list[Pod]] = {}
    for pod in pods:
        by_node.setdefault(node_of(pod), []).append(pod)
    counts = dict.fromkeys(("current", "misscheduled", "desired", "ready", "updated", "available"), 0)
    for name, (run, _) in fits.items():
        here = by_node.get(name, [])
        if not run:
            counts["misscheduled"] += bool(here)
            continue
        counts["desired"] += 1
        if not here:
            continue
        counts["current"] += 1
        first = min(here, key=lambda pod: (str(pod.metadata.creation_timestamp), pod.uid))
        counts["ready"] += first.is_ready
        counts["available"] += is_available(first, item.spec.min_ready_seconds, now)
        counts["updated"] += first.metadata.labels.get(POD_LABEL) == mark
    written = omit_zeros(
        {
            "currentNumberScheduled": counts["current"],
            "numberMisscheduled": counts["misscheduled"],
            "desiredNumberScheduled": counts["desired"],
            "numberReady": counts["ready"],
            "observedGeneration": item.metadata.generation,
            "updatedNumberScheduled": counts["updated"],
            "numberAvailable": counts["available"],
            "numberUnavailable": counts["desired"] - counts["available"],
        },
        keep=("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"),
    )
    return {**written, "collisionCount": collisions} if collisions else written


def _plan_node(item: DaemonSet, here: Sequence[Pod], surge: int, mark: str, now: datetime, step: Plan) -> None:
    """A node that has pods: finished ones are replaced, surplus ones removed, oldest kept."""
    running = []
    for pod in here:
        if pod.is_deleting:
            continue
        if pod.is_finished:
            step.delete.append(pod)
            step.failed.append(pod)
        else:
            running.append(pod)
    running.sort(
        key=lambda pod: (not pod.spec.node_name, not pod.is_ready, str(pod.metadata.creation_timestamp), pod.uid)
    )
    if surge == 0:
        step.delete.extend(running[1:])
        return
    new = [pod for pod in running if pod.metadata.labels.get(POD_LABEL) == mark]
    old = [pod for pod in running if pod.metadata.labels.get(POD_LABEL) != mark]
    step.delete.extend((*new[1:], *old[1:]))
    # During a surge the old pod stays until the new one is available.
    if new and old and (is_available(new[0], item.spec.min_ready_seconds, now) or not old[0].is_ready):
        step.delete.append(old[0])


def _plan_update(
    item: DaemonSet, by_node: Mapping[str, list[Pod]], fits: Mapping[str, Fit], mark: str, now: datetime, step: Plan
) -> None:
    running_on = [name for name, each in fits.items() if each.run]
    surge, missing = bounds(item, len(running_on))
    going = {pod.uid for pod in step.delete}
    unavailable, surging = 0, 0
    outdated: list[tuple[str, Pod]] = []
    for name in running_on:
        here = [pod for pod in by_node.get(name, ()) if not pod.is_deleting and pod.uid not in going]
        old = [pod for pod in here if pod.metadata.labels.get(POD_LABEL) != mark]
        available = any(is_available(pod, item.spec.min_ready_seconds, now) for pod in here)
        unavailable += not available
        surging += len(here) > 1
        if old and len(here) == 1:
            outdated.append((name, old[0]))
    # What is not available may be replaced without making anything worse.
    sick = [(name, pod) for name, pod in outdated if not is_available(pod, item.spec.min_ready_seconds, now)]
    well = [each for each in outdated if each not in sick]
    if surge == 0:
        room = max(missing - unavailable, 0)
        step.delete.extend(pod for _, pod in (*sick, *well[:room]))
    else:
        room = max(surge - surging, 0)
        step.create.extend(name for name, _ in (*sick, *well[:room]))


@lru_cache(maxsize=1024)
def _template(template: bytes) -> PodTemplateSpec:
    return _templates.decode(template)


def _own_tolerations(host_network: bool) -> list[Toleration]:
    pairs = (*TOLERATED, TOLERATED_ON_HOST_NETWORK) if host_network else TOLERATED
    return [Toleration(key=key, operator="Exists", effect=effect) for key, effect in pairs]


def _matches(wanted: NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    operator = OPERATORS.get(wanted.operator)
    return operator is not None and Requirement(wanted.key, operator, tuple(wanted.values or ())).matches(labels)


async def _act(context: Context, item: DaemonSet, step: Plan, mark: str) -> float | None:
    """Returns when a failed pod's replacement is due that was put off."""
    backoffs, now = context.own(Backoffs), context.clock.monotonic()
    retry: float | None = None
    failed = {pod.uid for pod in step.failed}
    async with asyncio.TaskGroup() as group:
        for pod in step.delete:
            if pod.uid in failed and pod.status.phase == "Failed":
                wait = backoffs.wait(item.uid, node_of(pod), now)
                if wait > 0:
                    retry = min(retry or wait, wait)
                    continue
            if pod.uid in failed:
                _tell_of_finished(context, item, pod)
            group.create_task(delete_pod(context, item, pod))
        for node in step.create:
            group.create_task(_create(context, item, node, mark))
    return retry


async def _create(context: Context, item: DaemonSet, node: str, mark: str) -> None:
    with suppress(NotFound):
        try:
            await create_pod(context, item, daemon_pod(item, node, mark))
        except ApiError as error:
            if not is_namespace_terminating(error):
                raise


def _tell_of_finished(context: Context, item: DaemonSet, pod: Pod) -> None:
    if pod.status.phase == "Failed":
        where = f"{pod.namespace}/{pod.name} on node {node_of(pod)}"
        context.events.warning(item, "FailedDaemonPod", f"Found failed daemon pod {where}, will try to kill it")
    else:
        where = f"{pod.namespace}/{pod.name} on node {node_of(pod)}"
        context.events.normal(item, "SucceededDaemonPod", f"Found succeeded daemon pod {where}, will try to delete it")


async def _report(
    context: Context,
    item: DaemonSet,
    pods: Sequence[Pod],
    fits: Mapping[str, Fit],
    mark: str,
    collisions: int,
    now: datetime,
) -> None:
    status = plan_status(item, pods, fits, mark, collisions, now)
    before = orjson.loads(msgspec.json.encode(item.status))
    if any((before.get(name) or 0) != (value or 0) for name, value in status.items()):
        await context.client.patch_status(DaemonSet, item.key, status)


def _daemon_sets_of_node(context: Context, old: Node | None, new: Node | None) -> Iterable[Key]:
    """Those whose judgement of the node has changed; heartbeats change none."""
    node = new or old
    if node is None:
        return ()
    if old is not None and new is not None and _seen(old) == _seen(new):
        return ()
    sets = context.informer(DaemonSet).items.values()
    if old is None or new is None:
        return [each.key for each in sets]
    return [each.key for each in sets if fit(each, old) != fit(each, new)]


def _seen(node: Node) -> tuple[object, ...]:
    return (node.metadata.labels, node.spec.taints, node.spec.unschedulable)


def _prepare(context: Context) -> None:
    index_by_controller(context)
    index_by_controller(context, ControllerRevision)
    index_by_namespace(context, DaemonSet)
    watch_deletions(context)


CONTROLLER = Controller(
    "daemonset-controller",
    (
        For(DaemonSet),
        Owns(Pod),
        Maps(Pod, owners_matching(DaemonSet, lambda owner: labels_from_json(owner.spec.selector or None))),
        Owns(ControllerRevision),
        Maps(Node, _daemon_sets_of_node),
    ),
    reconcile,
    workers=2,
    prepare=_prepare,
)
