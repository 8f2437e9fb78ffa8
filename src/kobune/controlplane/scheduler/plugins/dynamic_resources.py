"""DynamicResources: a node must have the devices that the pod's claims ask for, and the claims get them before the pod runs.

Source: Kubernetes documentation, Dynamic Resource Allocation; upstream dynamicresources.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec
import numpy as np

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Json
from kobune.api.objects.core import NodeSelector
from kobune.api.objects.meta import Key
from kobune.api.objects.scheduling import Pod
from kobune.client.client import Client
from kobune.controlplane.scheduler.arrays import Mask, Rows, Scores
from kobune.controlplane.scheduler.binding_conditions import (
    TIMEOUT_SECONDS,
    failure,
    has_conditions,
    is_late,
    is_ready,
)
from kobune.controlplane.scheduler.device_capacity import Shares
from kobune.controlplane.scheduler.device_results import allocated, allocation, shared
from kobune.controlplane.scheduler.devices import DeviceId, Grant, Inventory, allocate, preference_of, requests_of
from kobune.controlplane.scheduler.events import NODE, POD, Action, ClusterEvent
from kobune.controlplane.scheduler.extended_devices import IN_MEMORY, ExtendedResources, Wanted, manifest, new_claim
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_rules import any_term, compile_selector
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.plugin import Reason, Refusal, Scope, normalized
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.views import ResourceClaim

NOT_ON_NODE = "resourceclaim not available on the node"
CANNOT_ALLOCATE = "cannot allocate all claims"
LEFT_BEHIND = "cannot schedule extended resource claim"
FINALIZER = "resource.kubernetes.io/delete-protection"
NOTHING_TO_RELEASE = "no new claims to deallocate"
NO_USE = "still not schedulable"
RELEASED = "deallocation of ResourceClaim completed"
DELETED = "deletion of ResourceClaim completed"
POLL_SECONDS = 0.05
Tell = Callable[[str, str, str], None]  # A normal event about the pod: reason, action and text.
MOST_USERS = 256  # Of one claim. Source: resource.k8s.io ResourceClaimReservedForMaxSize.


class Decision(NamedTuple):
    """What the pod's claims get, once it goes to its node."""

    node_name: str
    grants: dict[Key, list[Grant]]  # Of claims that had nothing yet.
    shared: tuple[Key, ...]  # Claims that have their devices already.
    special: tuple[ResourceClaim, Wanted] | None = None  # The claim of its own for extended resources, among `grants`.


class Judged(NamedTuple):
    """Masks over the rows."""

    reachable: Mask  # The devices that claims have already can be used there.
    grantable: Mask  # There are devices for the other claims.
    left_behind: bool = False  # A claim of an earlier attempt has to go first.


