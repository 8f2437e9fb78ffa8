"""Which writes are answered before they are on disk."""

import random

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore


class Noting(MemoryStore):
    """A store that notes what it need not have on disk before it answers."""

    def __init__(self):
        super().__init__()
        self.early = set()

    async def write(self, key, value, *, expected, durable=True, seconds=0.0):
        if not durable:
            self.early.add(key)
        return await super().write(key, value, expected=expected, durable=durable, seconds=seconds)


async def test_only_events_and_the_heartbeats_of_nodes(ask):
    store = Noting()
    async with ApiServer(ApiServerConfig(), store, clock=SystemClock(), source=random.Random(1)) as server:
        ask.server = server
        leases = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
        for namespace in ("kube-node-lease", "kube-system", "default"):
            lease = await ask.create(leases.format(namespace), {"metadata": {"name": "a"}})
            await ask("PUT", f"{leases.format(namespace)}/a", {**lease, "spec": {"holderIdentity": "me"}})
        event = {"metadata": {"name": "a"}, "involvedObject": {"namespace": "default"}}
        await ask.create("/api/v1/namespaces/default/events", event)
        await ask.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}})
    assert store.early == {"/registry/leases/kube-node-lease/a", "/registry/events/default/a"}
