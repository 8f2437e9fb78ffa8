"""Keeps a node's packet rules in step with the cluster's NetworkPolicies."""

import asyncio
import logging
from pathlib import Path

from kobune.api.clock import Clock
from kobune.client.client import Client
from kobune.client.informer import Informer
from kobune.node import nft
from kobune.node.policy.rules import PolicyTable, policy_table, render
from kobune.node.policy.views import Namespace, NetworkPolicy, Pod

log = logging.getLogger(__name__)

TABLE = "network-policy"
# Changes that come together are applied together, and a stream of them no faster than this.
MIN_SECONDS = 0.1
RETRY_SECONDS = 2.0


class PolicyEnforcer:
    """The policies of one node's pods.

    Args:
        dns_address: where the node answers as cluster DNS; empty: it does not.
        namespace: the network namespace to write to; None is this process's own.
    """

    def __init__(
        self,
        client: Client,
        *,
        node_name: str,
        clock: Clock,
        dns_address: str = "",
        namespace: Path | None = None,
    ) -> None:
        self._node_name = node_name
        self._dns_address = dns_address
        self._clock = clock
        self._namespace = namespace
        self._policies = Informer(client, NetworkPolicy, clock=clock)
        self._pods = Informer(client, Pod, clock=clock)
        self._namespaces = Informer(client, Namespace, clock=clock)
        self._changed = asyncio.Event()
        self._applied: PolicyTable | None = None  # None: what is there is not known.

    async def run(self) -> None:
        """Enforce until cancelled. The rules stay when it ends: what was forbidden should not be allowed meanwhile."""
        self._policies.on_change(lambda old, new: self._changed.set())
        self._pods.on_change(lambda old, new: self._changed.set())
        self._namespaces.on_change(lambda old, new: self._changed.set())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._policies.run(), name="watch network policies")
            await self._policies.synced()
            watching = False
            while True:
                if self._policies.items and not watching:
                    # A cluster without policies is spared the watch of all its pods on each of its nodes.
                    watching = True
                    tasks.create_task(self._pods.run(), name="watch pods")
                    tasks.create_task(self._namespaces.run(), name="watch namespaces")
                    await self._pods.synced()
                    await self._namespaces.synced()
                self._changed.clear()
                if await self._apply():
                    await self._changed.wait()
                    await self._clock.sleep(MIN_SECONDS)
                else:
                    await self._clock.sleep(RETRY_SECONDS)

    async def _apply(self) -> bool:
        """Have the rules be as they should; whether they are."""
        wanted = policy_table(
            self._policies.items.values(),
            self._pods.items.values(),
            self._namespaces.items,
            node_name=self._node_name,
            dns_address=self._dns_address,
        )
        if wanted == self._applied:
            return True
        try:
            await asyncio.to_thread(nft.apply, render(TABLE, wanted), self._namespace)
        except nft.NftablesFailure as failure:
            log.warning("network policies refused", extra={"failure": str(failure)})
            self._applied = None
            return False
        self._applied = wanted
        log.info("network policies applied", extra={"chains": len(wanted.chains)})
        return True


async def forget(namespace: Path | None) -> None:
    """Leave nothing of an earlier enforcement."""
    if await asyncio.to_thread(nft.has_chain, TABLE, "forward", namespace):
        await asyncio.to_thread(nft.remove, TABLE, namespace)
