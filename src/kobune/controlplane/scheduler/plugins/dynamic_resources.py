"""DynamicResources: a node must have the devices that the pod's claims ask for, and the claims get them before the pod runs.

Source: Kubernetes documentation, Dynamic Resource Allocation; upstream dynamicresources.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.api.objects.core import NodeSelector
from kobune.api.objects.meta import Key
from kobune.client.client import Client
from kobune.controlplane.scheduler.arrays import Mask, Rows, Scores
from kobune.controlplane.scheduler.device_capacity import Shares
from kobune.controlplane.scheduler.devices import (
    DeviceId,
    Grant,
    Inventory,
    allocate,
    allocated,
    allocation,
    preference_of,
    requests_of,
    shared,
)
from kobune.controlplane.scheduler.events import NODE, POD, Action, ClusterEvent
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_rules import any_term, compile_selector
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Refusal, Scope, normalized
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.views import ResourceClaim

NOT_ON_NODE = "resourceclaim not available on the node"
CANNOT_ALLOCATE = "cannot allocate all claims"
FINALIZER = "resource.kubernetes.io/delete-protection"
NOTHING_TO_RELEASE = "no new claims to deallocate"
NO_USE = "still not schedulable"
RELEASED = "deallocation of ResourceClaim completed"
MOST_USERS = 256  # Of one claim. Source: resource.k8s.io ResourceClaimReservedForMaxSize.


class Decision(NamedTuple):
    """What the pod's claims get, once it goes to its node."""

    node_name: str
    grants: dict[Key, list[Grant]]  # Of claims that had nothing yet.
    shared: tuple[Key, ...]  # Claims that have their devices already.


