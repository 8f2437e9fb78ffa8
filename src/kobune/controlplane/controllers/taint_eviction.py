"""Deletes pods from nodes with NoExecute taints that they do not tolerate, or no longer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kobune.api.objects.core import Node, Taint, Toleration
from kobune.api.objects.lean import Pod
from kobune.api.objects.meta import Key
from kobune.controlplane.controllers.controller import Context, Controller, Maps
from kobune.controlplane.controllers.pods import disrupt, index_by_node

FOR_EVER = float("inf")


@dataclass(slots=True)
class Sentences:
    """Since when each pod (by uid) has been on a node that it must leave, on the monotonic clock."""

    since: dict[str, float] = field(default_factory=dict)


async def reconcile(key: Key, context: Context) -> float | None:
    """Delete the pod when its time on the tainted node is over; returns how long it still has."""
    pod = context.informer(Pod).get(key)
    since = context.own(Sentences).since
    if pod is None or pod.is_deleting or pod.is_finished or not pod.spec.node_name:
        if pod is not None:
            since.pop(pod.uid, None)
        return None
    node = context.informer(Node).get(Key("", pod.spec.node_name))
    seconds = seconds_tolerated(pod.spec.tolerations, no_execute_taints(node))
    now = context.clock.monotonic()
    if seconds == FOR_EVER:
        if since.pop(pod.uid, None) is not None:
            context.events.normal(pod, "TaintManagerEviction", f"Cancelling deletion of Pod {key}")
        return None
    left = since.setdefault(pod.uid, now) + seconds - now
    if left > 0:
        return left
    del since[pod.uid]
    context.events.normal(pod, "TaintManagerEviction", f"Marking for deletion Pod {key}")
    await disrupt(context, pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
    return None


def seconds_tolerated(tolerations: Sequence[Toleration], taints: Sequence[Taint]) -> float:
    """How long the pod may stay: not at all (0) where a taint is not tolerated, else the least of what is granted."""
    granted = FOR_EVER
    for taint in taints:
        matching = [each for each in tolerations if tolerates(each, taint)]
        if not matching:
            return 0.0
        for each in matching:
            if each.toleration_seconds is not None:
                granted = min(granted, max(each.toleration_seconds, 0))
    return granted


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Source: upstream Toleration.ToleratesTaint."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    if toleration.operator in ("", "Equal"):
        return bool(toleration.key) and toleration.value == taint.value
    if toleration.operator in ("Lt", "Gt"):
        return _compares(toleration, taint)
    return False


def no_execute_taints(node: Node | None) -> list[Taint]:
    """The taints that drive pods out."""
    return [taint for taint in node.spec.taints if taint.effect == "NoExecute"] if node is not None else []


def _compares(toleration: Toleration, taint: Taint) -> bool:
    try:
        ours, theirs = int(toleration.value), int(taint.value)
    except ValueError:
        return False
    return theirs < ours if toleration.operator == "Lt" else theirs > ours


def _pods_on(context: Context, old: Node | None, new: Node | None) -> Iterable[Key]:
    before, after = no_execute_taints(old), no_execute_taints(new)
    node = new or old
    if node is None or before == after:
        return ()
    return [pod.key for pod in context.informer(Pod).index("node", node.name)]


def _pod_itself(context: Context, old: Pod | None, new: Pod | None) -> Iterable[Key]:
    """A pod new on its node, or with other tolerations; the many other changes of pods do not matter."""
    if new is None:
        if old is not None:
            context.own(Sentences).since.pop(old.uid, None)
        return ()
    same = old is not None and (old.spec.node_name, old.spec.tolerations) == (new.spec.node_name, new.spec.tolerations)
    if same or not new.spec.node_name or not no_execute_taints(context.informer(Node).get(Key("", new.spec.node_name))):
        return ()
    return (new.key,)


CONTROLLER = Controller(
    "taint-eviction-controller",
    (Maps(Node, _pods_on), Maps(Pod, _pod_itself)),
    reconcile,
    workers=8,
    prepare=index_by_node,
)
