"""Tells kubelets, by an annotation, for how long they may keep what they have read: the larger the cluster, the longer."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from kobune.api.objects.core import Node
from kobune.api.objects.meta import Key
from kobune.controlplane.controllers.controller import Context, Controller, Maps

ANNOTATION = "node.alpha.kubernetes.io/ttl"


class Step(NamedTuple):
    least: int  # Below so many nodes the step before counts; steps overlap, so that one node changes nothing.
    most: int
    seconds: int


STEPS = (Step(0, 100, 0), Step(90, 500, 15), Step(450, 1000, 30), Step(900, 2000, 60), Step(1800, 2**31, 300))


@dataclass(slots=True)
class Stand:
    step: int = 0


async def reconcile(key: Key, context: Context) -> None:
    node, stand = context.informer(Node).get(key), context.own(Stand)
    wanted = str(STEPS[stand.step].seconds)
    if node is not None and node.metadata.annotations.get(ANNOTATION) != wanted:
        await context.client.change(Node, key, {"metadata": {"annotations": {ANNOTATION: wanted}}})


def next_step(step: int, count: int) -> int:
    """Where a cluster of so many nodes stands, coming from `step`."""
    while count > STEPS[step].most:
        step += 1
    while count < STEPS[step].least:
        step -= 1
    return step


def _nodes(context: Context, old: Node | None, new: Node | None) -> Iterable[Key]:
    """A node leads to itself. That the cluster takes a step is written to the others as each of them next changes, with its
    next heartbeat at the latest: all at once, it would cost as much as the nodes' registration. Source: upstream updateNode.
    """
    stand = context.own(Stand)
    if old is None or new is None:
        stand.step = next_step(stand.step, len(context.informer(Node).items))
    if new is None or new.metadata.annotations.get(ANNOTATION) == str(STEPS[stand.step].seconds):
        return ()
    return (new.key,)


CONTROLLER = Controller("ttl-controller", (Maps(Node, _nodes),), reconcile)
