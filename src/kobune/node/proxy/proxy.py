"""kube-proxy: keeps a network namespace's rules in step with Services and EndpointSlices."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from kobune.api.clock import Clock
from kobune.api.objects.core import Service
from kobune.api.objects.discovery import EndpointSlice
from kobune.client.client import Client
from kobune.client.informer import Informer
from kobune.node import nft
from kobune.node.proxy import nftables
from kobune.node.proxy.conntrack import stale_flows
from kobune.node.proxy.endpoints import ServicePortRules, service_ports
from kobune.node.proxy.rules import Ruleset, ruleset

log = logging.getLogger(__name__)

# Changes that come together are applied together, and a stream of them no faster than this.
MIN_SECONDS = 0.1
CHECK_SECONDS = 10.0
RETRY_SECONDS = 2.0


class KubeProxy:
    """The rules of one node, or (`node_ports` off) of a machine that only wants to reach Services.

    Args:
        node_name: whose endpoints are local.
        local_range: where the node's own pods live.
        table: the nftables table's name; two proxies in one namespace need two.
        namespace: the network namespace to write to; None is this process's own.
        check_seconds: how soon a table that somebody deleted is noticed.
    """

    def __init__(
        self,
        client: Client,
        *,
        node_name: str,
        clock: Clock,
        local_range: str = "10.244.0.0/16",
        table: str = "kube-proxy",
        namespace: Path | None = None,
        node_ports: bool = True,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self._node_name = node_name
        self._clock = clock
        self._local_range = local_range
        self._table = table
        self._namespace = namespace
        self._node_ports = node_ports
        self._check_seconds = check_seconds
        self._services = Informer(client, Service, clock=clock)
        self._slices = Informer(client, EndpointSlice, clock=clock)
        self._changed = asyncio.Event()
        self._ports: Sequence[ServicePortRules] = ()
        self._applied: Ruleset | None = None  # None: what is there is not known.

    async def run(self) -> None:
        """Keep the rules until cancelled. They stay when it ends: connections should not notice a restart."""
        for informer in (self._services, self._slices):
            informer.on_change(lambda old, new: self._changed.set())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._services.run(), name="watch services")
            tasks.create_task(self._slices.run(), name="watch endpoint slices")
            await self._services.synced()
            await self._slices.synced()
            while True:
                wait = await self._sync()
                await self._clock.sleep(MIN_SECONDS)
                try:
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
                except TimeoutError:
                    await self._check()

    async def remove(self) -> None:
        """Take the rules away."""
        await asyncio.to_thread(nft.remove, self._table, self._namespace)

    async def _sync(self) -> float:
        """Apply what has changed; how many seconds to wait at most before the next look."""
        self._changed.clear()
        ports = service_ports(self._services.items.values(), self._slices.items.values(), node_name=self._node_name)
        wanted = ruleset(ports, local_range=self._local_range)
        if self._applied is None:
            transaction = nftables.render_table(self._table, wanted, node_ports=self._node_ports)
        else:
            transaction = "".join(f"{line}\n" for line in nftables.render_changes(self._table, self._applied, wanted))
        try:
            if transaction:
                await asyncio.to_thread(nft.apply, transaction, self._namespace)
                log.info("rules applied", extra={"table": self._table, "servicePorts": len(ports)})
        except nft.NftablesFailure as failure:
            log.warning("rules refused, will make the table anew", extra={"failure": str(failure)})
            self._applied = None
            return RETRY_SECONDS
        stale = stale_flows(self._ports, ports)
        if stale:
            await asyncio.to_thread(nftables.forget_connections, stale, self._namespace)
        self._applied, self._ports = wanted, ports
        return self._check_seconds

    async def _check(self) -> None:
        if not await asyncio.to_thread(nftables.exists, self._table, self._namespace):
            self._applied = None
