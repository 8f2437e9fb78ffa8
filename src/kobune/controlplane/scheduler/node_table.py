"""All nodes as arrays, one row per node: what is allocatable, what is requested, labels, taints, ports, images, pods.

Rows are reused after a deletion and the arrays grow by doubling. Every change is logged by row, so that a reader that
has judged all rows before judges only those again. Nothing here waits or reads the clock.
"""

import copy
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kobune.api.objects.core import Node, Taint
from kobune.api.objects.meta import Key
from kobune.controlplane.scheduler.arrays import Codes, Counts, Mask, widened
from kobune.controlplane.scheduler.change_log import ChangeLog
from kobune.controlplane.scheduler.label_column import LabelColumn
from kobune.controlplane.scheduler.pod_counts import PodCounts
from kobune.controlplane.scheduler.pod_info import HostPort, PodInfo, normalized_image
from kobune.controlplane.scheduler.pod_requests import CPU, EPHEMERAL_STORAGE, MEMORY, PODS, amounts_of

FIRST_CAPACITY = 16
CORE = 3  # The first columns of the resource arrays: cpu, memory, ephemeral storage.
COLUMN_CPU, COLUMN_MEMORY, COLUMN_STORAGE = range(CORE)
FEATURE_SEPARATOR = ","  # Between declared features in `NodeTable.declared`; none contains it.
TaintSet = tuple[tuple[str, str, str], ...]  # (key, value, effect) of each taint, in order.


class PriorityLoad:
    """What the pods of one priority take of each node."""

    def __init__(self, capacity: int) -> None:
        self.pods: NDArray[np.int64] = np.zeros(capacity, dtype=np.int64)
        self.requested: NDArray[np.int64] = np.zeros((CORE, capacity), dtype=np.int64)


