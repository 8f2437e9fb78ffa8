"""What a controller is: the kinds it watches, the keys that their changes lead to, and its reconcile."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from kobune.api.clock import Clock
from kobune.api.objects.meta import Key, Object
from kobune.client.client import Client
from kobune.client.events import EventRecorder
from kobune.client.informer import Informer
from kobune.client.queue import WorkQueue

T = TypeVar("T", bound=Object)
S = TypeVar("S")


class For(NamedTuple):
    """The kind that the controller keeps: each change leads to the object's own key. `optional`: as of `Maps`."""

    view: type[Object]
    optional: bool = False


class Owns(NamedTuple):
    """A kind that it makes: each change leads to the owner that manages the object."""

    view: type[Object]


def leads_nowhere(_context: "Context", _old: object, _new: object) -> tuple[Key, ...]:
    """For `Maps`: the kind is only read."""
    return ()


class Maps(NamedTuple):
    """A kind that it looks at: `keys(context, old, new)` says what a change leads to.

    With `namespace` or `fields` only a part of the kind is looked at; such a part is a view class of its own. A kind that is
    `optional` need not be served: there are none of it then.
    """

    view: type[Object]
    keys: Callable[["Context", Any, Any], Iterable[Key]] = leads_nowhere
    namespace: str = ""
    fields: str = ""
    optional: bool = False


Watch = For | Owns | Maps
Offload = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What differs from cluster to cluster. Names and defaults: upstream's flags."""

    root_ca: bytes = b""  # PEM; empty: no kube-root-ca.crt is published.
    cluster_cidr: str = "10.244.0.0/16"
    allocate_node_cidrs: bool = False
    node_cidr_mask_size: int = 24
    node_monitor_period: float = 5.0  # Seconds, as the next four.
    node_monitor_grace_period: float = 50.0
    terminated_pod_gc_threshold: int = 12500
    node_eviction_rate: float = 0.1  # Nodes a second.
    secondary_node_eviction_rate: float = 0.01
    large_cluster_size_threshold: int = 50
    unhealthy_zone_threshold: float = 0.55
    load_balancer_range: str = ""  # Where Services of type LoadBalancer get their addresses; empty: from somebody else.
    signing_certificate: bytes = b""  # PEM, with `signing_key`: signs certificate requests. Empty: nothing is signed.
    signing_key: bytes = b""
    local_volumes: Path | None = None  # Below it, by node, are the directories of local volumes; None: none are made.
    offload: Offload = asyncio.to_thread  # Runs what blocks, beside the event loop.
    service_account_key: bytes = b""  # PEM, private: signs the tokens kept in Secrets. Empty: none are made.


@dataclass(slots=True)
class Context:
    """What a reconcile may use. One per controller."""

    client: Client
    clock: Clock
    rng: random.Random
    events: EventRecorder
    queue: WorkQueue[Key]
    settings: Settings
    informers: dict[type[Object], Informer[Any]]
    _own: dict[type, Any] = field(default_factory=dict)

    def informer(self, view: type[T]) -> Informer[T]:
        """The informer of a watched kind."""
        return self.informers[view]

    def own(self, kind: type[S]) -> S:
        """The controller's own lasting object of a kind; made at the first call. It is lost with the process: only what
        can be found out again belongs there."""
        found = self._own.get(kind)
        if found is None:
            found = self._own[kind] = kind()
        return found


Reconcile = Callable[[Key, Context], Awaitable[float | None]]


@dataclass(frozen=True, slots=True)
class Controller:
    """A row of the manager's table.

    `reconcile` compares what is with what should be, whatever woke it; what it raises makes the key come back later, the
    seconds it returns when to look again. `beside` runs as long as the controller, for work that no key stands for.
    `indexes` adds what it needs to find in the informers.
    """

    name: str  # As upstream's --controllers has it.
    watches: tuple[Watch, ...]
    reconcile: Reconcile
    workers: int = 5
    prepare: Callable[[Context], None] | None = None
    beside: Callable[[Context], Awaitable[None]] | None = None
    on_by_default: bool = True
    component: str = ""  # The source of its events; empty: its name.
