"""VolumeBinding: a node must reach the pod's volumes, and those still unbound must be had there.

Bound claims ask for the volume's node affinity; claims that wait for their first consumer for a free volume, or for a class
that can make one there. Source: Kubernetes documentation, Volume Binding Mode, Storage Capacity; upstream volumebinding.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Json
from kobune.api.objects.meta import Key
from kobune.api.objects.storage import (
    BOUND_BY_CONTROLLER,
    SELECTED_NODE,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
    VolumeNodeAffinity,
    claim_reference,
)
from kobune.api.quantity import to_bytes
from kobune.client.client import Client
from kobune.controlplane.scheduler.arrays import Mask, Rows
from kobune.controlplane.scheduler.csi_translation import in_tree_of, migrated_plugins, translated_affinity
from kobune.controlplane.scheduler.events import NODE, Action, ClusterEvent
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_rules import LabelRule, any_term, compile_selector
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Refusal, Scope
from kobune.controlplane.scheduler.pod_info import PodInfo, selector_of
from kobune.controlplane.scheduler.storage import (
    candidates,
    is_bound,
    is_provisioned,
    size_of,
    sort_claims,
    uses_claims,
)

NODE_CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
NO_VOLUME = "node(s) didn't find available persistent volumes to bind"
NO_SPACE = "node(s) did not have enough free storage"
NO_SUCH_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
BIND_TIMEOUT_SECONDS = 600  # Source: upstream bindTimeoutSeconds.
POLL_SECONDS = 1.0

KINDS = (
    "PersistentVolumeClaim", "PersistentVolume", "StorageClass", "CSINode", "CSIDriver", "CSIStorageCapacity",
)  # fmt: skip


class _Match(NamedTuple):
    """A claim that could be bound to an existing volume, and on which rows."""

    claim: PersistentVolumeClaim
    volume: PersistentVolume
    rows: Mask


class _Judgement(NamedTuple):
    """All of the plugin's verdict over the rows in use."""

    reachable: Mask  # Bound volumes can be reached.
    exist: bool  # Bound volumes exist.
    bindable: Mask  # Unbound claims have a volume, or a class that can make one.
    spacious: Mask
    matches: tuple[_Match, ...]
    provisions: tuple[tuple[PersistentVolumeClaim, Mask], ...]


class Decision(NamedTuple):
    """What is to be written before the pod is bound to its node."""

    bindings: tuple[tuple[PersistentVolumeClaim, PersistentVolume], ...]
    provisions: tuple[PersistentVolumeClaim, ...]