class DynamicResources:
    name = "DynamicResources"
    scope = Scope.CLUSTER

    def __init__(self, listers: Listers, *, binding_timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._listers = listers
        self._extended = ExtendedResources(listers)
        self._timeout = binding_timeout_seconds
        self._late: set[tuple[Key, str]] = set()  # Claims and when they were allocated: their devices took too long.
        self._decisions: dict[str, Decision] = {}  # By uid, of pods on their way.
        self._inventory: tuple[int, Inventory] = (-1, Inventory(()))

    def concerns(self, pod: PodInfo) -> bool:
        return bool(pod.shape.claims or pod.shape.extended)

    def applies(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Extended resources concern it only where a class of devices stands for them."""
        return bool(pod.shape.claims or self._extended.of(pod))

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
        if problem or not (claims or self._extended.of(pod)):
            return NOTHING_TO_RELEASE, None
        for claim in claims:
            users = claim.status.get("reservedFor") or ()
            own = not users or (len(users) == 1 and users[0].get("uid") == pod.uid)
            if own and not self._reachable([claim], nodes)[nodes.exists[nodes.rows]].all():
                return RELEASED, claim
        written = self._extended.written_claim(pod) if self._extended.of(pod) else None
        return (NO_USE, None) if written is None else (DELETED, written)

    def filter(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> Mask:
        judged = self._judge(pod, nodes)
        return (judged.reachable & judged.grantable)[rows]

    def explain(self, pod: PodInfo, nodes: NodeTable) -> list[Reason]:
        judged = self._judge(pod, nodes)
        if judged.left_behind:
            return [Reason(LEFT_BEHIND, ~judged.grantable, False)]
        return [
            Reason(NOT_ON_NODE, ~judged.reachable, False),
            Reason(CANNOT_ALLOCATE, judged.reachable & ~judged.grantable, False),
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
            found = claim.status.get("allocation") or {}
            selector = found.get("nodeSelector")
            if selector:
                terms = compile_selector(msgspec.convert(selector, NodeSelector))
                reachable &= any_term(terms, nodes, nodes.rows)
            if failure(claim) or (claim.key, found.get("allocationTimestamp", "")) in self._late:
                reachable &= False
        return reachable

    def _judge(self, pod: PodInfo, nodes: NodeTable) -> Judged:
        claims = self._claims(pod)[0]
        reachable = self._reachable(claims, nodes)
        resources = self._extended.of(pod)
        if resources and self._extended.written_claim(pod) is not None:
            return Judged(reachable, np.zeros(nodes.size, dtype=np.bool_), left_behind=True)
        if not resources and all(claim.status.get("allocation") for claim in claims):
            return Judged(reachable, np.ones(nodes.size, dtype=np.bool_))
        grantable = np.zeros(nodes.size, dtype=np.bool_)
        for row in np.flatnonzero(reachable & nodes.exists[nodes.rows]).tolist():
            special = self._special(pod, nodes, row)
            all_claims = claims if special is None else [*claims, special[0]]
            grantable[row] = self._grants(all_claims, nodes, row) is not None
        return Judged(reachable, grantable)

    def _special(self, pod: PodInfo, nodes: NodeTable, row: int) -> tuple[ResourceClaim, Wanted] | None:
        """A claim for the extended resources that this node has no device plugin for."""
        missing = [
            name
            for name in self._extended.of(pod)
            if (column := nodes.resource_column(name)) is None or not nodes.allocatable[column, row]
        ]
        if not missing:
            return None
        wanted = self._extended.wanted(pod, missing)
        return new_claim(pod, wanted.requests), wanted

    def _grants(self, claims: Sequence[ResourceClaim], nodes: NodeTable, row: int) -> dict[Key, list[Grant]] | None:
        """Devices for every claim that has none yet, on one node."""
        node = nodes.nodes[row]
        inventory = self._current()
        if node is None:
            return None
        present = inventory.on(node)
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
        special = self._special(pod, nodes, row)
        if not claims and special is None:
            return
        grants = self._grants(claims if special is None else [*claims, special[0]], nodes, row) or {}
        shared = tuple(claim.key for claim in claims if claim.key not in grants)
        self._decisions[pod.uid] = Decision(nodes.names[row], grants, shared, special)

    def unreserve(self, pod: PodInfo) -> None:
        """The pod does not go there after all."""
        self._decisions.pop(pod.uid, None)

    def prepares(self, pod: PodInfo) -> bool:
        return pod.uid in self._decisions

    async def prepare(self, pod: PodInfo, node_name: str, client: Client, clock: Clock, tell: Tell) -> None:
        """Write the claims' allocations, and that the pod uses them; wait for devices that are not ready at once.

        Raises:
            ApiError: a write failed, a claim changed meanwhile, or devices did not become ready.
        """
        decision = self._decisions[pod.uid]
        keys = []
        for key in (*decision.grants, *decision.shared):
            grants = decision.grants.get(key)
            if decision.special is not None and key.name == IN_MEMORY:
                keys.append(await self._write_special(pod, *decision.special, grants or [], node_name, client, clock))
            else:
                await self._write(pod, await client.get(ResourceClaim, key), grants, node_name, client, clock)
                keys.append(key)
        while not all(self._is_seen(key) for key in keys):
            await clock.sleep(0.01)  # Until the informer has it: the devices must not look free in between.
        self.unreserve(pod)
        await self._until_ready(keys, node_name, clock, tell)

    async def _write(
        self,
        pod: PodInfo,
        claim: ResourceClaim,
        grants: Sequence[Grant] | None,
        node_name: str,
        client: Client,
        clock: Clock,
    ) -> None:
        """What a claim is given, if it had nothing yet, and who uses it."""
        if grants is not None and FINALIZER not in claim.metadata.finalizers:
            finalizers = [*claim.metadata.finalizers, FINALIZER]
            meta = {"resourceVersion": claim.metadata.resource_version, "finalizers": finalizers}
            claim = await client.patch(ResourceClaim, claim.key, {"metadata": meta})
        users = list(claim.status.get("reservedFor") or ())
        if not any(user.get("uid") == pod.uid for user in users):
            users.append({"resource": "pods", "name": pod.name, "uid": pod.uid})
        status: Json = {"reservedFor": users}
        if grants is not None:
            classes = self._listers.device_classes
            status["allocation"] = allocation(claim, grants, node_name, classes, clock.now())
        change = {"metadata": {"resourceVersion": claim.metadata.resource_version}, "status": status}
        await client.patch(ResourceClaim, claim.key, change, subresource="status")

    async def _write_special(
        self,
        pod: PodInfo,
        claim: ResourceClaim,
        wanted: Wanted,
        grants: Sequence[Grant],
        node_name: str,
        client: Client,
        clock: Clock,
    ) -> Key:
        """The claim for extended resources, and in the pod's status which container uses what of it."""
        made = await client.create(ResourceClaim, manifest(pod, claim))
        try:
            await self._write(pod, made, grants, node_name, client, clock)
            status = {"requestMappings": list(wanted.mappings), "resourceClaimName": made.name}
            await client.patch_status(Pod, pod.key, {"extendedResourceClaimStatus": status})
        except ApiError:
            await delete_written(made, client)
            raise
        return made.key

    async def _until_ready(self, keys: Sequence[Key], node_name: str, clock: Clock, tell: Tell) -> None:
        """Return once all binding conditions of the claims' devices are true."""
        told, deadline = False, clock.monotonic() + self._timeout
        while True:
            claims = [claim for key in keys if (claim := self._listers.resource_claims.get(key)) is not None]
            if not any(has_conditions(claim) for claim in claims):
                return
            if not told:
                tell(
                    "BindingConditionsPending",
                    "Scheduling",
                    f"waiting for binding conditions for device on node {node_name}",
                )
                told = True
            problem = next(filter(None, map(failure, claims)), "")
            if problem:
                raise ApiError(problem)
            waiting = [claim for claim in claims if not is_ready(claim)]
            if not waiting:
                return
            late = [one for one in waiting if is_late(one, clock.now(), self._timeout)]
            if late or clock.monotonic() > deadline:
                one = (late or waiting)[0]
                self._late.add((one.key, one.status["allocation"].get("allocationTimestamp", "")))
                raise ApiError(f"device binding timeout: claim={one.name}")
            await clock.sleep(POLL_SECONDS)

    def _is_seen(self, key: Key) -> bool:
        claim = self._listers.resource_claims.get(key)
        return claim is None or bool(claim.status.get("allocation"))


async def delete_written(claim: ResourceClaim, client: Client) -> None:
    """Take back a claim that was written for a pod's extended resources."""
    with suppress(ApiError):
        await client.patch(ResourceClaim, claim.key, {"metadata": {"finalizers": None}})
        await client.delete(ResourceClaim, claim.key, uid=claim.uid)


def _whole(grants: Sequence[Grant]) -> set[DeviceId]:
    """The devices that nobody else can have."""
    return {grant.device.id for grant in grants if not grant.request.admin and grant.shares is None}


def _add_shares(shares: dict[DeviceId, list[Shares]], grants: Sequence[Grant]) -> None:
    for grant in grants:
        if grant.shares is not None:
            shares.setdefault(grant.device.id, []).append(grant.shares)
