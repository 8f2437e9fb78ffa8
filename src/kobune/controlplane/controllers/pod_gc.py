"""Removes pods that nobody else will: of nodes that are gone or out of service, never scheduled ones, old finished ones."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field

from kobune.api.errors import Json, NotFound
from kobune.api.objects.core import Node
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key
from kobune.client.client import Patch
from kobune.controlplane.controllers.controller import Context, Controller, Maps
from kobune.controlplane.controllers.pods import disruption_target, index_by_node
from kobune.controlplane.controllers.rounds import every

log = logging.getLogger(__name__)

PERIOD_SECONDS = 20.0  # Source: upstream gcCheckPeriod.
QUARANTINE_SECONDS = 40.0  # A node must have been gone so long. Source: upstream quarantineTime.
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


@dataclass(slots=True)
class Candidates:
    """What the next round looks at; kept up by the informers, so that a round costs no walk over all pods."""

    finished: set[Key] = field(default_factory=set)
    leaving: set[Key] = field(default_factory=set)
    nodes_gone: dict[str, float] = field(default_factory=dict)  # By name: since when.


async def collect(context: Context) -> None:
    """One round."""
    candidates = context.own(Candidates)
    async with asyncio.TaskGroup() as group:
        for pod in _surplus_finished(context, candidates):
            group.create_task(_remove(context, pod))
        for key in candidates.leaving:
            pod_leaving = context.informer(Pod).get(key)
            if pod_leaving is not None and _is_stranded(context, pod_leaving):
                group.create_task(_remove(context, pod_leaving))
        now = context.clock.monotonic()
        for name, since in list(candidates.nodes_gone.items()):
            if now - since >= QUARANTINE_SECONDS:
                group.create_task(_remove_orphans(context, candidates, name))


def _surplus_finished(context: Context, candidates: Candidates) -> list[Pod]:
    """The oldest finished pods above the threshold."""
    surplus = len(candidates.finished) - context.settings.terminated_pod_gc_threshold
    if surplus <= 0 or context.settings.terminated_pod_gc_threshold <= 0:
        return []
    found = (context.informer(Pod).get(key) for key in candidates.finished)
    pods = [pod for pod in found if pod is not None]
    evicted_first = sorted(pods, key=lambda pod: (pod.status.reason != "Evicted", str(pod.metadata.creation_timestamp)))
    return evicted_first[:surplus]


def _is_stranded(context: Context, pod: Pod) -> bool:
    """It is being deleted, and no kubelet will finish that."""
    if not pod.spec.node_name:
        return True
    node = context.informer(Node).get(Key("", pod.spec.node_name))
    return node is not None and not node.is_ready and any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints)


async def _remove_orphans(context: Context, candidates: Candidates, name: str) -> None:
    if await context.client.find(Node, Key("", name)) is not None:
        candidates.nodes_gone.pop(name, None)
        return
    condition = disruption_target("DeletionByPodGC", "PodGC: node no longer exists", context.clock.now())
    for pod in context.informer(Pod).index("node", name):
        await _remove(context, pod, condition)
    if not context.informer(Pod).index_size("node", name):
        candidates.nodes_gone.pop(name, None)


async def _remove(context: Context, pod: Pod, condition: Json | None = None) -> None:
    """Fail the pod if it has not finished, so that its owner knows, and delete it at once."""
    log.info("removing pod", extra={"pod": str(pod.key)})
    status: Json = {} if pod.is_finished else {"phase": "Failed"}
    if condition is not None:
        status["conditions"] = [condition]
    with suppress(NotFound):
        if status:
            await context.client.patch_status(Pod, pod.key, status, how=Patch.STRATEGIC)
        await context.client.delete(Pod, pod.key, uid=pod.uid, grace_seconds=0)


async def _run(context: Context) -> None:
    # Which nodes were gone already when we started shows only now that both lists are in.
    nodes, now = context.informer(Node).items, context.clock.monotonic()
    for pod in context.informer(Pod).items.values():
        if pod.spec.node_name and Key("", pod.spec.node_name) not in nodes:
            context.own(Candidates).nodes_gone.setdefault(pod.spec.node_name, now)
    await every(context, PERIOD_SECONDS, collect)


async def _no_keys(key: Key, context: Context) -> None:
    """Everything happens in rounds."""


def _prepare(context: Context) -> None:
    index_by_node(context)
    candidates, nodes = context.own(Candidates), context.informer(Node)

    def on_pod(old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        if pod is None:
            return
        for is_in, members in (
            (new is not None and new.is_finished, candidates.finished),
            (new is not None and new.is_deleting, candidates.leaving),
        ):
            if is_in:
                members.add(pod.key)
            else:
                members.discard(pod.key)
        name = pod.spec.node_name
        if new is not None and name and nodes.has_synced and Key("", name) not in nodes.items:
            candidates.nodes_gone.setdefault(name, context.clock.monotonic())

    def on_node(old: Node | None, new: Node | None) -> None:
        if new is None and old is not None:
            candidates.nodes_gone.setdefault(old.name, context.clock.monotonic())
        elif new is not None:
            candidates.nodes_gone.pop(new.name, None)

    context.informer(Pod).on_change(on_pod)
    nodes.on_change(on_node)


CONTROLLER = Controller(
    "pod-garbage-collector-controller", (Maps(Node), Maps(Pod)), _no_keys, workers=0, prepare=_prepare, beside=_run
)
