"""The service as a client of one of its clusters: requests, the nodes as they are, and events."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import msgspec
import orjson

from kobune.api.clock import Clock
from kobune.api.errors import ApiError
from kobune.api.objects.core import Taint
from kobune.api.objects.meta import GVK, Condition, Key, Object, View, find_condition
from kobune.client.client import Client
from kobune.client.events import EventRecorder
from kobune.client.informer import Informer, State
from kobune.client.kubeconfig import KubeconfigError, load_kubeconfig
from kobune.host.credentials import SERVICE
from kobune.host.layout import ClusterLayout


class _Spec(View):
    unschedulable: bool = False
    taints: list[Taint] = msgspec.field(default_factory=list)


class _Status(View):
    conditions: list[Condition] = msgspec.field(default_factory=list)


class ServedNode(Object):
    """What the service reads of a node: there may be thousands."""

    gvk: ClassVar[GVK] = GVK("", "v1", "Node")
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def is_ready(self) -> bool:
        return self._ready is not None and self._ready.status == "True"

    def is_ready_since(self, moment: float) -> bool:
        """Whether it is Ready and said so after `moment`, in seconds since 1970."""
        ready = self._ready
        heard = ready.last_heartbeat_time if ready is not None and self.is_ready else None
        # The API's times have whole seconds.
        return heard is not None and heard.timestamp() >= int(moment)

    @property
    def _ready(self) -> Condition | None:
        return find_condition(self.status.conditions, "Ready")


Connect = Callable[[Path, Clock], Client]


def connect(kubeconfig: Path, clock: Clock) -> Client:
    """The service's client of the cluster to which a kubeconfig leads. Raises KubeconfigError."""
    return Client(load_kubeconfig(kubeconfig, user_agent="aks-service", clock=clock))


class ClusterAccess:
    """A connection that comes with the control plane and goes with its credentials. `look` opens and closes it.

    Attributes:
        version: what the API server said last, without its "v"; "" before it first did.
        changes: how often a node came, went, or changed in what the service goes by.
    """

    def __init__(
        self, cluster: ClusterLayout, clock: Clock, rng: random.Random, open_client: Connect = connect
    ) -> None:
        self.version = ""
        self.changes = 0
        self._cluster = cluster
        self._clock = clock
        self._rng = rng
        self._open_client = open_client
        self._client: Client | None = None
        self._credentials = -1
        self._nodes: Informer[ServedNode] | None = None
        self._events: EventRecorder | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def client(self) -> Client | None:
        """None while the API server does not answer."""
        return self._client if self._nodes is not None and self._nodes.has_synced else None

    @property
    def is_current(self) -> bool:
        """Whether what is known of the nodes is no older than a moment."""
        return self.client is not None and self._nodes is not None and self._nodes.state is State.WATCHING

    def node(self, name: str) -> ServedNode | None:
        return self._nodes.get(Key("", name)) if self._nodes is not None else None

    def event(self, node: str, reason: str, message: str, *, warning: bool = False) -> None:
        """An event on the node, if it is there."""
        found = self.node(node)
        if found is not None and self._events is not None:
            self._events.record(found, "Warning" if warning else "Normal", reason, message)

    async def look(self, group: asyncio.TaskGroup) -> None:
        """Connect where that has become possible; a server started anew is asked anew for its version."""
        path = self._cluster.component_kubeconfig(SERVICE)
        written = path.stat().st_mtime_ns if path.exists() else 0
        if written != self._credentials:
            await self.close()
            self._credentials = written
        if not written:
            return
        try:
            if self._client is None:
                self._client = self._open_client(path, self._clock)
            self.version = await self._ask_version(self._client)
        except (ApiError, KubeconfigError):
            return
        if self._nodes is None:
            self._nodes = Informer(self._client, ServedNode, clock=self._clock, rng=self._rng)
            self._nodes.on_change(self._changed)
            self._events = EventRecorder(self._client, "aks-service", clock=self._clock)
            for name, work in (("nodes", self._nodes.run()), ("events", self._events.run())):
                self._tasks.append(group.create_task(work, name=f"{self._cluster.name}: {name}"))

    async def close(self) -> None:
        """Let go of everything; the next look connects anew."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self.changes += 1
        client, self._client, self._nodes, self._events = self._client, None, None, None
        if client is not None:
            await client.transport.close()

    def _changed(self, old: ServedNode | None, new: ServedNode | None) -> None:
        # Heartbeats alone change nothing; of thousands of nodes there are many.
        if old is None or new is None or old.is_ready != new.is_ready or old.is_deleting != new.is_deleting:
            self.changes += 1

    async def _ask_version(self, client: Client) -> str:
        answer = orjson.loads(await client.call("GET", "/version"))
        return str(answer["gitVersion"]).removeprefix("v").split("+")[0].split("-")[0]
