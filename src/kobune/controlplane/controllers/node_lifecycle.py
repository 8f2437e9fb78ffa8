"""Watches nodes' heartbeats: a silent node becomes Unknown, its pods not ready, and taints keep pods off or drive them out."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from kobune.api.errors import NotFound
from kobune.api.objects.coordination import Lease
from kobune.api.objects.core import Node
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key, ObjectMeta, find_condition
from kobune.api.timestamps import format_time
from kobune.client.client import Patch
from kobune.controlplane.controllers.controller import Context, Controller, Maps
from kobune.controlplane.controllers.node_health import (
    OURS_NO_EXECUTE,
    Health,
    heartbeat_of,
    no_execute_taint,
    plan_taints,
    taints_json,
    unknown_conditions,
)
from kobune.controlplane.controllers.pods import index_by_node

STARTUP_GRACE_SECONDS = 60.0  # For a node that has never posted. Source: upstream --node-startup-grace-period.
LEASES = "kube-node-lease"


async def reconcile(key: Key, context: Context) -> float | None:
    """One look at a node; returns when its silence would be too long."""
    node = context.informer(Node).get(key)
    health = context.own(Health)
    if node is None:
        _forget(context, key.name)
        return None
    if node.name not in health.known:
        health.known.add(node.name)
        context.events.normal(node, "RegisteredNode", f"Registered Node {node.name} in Controller")
    now = context.clock.monotonic()
    ready = find_condition(node.status.conditions, "Ready")
    grace = context.settings.node_monitor_grace_period if ready is not None else STARTUP_GRACE_SECONDS
    left = health.seen.setdefault(node.name, now) + grace - now
    if left <= 0:
        node = await _declare_unknown(context, node)
    retry = await _taint(context, node, health, now)
    waits = [wait for wait in (left if left > 0 else None, retry) if wait is not None]
    return min(waits, default=None)


async def _declare_unknown(context: Context, node: Node) -> Node:
    """The node as it is after it has been told to be Unknown, and its pods not to be ready."""
    changed = unknown_conditions(node, context.clock.now())
    if not changed:
        return node
    was_ready = node.is_ready
    node = await context.client.patch_status(Node, node.key, {"conditions": changed}, how=Patch.STRATEGIC)
    if was_ready:
        await _mark_pods_not_ready(context, node)
    return node


async def _mark_pods_not_ready(context: Context, node: Node) -> None:
    context.events.normal(node, "NodeNotReady", f"Node {node.name} status is now: NodeNotReady")
    async with asyncio.TaskGroup() as group:
        for pod in context.informer(Pod).index("node", node.name):
            if pod.is_ready:
                group.create_task(_mark_pod_not_ready(context, pod))


async def _mark_pod_not_ready(context: Context, pod: Pod) -> None:
    condition = {"type": "Ready", "status": "False", "lastTransitionTime": format_time(context.clock.now())}
    context.events.warning(pod, "NodeNotReady", "Node is not ready")
    with suppress(NotFound):
        await context.client.patch_status(Pod, pod.key, {"conditions": [condition]}, how=Patch.STRATEGIC)


async def _taint(context: Context, node: Node, health: Health, now: float) -> float | None:
    """Bring the node's taints up to date; returns when to try again for a taint that must wait its turn."""
    wanted, retry = no_execute_taint(node), None
    has = any(each.key in OURS_NO_EXECUTE and each.effect == "NoExecute" for each in node.spec.taints)
    if wanted is not None and health.is_everything_down:
        wanted = None
    elif wanted is not None and not has:
        # One kind of NoExecute taint is changed for the other at once, but a new one waits for its turn in the zone.
        retry = health.wait_to_evict(node, context.settings, now)
        if retry is None:
            retry = context.settings.node_monitor_period
        if retry > 0:
            wanted = None
        else:
            retry = None
    taints = plan_taints(node, wanted, context.clock.now())
    if taints is not None:
        metadata = {"resourceVersion": node.metadata.resource_version}
        await context.client.change(Node, node.key, {"metadata": metadata, "spec": {"taints": taints_json(taints)}})
    return retry


def _forget(context: Context, name: str) -> None:
    health = context.own(Health)
    health.seen.pop(name, None)
    if name in health.known:
        health.known.discard(name)
        gone = Node(metadata=ObjectMeta(name=name, uid=name))
        context.events.normal(gone, "RemovingNode", f"Removing Node {name} from Controller")


def _prepare(context: Context) -> None:
    index_by_node(context)
    health = context.own(Health)

    def on_node(old: Node | None, new: Node | None) -> None:
        was_down = health.is_everything_down
        health.count(old, new)
        if new is not None and (old is None or heartbeat_of(old) != heartbeat_of(new)):
            health.seen[new.name] = context.clock.monotonic()
        down = health.is_everything_down
        if was_down and not down:
            # Nobody could be heard, so nobody was silent: all begin anew.
            now = context.clock.monotonic()
            health.seen.update(dict.fromkeys(health.seen, now))
        if was_down != down:
            for key in context.informer(Node).items:
                context.queue.add(key)

    def on_lease(old: Lease | None, new: Lease | None) -> None:
        if new is not None and new.namespace == LEASES and (old is None or old.spec.renew_time != new.spec.renew_time):
            health.seen[new.name] = context.clock.monotonic()

    context.informer(Node).on_change(on_node)
    context.informer(Lease).on_change(on_lease)


def _nodes_to_judge(_context: Context, old: Node | None, new: Node | None) -> Iterable[Key]:
    """The node itself, unless it has only given a sign of life, which is noted as it comes, or changed in what is nothing here."""
    node = new or old
    if node is None or (old is not None and new is not None and _judged(old) == _judged(new)):
        return ()
    return (node.key,)


def _judged(node: Node) -> tuple[object, ...]:
    return node.spec.taints, node.spec.unschedulable, [(each.type, each.status) for each in node.status.conditions]


CONTROLLER = Controller(
    "node-lifecycle-controller",
    # All leases, of which nearly all are nodes': the garbage collector looks at every one of them anyway.
    (Maps(Node, _nodes_to_judge), Maps(Lease), Maps(Pod)),
    reconcile,
    workers=8,
    prepare=_prepare,
    component="node-controller",
)