class DynamicResources:
    name = "DynamicResources"
    scope = Scope.CLUSTER

    def __init__(self, listers: Listers) -> None:
        self._listers = listers
        self._decisions: dict[str, Decision] = {}  # By uid, of pods on their way.
        self._inventory: tuple[int, Inventory] = (-1, Inventory(()))

    def concerns(self, pod: PodInfo) -> bool:
        return bool(pod.shape.claims)

    def refuse(self, pod: PodInfo, nodes: NodeTable) -> Refusal | None:
        if not self.concerns(pod):
            return None
        claims, problem = self._claims(pod)
        if problem:
            return Refusal(problem)
        for claim in claims:
            problem = self._problem(pod, claim)
            if problem:
                return Refusal(problem)
        return None

    def _problem(self, pod: PodInfo, claim: ResourceClaim) -> str:
        if claim.is_deleting:
            return f'resourceclaim "{claim.name}" is being deleted'
        users = claim.status.get("reservedFor") or ()
        if len(users) >= MOST_USERS and not any(user.get("uid") == pod.uid for user in users):
            return "resourceclaim in use"
        if claim.status.get("allocation"):
            return ""
        others = (decision for uid, decision in self._decisions.items() if uid != pod.uid)
        if any(claim.key in decision.grants for decision in others):
            return f"resource claim {claim.key} is in the process of being allocated"
        for alternatives in requests_of(claim):
            for request in alternatives:
                if Key("", request.class_name) not in self._listers.device_classes:
                    return f"request {request.name}: device class {request.class_name} does not exist"
        return ""

    def _claims(self, pod: PodInfo) -> tuple[list[ResourceClaim], str]:
        """The pod's claims, or why they are not all there."""
        made = {one.name: one.resource_claim_name for one in pod.pod.status.resource_claim_statuses}
        claims = []
        for reference in pod.shape.claims:
            name = reference.get("resourceClaimName")
            if name is None:
                if reference["name"] not in made:
                    return [], f'pod "{pod.key}": ResourceClaim not created yet'
                name = made[reference["name"]]
                if name is None:
                    continue  # The template needed no claim.
            claim = self._listers.resource_claims.get(Key(pod.shape.namespace, name))
            if claim is None:
                return [], f'resourceclaim "{name}" not found'
            claims.append(claim)
        return claims, ""

    def release(self, pod: PodInfo, nodes: NodeTable) -> tuple[str, ResourceClaim | None]:
        """For a pod that fits nowhere: what is said of its claims, and one to give back, so that other devices are tried.

        That is a claim whose devices cannot be reached from some node and which nobody else uses.
        """
        claims, problem = self._claims(pod)
        if problem or not claims:
            return NOTHING_TO_RELEASE, None
        for claim in claims:
            users = claim.status.get("reservedFor") or ()
            own = not users or (len(users) == 1 and users[0].get("uid") == pod.uid)
            if own and not self._reachable([claim], nodes)[nodes.exists[nodes.rows]].all():
                return RELEASED, claim
        return NO_USE, None

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        reachable, grantable = self._judge(pod, nodes)
        return (reachable & grantable)[rows]

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        reachable, grantable = self._judge(pod, nodes)
        return [
            Reason(NOT_ON_NODE, ~reachable, False),
            Reason(CANNOT_ALLOCATE, reachable & ~grantable, False),
        ]

    def rank(self, pod: PodInfo, nodes: NodeTable, feasible: Mask) -> Scores | None:
        """More for nodes where claims get what they prefer of their alternatives. Source: upstream computeScore."""
        if not self.concerns(pod):
            return None
        claims = self._claims(pod)[0]
        preferences = {claim.key: preference_of(claim) for claim in claims if not claim.status.get("allocation")}
        if not any(preferences.values()):
            return None
        scores = np.zeros(nodes.size, dtype=np.int64)
        for row in np.flatnonzero(feasible).tolist():
            for key, grants in (self._grants(claims, nodes, row) or {}).items():
                # An alternative counts once, however many devices it gets.
                scores[row] += sum(preferences[key].get(name, 0) for name in {grant.request.name for grant in grants})
        return normalized(scores, feasible, reverse=False)

    def _reachable(self, claims: Sequence[ResourceClaim], nodes: NodeTable) -> Mask:
        """Rows from which the devices that claims have already can be used."""
        reachable = np.ones(nodes.size, dtype=np.bool_)
        for claim in claims:
            selector = (claim.status.get("allocation") or {}).get("nodeSelector")
            if selector:
                terms = compile_selector(msgspec.convert(selector, NodeSelector))
                reachable &= any_term(terms, nodes, nodes.rows)
        return reachable

    def _judge(self, pod: PodInfo, nodes: NodeTable) -> tuple[Mask, Mask]:
        """(rows where the claims' devices can be reached, rows that have devices for the other claims)."""
        claims = self._claims(pod)[0]
        reachable = self._reachable(claims, nodes)
        if all(claim.status.get("allocation") for claim in claims):
            return reachable, np.ones(nodes.size, dtype=np.bool_)
        grantable = np.zeros(nodes.size, dtype=np.bool_)
        for row in np.flatnonzero(reachable & nodes.exists[nodes.rows]).tolist():
            grantable[row] = self._grants(claims, nodes, row) is not None
        return reachable, grantable

    def _grants(self, claims: list[ResourceClaim], nodes: NodeTable, row: int) -> dict[Key, list[Grant]] | None:
        """Devices for every claim that has none yet, on one node."""
        node = nodes.nodes[row]
        inventory = self._current()
        if node is None:
            return None
        present = [device for device in inventory.devices if device.is_on(node)]
        existing = self._listers.resource_claims.values()
        promised = self._promised()
        taken = allocated(existing) | _whole(promised)
        shares = shared(existing)
        _add_shares(shares, promised)
        granted: dict[Key, list[Grant]] = {}
        for claim in claims:
            if claim.status.get("allocation"):
                continue
            free = [device for device in present if device.id not in taken]
            left = inventory.left(taken | shares.keys())
            grants = allocate(claim, free, present, self._listers.device_classes, inventory, left, shares)
            if grants is None:
                return None
            granted[claim.key] = grants
            taken |= _whole(grants)
            _add_shares(shares, grants)
        return granted

    def _current(self) -> Inventory:
        version = self._listers.changes["ResourceSlice"]
        if self._inventory[0] != version:
            self._inventory = (version, Inventory(self._listers.resource_slices.values()))
        return self._inventory[1]

    def _promised(self) -> list[Grant]:
        return [
            grant for decision in self._decisions.values() for grants in decision.grants.values() for grant in grants
        ]

    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool:
        """Claims, slices and classes that come, change or go; a claim made for the pod; a new node."""
        if event.resource == POD:
            return event.own(pod, Action.CLAIMS)
        if event.resource == NODE:
            return event.node(Action.ADD, Action.LABELS) is not None
        return event.resource in ("ResourceClaim", "ResourceSlice", "DeviceClass")

    # What follows the choice of a node.

    def reserve(self, pod: PodInfo, nodes: NodeTable, row: int) -> None:
        """Keep the devices from others until the claims say whose they are."""
        if not self.concerns(pod):
            return
        claims = self._claims(pod)[0]
        grants = self._grants(claims, nodes, row) or {}
        shared = tuple(claim.key for claim in claims if claim.key not in grants)
        self._decisions[pod.uid] = Decision(nodes.names[row], grants, shared)

    def unreserve(self, pod: PodInfo) -> None:
        """The pod does not go there after all."""
        self._decisions.pop(pod.uid, None)

    def prepares(self, pod: PodInfo) -> bool:
        return pod.uid in self._decisions

    async def prepare(self, pod: PodInfo, node_name: str, client: Client, clock: Clock) -> None:
        """Write the claims' allocations, and that the pod uses them. Raises ApiError, also when a claim changed meanwhile."""
        decision = self._decisions[pod.uid]
        for key in (*decision.grants, *decision.shared):
            claim = await client.get(ResourceClaim, key)
            grants = decision.grants.get(key)
            if grants is not None and FINALIZER not in claim.metadata.finalizers:
                finalizers = [*claim.metadata.finalizers, FINALIZER]
                meta = {"resourceVersion": claim.metadata.resource_version, "finalizers": finalizers}
                claim = await client.patch(ResourceClaim, key, {"metadata": meta})
            users = list(claim.status.get("reservedFor") or ())
            if not any(user.get("uid") == pod.uid for user in users):
                users.append({"resource": "pods", "name": pod.name, "uid": pod.uid})
            status: Json = {"reservedFor": users}
            if grants is not None:
                status["allocation"] = allocation(claim, grants, node_name, self._listers.device_classes)
            change = {"metadata": {"resourceVersion": claim.metadata.resource_version}, "status": status}
            await client.patch(ResourceClaim, key, change, subresource="status")
        while not all(self._is_seen(key) for key in decision.grants):
            await clock.sleep(0.01)  # Until the informer has it: the devices must not look free in between.
        self.unreserve(pod)

    def _is_seen(self, key: Key) -> bool:
        claim = self._listers.resource_claims.get(key)
        return claim is None or bool(claim.status.get("allocation"))


def _whole(grants: Sequence[Grant]) -> set[DeviceId]:
    """The devices that nobody else can have."""
    return {grant.device.id for grant in grants if not grant.request.admin and grant.shares is None}


def _add_shares(shares: dict[DeviceId, list[Shares]], grants: Sequence[Grant]) -> None:
    for grant in grants:
        if grant.shares is not None:
            shares.setdefault(grant.device.id, []).append(grant.shares)
