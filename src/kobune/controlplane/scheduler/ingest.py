"""From what the informers see to the node table, the queue, and the events that may free waiting pods."""

import logging
from collections.abc import Callable, Collection

from kobune.api.errors import ApiError
from kobune.api.objects.core import Node
from kobune.api.objects.meta import Key, Object
from kobune.api.objects.scheduling import Pod
from kobune.controlplane.scheduler.events import NODE, POD, Action, ClusterEvent, node_actions, pod_actions
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.pod_info import PodInfo, PodParser
from kobune.controlplane.scheduler.queue import SchedulingQueue

log = logging.getLogger(__name__)


class Ingest:
    """Keeps table, nominations and queue true to the API. `assumed` are pods placed here whose binding is not yet seen."""

    def __init__(
        self,
        table: NodeTable,
        queue: SchedulingQueue,
        nominated: Nominations,
        listers: Listers,
        *,
        scheduler_names: Collection[str],
    ) -> None:
        self._table, self._queue, self._nominated, self._listers = table, queue, nominated, listers
        self._names = frozenset(scheduler_names)
        self._placed: dict[str, tuple[PodInfo, str]] = {}  # By uid: as counted in the table, and on which node.
        self.assumed: set[str] = set()
        self.parser = PodParser()
        self.on_classes_changed: Callable[[], None] = lambda: None
        self.on_gone: Callable[[PodInfo], None] = lambda pod: None  # A pod has been deleted or has finished.

    # Pods.

    def pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """An informer's callback."""
        if new is None or new.is_finished:
            pod = new or old
            if pod is not None and (old is None or not (new is not None and old.is_finished)):
                self._gone(pod)
            return
        if old is not None and old.metadata.uid != new.metadata.uid:
            self._gone(old)  # Deleted and created again between two looks.
            old = None
        try:
            pod_info = self.parser.parse(new)
        except (ApiError, ValueError) as error:
            # Validation lets no such pod in; one that came by another way is not placed, and does not stop the others.
            log.error("pod cannot be read", extra={"pod": str(new.key), "failure": str(error)})
            return
        if new.spec.scheduling_group is not None:
            self._joined(pod_info)
        if new.spec.node_name:
            self._assigned(pod_info)
        elif new.spec.scheduler_name in self._names and pod_info.uid not in self.assumed:
            self._pending(old, pod_info)

    def _assigned(self, pod: PodInfo) -> None:
        uid, node_name = pod.uid, pod.node_name
        self.assumed.discard(uid)
        if uid in self._queue:
            self._queue.remove(uid)
        if self._nominated:
            self._nominated.remove(uid)
        known = self._placed.get(uid)
        self._placed[uid] = (pod, node_name)
        if known is None:
            self._table.add_pod(pod, node_name)
            self._queue.happened(ClusterEvent(POD, Action.ADD, None, pod))
            return
        before, where = known
        if where == node_name and _takes_like(before, pod):
            self._table.replace_pod(pod, node_name)
        else:
            self._table.remove_pod(uid, where)
            self._table.add_pod(pod, node_name)
        if not before.node_name:  # Until now it was assumed to be there.
            self._queue.happened(ClusterEvent(POD, Action.ADD, None, pod))
        elif where != node_name or before.shape is not pod.shape or before.deleting != pod.deleting:
            self._queue.happened(ClusterEvent(POD, pod_actions(before, pod), before, pod))

    def _pending(self, old: Pod | None, pod: PodInfo) -> None:
        wish = pod.pod.status.nominated_node_name
        if wish or self._nominated.node_of(pod.uid):
            self._nominated.put(pod, wish or self._nominated.node_of(pod.uid))
        queued = self._queue.get(pod.uid)
        if queued is None:
            self._queue.add(pod)
            return
        action = pod_actions(queued.pod, pod)
        self._queue.update(pod, ClusterEvent(POD, action, queued.pod, pod))

    def _joined(self, pod: PodInfo) -> None:
        """A pod of a group is there: the others may have waited for it."""
        group, uid, members = pod.scheduling_group, pod.uid, self._listers.members
        assert group is not None
        before = members.count(group)
        members.put(group, uid, placed=bool(pod.node_name) or uid in self.assumed)
        if members.count(group) > before:
            self._queue.reconsider(members.waiting(group), ClusterEvent(POD, Action.ADD, None, pod).label)

    def _gone(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        if pod.spec.scheduling_group is not None:
            self._listers.members.remove(Key(pod.namespace, pod.spec.scheduling_group.pod_group_name), uid)
        self.assumed.discard(uid)
        self._nominated.remove(uid)
        known = self._placed.pop(uid, None)
        queued = self._queue.remove(uid)
        if known is not None:
            self._table.remove_pod(uid, known[1])
        gone = known[0] if known else queued.pod if queued else None
        if gone is None:
            return
        self.on_gone(gone)
        seen = self.parser.parse(pod) if pod.spec.node_name else gone
        self._queue.happened(ClusterEvent(POD, Action.DELETE, seen, None))

    def assume(self, pod: PodInfo, node_name: str) -> None:
        """Count a pod on the node that was picked for it, before its binding is seen."""
        self.assumed.add(pod.uid)
        self._placed[pod.uid] = (pod, node_name)
        self._table.add_pod(pod, node_name)
        if self._nominated:
            self._nominated.remove(pod.uid)
        if pod.scheduling_group is not None:
            self._listers.members.put(pod.scheduling_group, pod.uid, placed=True)

    def forget(self, pod: PodInfo) -> None:
        """The binding failed: the room is free again. Nothing happens once the binding has been seen."""
        if pod.uid not in self.assumed:
            return
        self.assumed.discard(pod.uid)
        _, where = self._placed.pop(pod.uid)
        self._table.remove_pod(pod.uid, where)
        if pod.scheduling_group is not None:
            self._listers.members.put(pod.scheduling_group, pod.uid, placed=False)
        self._queue.happened(ClusterEvent(POD, Action.DELETE, _on_node(pod), None))

    # Nodes and the rest.

    def node_changed(self, old: Node | None, new: Node | None) -> None:
        """An informer's callback."""
        if new is None:
            if old is not None:
                self._table.remove_node(old.metadata.name)
                self._queue.happened(ClusterEvent(NODE, Action.DELETE, old, None))
            return
        try:
            self._table.put_node(new)
        except ValueError as error:
            log.error("node cannot be read", extra={"node": new.name, "failure": str(error)})
            return
        if old is None:
            self._queue.happened(ClusterEvent(NODE, Action.ADD, None, new))
            return
        action = node_actions(old, new)
        if action != Action.UPDATE:  # A heartbeat helps nobody.
            self._queue.happened(ClusterEvent(NODE, action, old, new))

    def other_changed(self, kind: str) -> Callable[[Object | None, Object | None], None]:
        """The informers' callback for a kind that only plugins look at."""

        def changed(old: Object | None, new: Object | None) -> None:
            if old is None or new is None or _differs(old, new):
                self._listers.changes[kind] += 1
                if kind == "DeviceClass":
                    self.on_classes_changed()  # One may stand for a resource that NodeResourcesFit looked for.
            action = Action.ADD if old is None else Action.DELETE if new is None else Action.UPDATE
            if old is not None and new is not None and old.metadata.labels != new.metadata.labels:
                action |= Action.LABELS
            event = ClusterEvent(kind, action, old, new)
            if kind == "PodGroup" and new is not None and old is None:
                self._queue.reconsider(self._listers.members.waiting(new.key), event.label)
            self._queue.happened(event)

        return changed


def _takes_like(old: PodInfo, new: PodInfo) -> bool:
    """Whether the table counts the same for both; a binding gives the pod its node's labels, and no more."""
    return new.shape.takes_like(old.shape) and new.deleting == old.deleting and new.priority == old.priority


def _differs(old: Object, new: Object) -> bool:
    labels = old.metadata.labels != new.metadata.labels
    return labels or getattr(old, "spec", None) != getattr(new, "spec", None)


def _on_node(pod: PodInfo) -> PodInfo:
    """The pod as one that has left a node; plugins look at what it held, not where."""
    return _Freed(pod.pod, pod.shape, pod.key, pod.uid, pod.priority, pod.created, pod.deleting)


class _Freed(PodInfo):
    """A pod that was assumed to be on a node and is not."""

    __slots__ = ()

    @property
    def node_name(self) -> str:
        return "(assumed)"
