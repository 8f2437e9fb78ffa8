"""Emptying a node: cordon it, and evict its pods as far as their disruption budgets let them go."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple

import msgspec

from kobune.api.errors import ApiError, Conflict, NotFound
from kobune.api.objects.coordination import Lease
from kobune.api.objects.core import Node
from kobune.api.objects.meta import GVK, Key, Object, View
from kobune.client.client import Client

MIRROR = "kubernetes.io/config.mirror"
LEASE_NAMESPACE = "kube-node-lease"


class _Spec(View):
    node_name: str = ""


class _Status(View):
    phase: str = ""


class DrainedPod(Object):
    """What draining reads of a pod."""

    gvk: ClassVar[GVK] = GVK("", "v1", "Pod")
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def must_go(self) -> bool:
        """Whether draining waits for it: the node's own pods and those of DaemonSets stay, as with `kubectl drain`."""
        owner = self.metadata.controller
        return MIRROR not in self.metadata.annotations and (owner is None or owner.kind != "DaemonSet")


class Left(NamedTuple):
    """What is still on a draining node."""

    pods: int
    blocked: str  # Why one of them may not be evicted now; empty: nothing hinders.


async def cordon(client: Client, node: str, *, on: bool = True) -> None:
    """Keep new pods from the node, or no longer. A node that is gone is no error."""
    try:
        await client.patch(Node, Key("", node), {"spec": {"unschedulable": on or None}})
    except NotFound:
        return


async def drain(client: Client, node: str) -> Left:
    """Ask once for the eviction of every pod that must leave the node; to be repeated until none is left."""
    pods = [pod for pod in (await client.list(DrainedPod, fields=f"spec.nodeName={node}")).items if pod.must_go]
    blocked = ""
    for pod in pods:
        if pod.metadata.deletion_timestamp is None:
            blocked = await _evict(client, pod) or blocked
    return Left(len(pods), blocked)


async def _evict(client: Client, pod: DrainedPod) -> str:
    key = pod.key
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": key.name, "namespace": key.namespace},
        "deleteOptions": {"preconditions": {"uid": pod.metadata.uid}},
    }
    try:
        await client.create_subresource(DrainedPod, key, "eviction", eviction)
    except NotFound:
        return ""
    except ApiError as error:
        # The cause names the budget, and how many healthy pods it needs.
        words = " ".join([str(error), *(cause.message for cause in error.causes)])
        return f"eviction of pod {key.namespace}/{key.name}: {words.rstrip('.')}"
    return ""


async def remove_node(client: Client, node: str) -> None:
    """Take the node out of the cluster, with what is still bound to it and its lease."""
    await _delete(client.delete(Node, Key("", node)))
    async with asyncio.TaskGroup() as tasks:
        for pod in (await client.list(DrainedPod, fields=f"spec.nodeName={node}")).items:
            # There is no kubelet any more that could end it.
            tasks.create_task(_delete(client.delete(DrainedPod, pod.key, uid=pod.metadata.uid, grace_seconds=0)))
    await _delete(client.delete(Lease, Key(LEASE_NAMESPACE, node)))


async def _delete(deletion: Coroutine[Any, Any, None]) -> None:
    with suppress(NotFound, Conflict):
        await deletion
