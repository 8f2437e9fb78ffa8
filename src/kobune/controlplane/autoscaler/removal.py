"""The removal of a node that is not needed: tainted, emptied, given back. Source: upstream cluster-autoscaler, scaledown/actuation."""

import logging

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Conflict, Json, NotFound
from kobune.api.objects.core import Node
from kobune.api.objects.scheduling import Pod
from kobune.client.client import Client
from kobune.client.events import EventRecorder
from kobune.controlplane.autoscaler.drainability import evicts_daemon, is_daemon
from kobune.controlplane.autoscaler.model import Groups, Settings
from kobune.controlplane.autoscaler.scale_down import Candidate
from kobune.controlplane.autoscaler.taints import TO_BE_DELETED, add_taint, drop_taint

log = logging.getLogger(__name__)

EVICTION_SECONDS, EVICTION_RETRY = 120.0, 10.0  # Source: upstream's --max-pod-eviction-time and its retry.
LOOK_SECONDS = 5.0
HEADROOM_SECONDS = 30.0  # Beyond the longest grace period. Source: upstream's PodEvictionHeadroom.


class RemovalFailed(Exception):
    """The node stays; the message says why."""


class Remover:
    """Removes nodes one by one; each call is one node."""

    def __init__(self, client: Client, groups: Groups, events: EventRecorder, settings: Settings, clock: Clock) -> None:
        self._client = client
        self._groups = groups
        self._events = events
        self._settings = settings
        self._clock = clock

    async def remove(self, node: Node, candidate: Candidate) -> None:
        """Return when the machine was given back.

        Raises:
            RemovalFailed: its pods could not be evicted; the node takes pods again.
        """
        name = candidate.name
        log.info("scale-down: removing node", extra={"node": name, "pods": len(candidate.pods)})
        try:
            await add_taint(self._client, name, TO_BE_DELETED, self._clock)
            self._events.normal(node, "ScaleDown", "marked the node as toBeDeleted/unschedulable")
            await self._drain(candidate)
        except (ApiError, RemovalFailed) as failure:
            await self.release(name)
            self._events.warning(node, "ScaleDownFailed", f"failed to drain the node: {failure}")
            raise RemovalFailed(str(failure)) from failure
        await self._groups.remove([name])
        self._events.normal(node, "ScaleDown", "node removed by cluster autoscaler")

    async def release(self, name: str) -> None:
        """Have the node take pods again."""
        try:
            await drop_taint(self._client, name, TO_BE_DELETED)
        except ApiError as failure:
            log.warning("a node keeps its taint", extra={"node": name, "failure": str(failure)})

    async def _drain(self, candidate: Candidate) -> None:
        settings, left = self._settings, list(candidate.pods)
        daemons = (
            settings.daemonset_eviction_for_occupied_nodes if left else settings.daemonset_eviction_for_empty_nodes
        )
        for pod in await self._pods_on(candidate.name):
            if is_daemon(pod) and evicts_daemon(pod, by_default=daemons):
                await self._evict(pod)  # If it works, well; nobody waits for it.
        deadline = self._clock.monotonic() + EVICTION_SECONDS
        while left:
            blocked = [(pod, why) for pod in left if (why := await self._evict(pod))]
            left = [pod for pod, _ in blocked]
            if not left:
                break
            if self._clock.monotonic() + EVICTION_RETRY > deadline:
                raise RemovalFailed("; ".join(f"{pod.key}: {why}" for pod, why in blocked))
            await self._clock.sleep(EVICTION_RETRY)
        await self._wait_until_gone(candidate)

    async def _wait_until_gone(self, candidate: Candidate) -> None:
        uids = {pod.metadata.uid for pod in candidate.pods}
        graces = [pod.spec.termination_grace_period_seconds or 0 for pod in candidate.pods]
        patience = min(max(graces, default=0), self._settings.max_graceful_termination) + HEADROOM_SECONDS
        deadline = self._clock.monotonic() + patience
        while uids & {pod.metadata.uid for pod in await self._pods_on(candidate.name)}:
            if self._clock.monotonic() > deadline:
                raise RemovalFailed(f"pods remaining after timeout of {patience:.0f} s")
            await self._clock.sleep(min(LOOK_SECONDS, patience))

    async def _pods_on(self, name: str) -> list[Pod]:
        return (await self._client.list(Pod, fields=f"spec.nodeName={name}")).items

    async def _evict(self, pod: Pod) -> str:
        """Ask for the pod's eviction; why it was refused."""
        most = int(self._settings.max_graceful_termination)
        grace = min(
            30 if pod.spec.termination_grace_period_seconds is None else pod.spec.termination_grace_period_seconds, most
        )
        body: Json = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.metadata.name, "namespace": pod.metadata.namespace},
            "deleteOptions": {"gracePeriodSeconds": grace, "preconditions": {"uid": pod.metadata.uid}},
        }
        try:
            await self._client.create_subresource(Pod, pod.key, "eviction", body)
        except (NotFound, Conflict):
            return ""
        except ApiError as refusal:
            return str(refusal)
        self._events.normal(pod, "ScaleDown", "deleting pod for node scale down")
        return ""