class NodeTable:
    """The nodes and the pods placed on them.

    Arrays have one entry per row along their last axis and `capacity` rows; only rows where `exists` is set are nodes.
    `rows` is the slice of rows in use.
    """

    def __init__(self) -> None:
        self.capacity = FIRST_CAPACITY
        self.size = 0  # Rows in use, freed ones included.
        self.row_of: dict[str, int] = {}
        self.names: list[str] = []
        self.nodes: list[Node | None] = []
        self.pods: list[dict[str, PodInfo]] = []  # By row, then by uid.
        self.exists: Mask = np.zeros(self.capacity, dtype=np.bool_)
        self.unschedulable: Mask = np.zeros(self.capacity, dtype=np.bool_)
        self.resources: list[str] = [CPU, MEMORY, EPHEMERAL_STORAGE]  # Names of the resource arrays' first axis.
        self.allocatable: NDArray[np.int64] = np.zeros((CORE, self.capacity), dtype=np.int64)
        self.requested: NDArray[np.int64] = np.zeros((CORE, self.capacity), dtype=np.int64)
        self.assumed: NDArray[np.int64] = np.zeros((2, self.capacity), dtype=np.int64)  # [millicores, bytes].
        self.allowed_pods: NDArray[np.int64] = np.zeros(self.capacity, dtype=np.int64)
        self.pod_count: NDArray[np.int64] = np.zeros(self.capacity, dtype=np.int64)
        self.taint_codes: Codes = np.zeros(self.capacity, dtype=np.int32)
        self.taint_sets: list[tuple[Taint, ...]] = [()]  # By code.
        self.declared = LabelColumn(self.capacity)  # The features that each kubelet declares, as one text.
        self.port_users: dict[HostPort, Counts] = {}
        self.images: dict[str, dict[int, int]] = {}  # Image name to rows that have it, and its size there in bytes.
        self.counts = PodCounts(self.capacity)
        self.by_priority: dict[int, PriorityLoad] = {}
        self.storage_pods: dict[
            int, dict[str, PodInfo]
        ] = {}  # By row, then by uid: pods whose volumes bear on placement.
        self.claim_users: Counter[Key] = Counter()  # Placed pods by the claims that they name.
        self.node_changes = ChangeLog()
        self.pod_changes = ChangeLog()  # Rows whose pods are others, or look other.
        self.room_changes = ChangeLog()  # Those among them of which more or less is taken now.
        self._columns: dict[str, LabelColumn] = {}
        self._taint_code: dict[TaintSet, int] = {(): 0}
        self._resource_column = {name: column for column, name in enumerate(self.resources)}
        self._free: list[int] = []
        self._node_count = 0

    def __len__(self) -> int:
        """How many nodes there are."""
        return self._node_count

    @property
    def rows(self) -> slice:
        return slice(0, self.size)

    def node_rows(self) -> NDArray[np.intp]:
        """The rows that are nodes."""
        return np.flatnonzero(self.exists)

    def column(self, key: str) -> LabelColumn:
        """The column of a label key, made when it is first asked for."""
        column = self._columns.get(key)
        if column is None:
            column = self._columns[key] = LabelColumn(self.capacity)
            for row, node in enumerate(self.nodes):
                if node is not None:
                    column.put(row, node.metadata.labels.get(key))
        return column

    def resource_column(self, name: str) -> int | None:
        """Where a resource stands in `allocatable` and `requested`; None when no node and no pod has named it."""
        return self._resource_column.get(name)

    def value(self, key: str, row: int) -> str | None:
        """The node's value of a label."""
        node = self.nodes[row]
        return None if node is None else node.metadata.labels.get(key)

    def room_state(self, row: int) -> bytes:
        """Equal for nodes that have the same of every resource and of which the same is requested."""
        return b"".join(
            (
                self.allocatable[:, row].tobytes(), self.requested[:, row].tobytes(), self.assumed[:, row].tobytes(),
                self.allowed_pods[row].tobytes(), self.pod_count[row].tobytes(),
            )
        )  # fmt: skip

    # Nodes.

    def put_node(self, node: Node) -> int:
        """Add or update a node; returns its row. An update that changes nothing of interest is not logged."""
        row = self._row(node.metadata.name)
        old = self.nodes[row]
        self.nodes[row] = node
        if old is None:
            self.exists[row] = True
            self._node_count += 1
        elif not _differs(old, node):
            return row
        self._put_resources(row, node)
        self._put_taints(row, node)
        self._put_images(row, old, node)
        self.declared.put(row, FEATURE_SEPARATOR.join(sorted(node.status.declared_features)) or None)
        for key, column in self._columns.items():
            column.put(row, node.metadata.labels.get(key))
        self.unschedulable[row] = node.spec.unschedulable
        self.node_changes.add(row, keep=self.capacity)
        return row

    def remove_node(self, name: str) -> None:
        """Forget a node. Its pods stay known until they are removed, and so does its row."""
        row = self.row_of.get(name)
        if row is None or not self.exists[row]:
            return
        self.exists[row] = False
        self.unschedulable[row] = False
        self._node_count -= 1
        self._put_images(row, self.nodes[row], None)
        self.nodes[row] = None
        self.allocatable[:, row] = 0
        self.allowed_pods[row] = 0
        self.taint_codes[row] = 0
        self.declared.put(row, None)
        for column in self._columns.values():
            column.put(row, None)
        self.node_changes.add(row, keep=self.capacity)
        self._release(row)

    def _put_resources(self, row: int, node: Node) -> None:
        amounts = amounts_of(node.status.allocatable)
        self.allowed_pods[row] = amounts.pop(PODS, 0)
        columns = [self._add_resource(name) for name in amounts]
        self.allocatable[:, row] = 0
        for column, amount in zip(columns, amounts.values(), strict=True):
            self.allocatable[column, row] = amount

    def _put_taints(self, row: int, node: Node) -> None:
        taints: TaintSet = tuple((taint.key, taint.value, taint.effect) for taint in node.spec.taints)
        code = self._taint_code.get(taints)
        if code is None:
            code = self._taint_code[taints] = len(self.taint_sets)
            self.taint_sets.append(tuple(node.spec.taints))
        self.taint_codes[row] = code

    def _put_images(self, row: int, old: Node | None, new: Node | None) -> None:
        before, after = _image_sizes(old), _image_sizes(new)
        for name in before.keys() - after.keys():
            rows = self.images[name]
            del rows[row]
            if not rows:
                del self.images[name]
        for name, size in after.items():
            self.images.setdefault(name, {})[row] = size

    # Pods.

    def add_pod(self, pod: PodInfo, node_name: str) -> int:
        """Count a pod on a node, which may not be known yet; returns the row."""
        row = self._row(node_name)
        self.pods[row][pod.uid] = pod
        self._count(pod, row, 1)
        return row

    def remove_pod(self, uid: str, node_name: str) -> PodInfo | None:
        """Take a pod off its node; None when it was not there."""
        row = self.row_of.get(node_name)
        pod = None if row is None else self.pods[row].pop(uid, None)
        if row is not None and pod is not None:
            self._count(pod, row, -1)
            self._release(row)
        return pod

    def replace_pod(self, pod: PodInfo, node_name: str) -> None:
        """A newer view of a pod that is counted already and takes the same; its labels may be others."""
        row = self.row_of[node_name]
        old = self.pods[row][pod.uid]
        self.pods[row][pod.uid] = pod
        if pod.shape.volumes:
            self.storage_pods[row][pod.uid] = pod
        if old.shape is not pod.shape:
            self.counts.remove(old, row)
            self.counts.add(pod, row)
        if old.shape is not pod.shape or old.started != pod.started:
            self.pod_changes.add(row, keep=self.capacity)  # Who has run longest matters to evictions.

    def _count(self, pod: PodInfo, row: int, sign: int) -> None:
        shape = pod.shape
        if sign > 0:
            self.requested[:CORE, row] += shape.requests
            self.assumed[:, row] += shape.assumed
        else:
            self.requested[:CORE, row] -= shape.requests
            self.assumed[:, row] -= shape.assumed
        for name, amount in shape.extended:
            column = self._add_resource(name)  # Which may make the array anew.
            self.requested[column, row] += sign * amount
        self.pod_count[row] += sign
        load = self.by_priority.get(pod.priority)
        if load is None:
            load = self.by_priority[pod.priority] = PriorityLoad(self.capacity)
        load.pods[row] += sign
        load.requested[:, row] += shape.requests * sign
        for port in shape.ports:
            self._port_counts(port)[row] += sign
        if shape.volumes:
            self._count_storage(pod, row, sign)
        if sign > 0:
            self.counts.add(pod, row)
        else:
            self.counts.remove(pod, row)
        self.pod_changes.add(row, keep=self.capacity)
        self.room_changes.add(row, keep=self.capacity)

    def _count_storage(self, pod: PodInfo, row: int, sign: int) -> None:
        pods = self.storage_pods.setdefault(row, {})
        if sign > 0:
            pods[pod.uid] = pod
        else:
            del pods[pod.uid]
            if not pods:
                del self.storage_pods[row]
        for volume in pod.shape.volumes:
            if volume.kind == "persistentVolumeClaim":
                self.claim_users[Key(pod.shape.namespace, str(volume.source.get("claimName", "")))] += sign

    def _port_counts(self, port: HostPort) -> Counts:
        users = self.port_users.get(port)
        if users is None:
            users = self.port_users[port] = np.zeros(self.capacity, dtype=np.int32)
        return users

    def below(self, priority: int) -> PriorityLoad:
        """What pods of a lower priority take of each node, all together."""
        total = PriorityLoad(self.capacity)
        for level, load in self.by_priority.items():
            if level < priority:
                total.pods += load.pods
                total.requested += load.requested
        return total

    def all_pods(self) -> Iterator[tuple[int, PodInfo]]:
        """Every placed pod with its row."""
        for row in range(self.size):
            for pod in self.pods[row].values():
                yield row, pod

    # Rows.

    def _row(self, name: str) -> int:
        row = self.row_of.get(name)
        if row is not None:
            return row
        if self._free:
            row = self._free.pop()
            self.names[row] = name
        else:
            row = self.size
            if row == self.capacity:
                self._grow(2 * self.capacity)
            self.size += 1
            self.names.append(name)
            self.nodes.append(None)
            self.pods.append({})
        self.row_of[name] = row
        return row

    def _release(self, row: int) -> None:
        """Free a row that is neither a node nor holds pods."""
        if not self.exists[row] and not self.pods[row]:
            del self.row_of[self.names[row]]
            self._free.append(row)

    def _grow(self, capacity: int) -> None:
        self.capacity = capacity
        self.exists, self.unschedulable = widened(self.exists, capacity), widened(self.unschedulable, capacity)
        self.allocatable, self.requested = widened(self.allocatable, capacity), widened(self.requested, capacity)
        self.assumed = widened(self.assumed, capacity)
        self.allowed_pods, self.pod_count = widened(self.allowed_pods, capacity), widened(self.pod_count, capacity)
        self.taint_codes = widened(self.taint_codes, capacity)
        self.declared.grow(capacity)
        self.port_users = {port: widened(users, capacity) for port, users in self.port_users.items()}
        for column in self._columns.values():
            column.grow(capacity)
        self.counts.grow(capacity)
        for load in self.by_priority.values():
            load.pods, load.requested = widened(load.pods, capacity), widened(load.requested, capacity)

    def _add_resource(self, name: str) -> int:
        column = self._resource_column.get(name)
        if column is None:
            column = self._resource_column[name] = len(self.resources)
            self.resources.append(name)
            self.allocatable = np.vstack([self.allocatable, np.zeros((1, self.capacity), dtype=np.int64)])
            self.requested = np.vstack([self.requested, np.zeros((1, self.capacity), dtype=np.int64)])
        return column

    # Copies.

    def copy(self) -> "NodeTable":
        """A table of its own with the same nodes and pods, to try things on."""
        table = NodeTable()
        for node in self.nodes:
            if node is not None:
                table.put_node(node)
        for row, pod in self.all_pods():
            table.add_pod(copy.copy(pod), self.names[row])
        return table


def _differs(old: Node, new: Node) -> bool:
    """Whether a node's update bears on scheduling; most updates are heartbeats."""
    return (
        old.metadata.labels != new.metadata.labels
        or old.spec != new.spec
        or old.status.allocatable != new.status.allocatable
        or old.status.images != new.status.images
        or old.metadata.annotations != new.metadata.annotations
        or old.status.declared_features != new.status.declared_features
    )


def _image_sizes(node: Node | None) -> dict[str, int]:
    if node is None:
        return {}
    return {normalized_image(name): image.size_bytes for image in node.status.images for name in image.names}