class VolumeBinding:
    name = "VolumeBinding"
    scope = Scope.CLUSTER

    def __init__(self, listers: Listers, *, bind_timeout_seconds: float = BIND_TIMEOUT_SECONDS) -> None:
        self._listers = listers
        self._timeout = bind_timeout_seconds
        self._decisions: dict[str, Decision] = {}  # By uid, of pods whose volumes are being bound.
        self._taken: dict[str, Key] = {}  # Volumes promised to claims, by name.
        self._placed: dict[Key, str] = {}  # Claims whose volume is being made for a node.

    def concerns(self, pod: PodInfo) -> bool:
        return uses_claims(pod.shape.volumes)

    def refuse(self, pod: PodInfo, nodes: NodeTable) -> Refusal | None:
        if not self.concerns(pod):
            return None
        problem = sort_claims(pod, self._listers).problem
        return Refusal(problem) if problem else None

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        judged = self._judge(pod, nodes)
        if not judged.exist:
            return np.zeros(nodes.size, dtype=np.bool_)[rows]
        mask = judged.reachable & judged.bindable & judged.spacious
        return mask[rows]

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        judged = self._judge(pod, nodes)
        return [
            Reason(NODE_CONFLICT, ~judged.reachable, False),
            Reason(NO_VOLUME, ~judged.bindable, False),
            Reason(NO_SPACE, ~judged.spacious, False),
            Reason(NO_SUCH_VOLUME, np.full(nodes.size, not judged.exist), False),
        ]

    def _judge(self, pod: PodInfo, nodes: NodeTable) -> _Judgement:
        claims = sort_claims(pod, self._listers)
        everywhere = np.ones(nodes.size, dtype=np.bool_)
        reachable, exist = everywhere.copy(), True
        for claim in claims.bound:
            volume = self._listers.volumes.get(Key("", claim.spec.volume_name))
            if volume is None:
                exist = False
            else:
                reachable &= self._reach(volume, nodes)
        bindable, spacious = everywhere.copy(), everywhere.copy()
        matches: list[_Match] = []
        provisions: list[tuple[PersistentVolumeClaim, Mask]] = []
        used: dict[str, Mask] = {}
        for claim in sorted(claims.waiting, key=size_of):
            chosen = self._placed.get(claim.key) or claim.metadata.annotations.get(SELECTED_NODE)
            left = everywhere.copy()
            if chosen:
                # A volume is being made for one node already.
                only = np.zeros(nodes.size, dtype=np.bool_)
                row = nodes.row_of.get(chosen)
                if row is not None:
                    only[row] = True
                bindable &= only
            else:
                left = self._match(claim, nodes, used, matches)
            able, enough = self._provisionable(claim, nodes)
            bindable &= ~left | able
            spacious &= ~left | ~able | enough
            provisions.append((claim, left & able & enough))
        return _Judgement(reachable, exist, bindable, spacious, tuple(matches), tuple(provisions))

    def _reach(self, volume: PersistentVolume, nodes: NodeTable) -> Mask:
        """The rows from which a bound volume can be reached; where its plugin has moved to CSI, by the driver's labels."""
        mask = _by_affinity(volume.spec.node_affinity, nodes)
        plugin = in_tree_of(volume.spec)
        if plugin is None or not plugin.topology:
            return mask
        moved = np.zeros(nodes.size, dtype=np.bool_)
        for key, csi_node in self._listers.csi_nodes.items():
            row = nodes.row_of.get(key.name)
            if row is not None and plugin.name in migrated_plugins(csi_node.metadata.annotations):
                moved[row] = True
        if not moved.any():
            return mask
        return np.where(moved, _by_affinity(translated_affinity(volume, plugin), nodes), mask)

    def _match(
        self, claim: PersistentVolumeClaim, nodes: NodeTable, used: dict[str, Mask], matches: list[_Match]
    ) -> Mask:
        """Give each row the first volume that it can reach and that no other claim has there; returns the rows left."""
        left = np.ones(nodes.size, dtype=np.bool_)
        for volume in candidates(claim, self._listers, self._taken):
            free = left & _by_affinity(volume.spec.node_affinity, nodes)
            if volume.name in used:
                free &= ~used[volume.name]
            if free.any():
                matches.append(_Match(claim, volume, free))
                used[volume.name] = used.get(volume.name, np.zeros(nodes.size, dtype=np.bool_)) | free
                left &= ~free
        return left

    def _provisionable(self, claim: PersistentVolumeClaim, nodes: NodeTable) -> tuple[Mask, Mask]:
        """(rows where the claim's class can make a volume, rows where there is space for it)."""
        storage_class = self._listers.storage_classes.get(Key("", claim.storage_class))
        nowhere = np.zeros(nodes.size, dtype=np.bool_)
        if storage_class is None or not is_provisioned(storage_class):
            return nowhere, ~nowhere
        return _allowed(storage_class, nodes), self._space(claim, storage_class, nodes)

    def _space(self, claim: PersistentVolumeClaim, storage_class: StorageClass, nodes: NodeTable) -> Mask:
        """By the capacities that the driver publishes, if it does."""
        driver = self._listers.csi_drivers.get(Key("", storage_class.provisioner))
        size = size_of(claim)
        if not size or driver is None or not driver.spec.storage_capacity:
            return np.ones(nodes.size, dtype=np.bool_)
        mask = np.zeros(nodes.size, dtype=np.bool_)
        for capacity in self._listers.capacities.values():
            limit = capacity.maximum_volume_size or capacity.capacity
            if capacity.storage_class_name != storage_class.name or limit is None or to_bytes(limit) < size:
                continue
            if capacity.node_topology is None:
                continue
            selector = selector_of(capacity.node_topology)
            for row in np.flatnonzero(nodes.exists[nodes.rows] & ~mask).tolist():
                node = nodes.nodes[row]
                mask[row] = node is not None and selector.matches(node.metadata.labels)
        return mask

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """Something about storage, or a node, is new."""
        if event.resource == NODE:
            return event.node(Action.ADD, Action.LABELS) is not None
        if event.resource == "PersistentVolumeClaim":
            changed: PersistentVolumeClaim = event.new or event.old
            return changed.namespace == pod.shape.namespace
        return event.resource in KINDS

    # What follows the choice of a node.

    def reserve(self, pod: PodInfo, nodes: NodeTable, row: int) -> None:
        """Decide how the claims are met on this node and keep others from the same volumes."""
        if not self.concerns(pod):
            return
        judged = self._judge(pod, nodes)
        decision = Decision(
            tuple((match.claim, match.volume) for match in judged.matches if match.rows[row]),
            tuple(claim for claim, rows in judged.provisions if rows[row]),
        )
        if not any(decision):
            return
        self._decisions[pod.uid] = decision
        for claim, volume in decision.bindings:
            self._taken[volume.name] = claim.key
        for claim in decision.provisions:
            self._placed[claim.key] = nodes.names[row]

    def unreserve(self, pod: PodInfo) -> None:
        """The pod does not go there after all."""
        decision = self._decisions.pop(pod.uid, None)
        if decision is not None:
            for _, volume in decision.bindings:
                self._taken.pop(volume.name, None)
            for claim in decision.provisions:
                self._placed.pop(claim.key, None)

    def prepares(self, pod: PodInfo) -> bool:
        """Whether something has to be written before the pod is bound."""
        return pod.uid in self._decisions

    async def prepare(
        self, pod: PodInfo, node_name: str, client: Client, clock: Clock, tell: Callable[[str, str], None]
    ) -> None:
        """Bind the claims, or have their volumes made, and wait until that is done.

        Raises:
            ApiError: a write failed, the volumes were not bound in time, or making one failed.
        """
        decision = self._decisions[pod.uid]
        for claim, volume in decision.bindings:
            await client.patch(PersistentVolume, volume.key, _promise(claim))
        for claim in decision.provisions:
            await client.patch(
                PersistentVolumeClaim, claim.key, {"metadata": {"annotations": {SELECTED_NODE: node_name}}}
            )
        claims = [claim.key for claim, _ in decision.bindings] + [claim.key for claim in decision.provisions]
        deadline = clock.monotonic() + self._timeout
        asked = {claim.key for claim in decision.provisions}
        while not all(self._is_done(key) for key in claims):
            if clock.monotonic() > deadline:
                raise ApiError("binding volumes: context deadline exceeded")
            await clock.sleep(POLL_SECONDS)
            for key in asked:
                now = self._listers.claims.get(key)
                if now is not None and now.metadata.annotations.get(SELECTED_NODE, node_name) != node_name:
                    raise ApiError(f'binding volumes: provisioning failed for PVC "{key.name}"')
        self.unreserve(pod)

    def _is_done(self, key: Key) -> bool:
        claim = self._listers.claims.get(key)
        return claim is not None and is_bound(claim)


def _promise(claim: PersistentVolumeClaim) -> Json:
    return {
        "metadata": {"annotations": {BOUND_BY_CONTROLLER: "yes"}},
        "spec": {"claimRef": claim_reference(claim.metadata)},
    }


def _by_affinity(affinity: VolumeNodeAffinity | None, nodes: NodeTable) -> Mask:
    """The rows from which a volume with this node affinity can be reached."""
    if affinity is None or affinity.required is None:
        return np.ones(nodes.size, dtype=np.bool_)
    return any_term(compile_selector(affinity.required), nodes, nodes.rows)


def _allowed(storage_class: StorageClass, nodes: NodeTable) -> Mask:
    """The rows where the class makes volumes, by its allowed topologies; without any, everywhere."""

    if not storage_class.allowed_topologies:
        return np.ones(nodes.size, dtype=np.bool_)
    mask = np.zeros(nodes.size, dtype=np.bool_)
    for term in storage_class.allowed_topologies:
        allowed = np.ones(nodes.size, dtype=np.bool_)
        for requirement in term.match_label_expressions:
            rule = LabelRule(requirement.key, "In", frozenset(requirement.values))
            allowed &= rule.mask(nodes, nodes.rows)
        mask |= allowed
    return mask
