"""kube-controller-manager: shared informers, a queue and workers for each controller, perhaps behind a leader election."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Conflict, NotFound
from kobune.api.objects.meta import Key, Object
from kobune.api.prometheus import Counter, Gauge, Metric, render_text
from kobune.client.client import Client, resource_of
from kobune.client.discovery import discover
from kobune.client.events import EventRecorder
from kobune.client.informer import Informer
from kobune.client.leases import LeaderElection
from kobune.client.queue import QueueMetrics, WorkQueue
from kobune.controlplane.controllers.all import CONTROLLERS
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps, Owns, Settings, leads_nowhere
from kobune.controlplane.controllers.former_names import FORMER_NAMES
from kobune.controlplane.controllers.pods import is_namespace_terminating

log = logging.getLogger(__name__)

DISCOVERY_RETRY_SECONDS = 1.0
LEASE = Key("kube-system", "kube-controller-manager")


class ControllerManager:
    """Runs controllers over one API server.

    Args:
        controllers: which, in upstream's words: "*" those on by default, "foo" that one too, "-foo" not that one.
        identity: tells candidates apart; must be unique when `leader_elect`.
    """

    def __init__(
        self,
        client: Client,
        *,
        clock: Clock,
        rng: random.Random,
        controllers: str = "*",
        settings: Settings | None = None,
        leader_elect: bool = False,
        identity: str = "kube-controller-manager",
        table: Sequence[Controller] = CONTROLLERS,
    ) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._settings = settings or Settings()
        self.election = LeaderElection(client, LEASE, identity, clock=clock, rng=rng) if leader_elect else None
        self.controllers = selected(table, controllers)
        self.counts = Counter("kobune_reconcile_total", ("controller", "outcome"))
        self._queue_metrics = QueueMetrics()
        self._informers: dict[type[Object], Informer[Any]] = {}
        self._contexts: list[tuple[Controller, Context]] = []
        self.started = asyncio.Event()  # Informers are in and workers at work.

    async def run(self) -> None:
        """Keep everything true, for ever. Raises LeadershipLost when another manager must take over."""
        if self.election is None:
            await self._work()
        else:
            await self.election.lead(self._work)

    @property
    def is_idle(self) -> bool:
        """No controller has anything to do now. Delayed work may wait; an informer may have news on the way."""
        return all(context.queue.is_idle for _, context in self._contexts)

    def metrics(self) -> str:
        """Counts for Prometheus, under upstream's names where it has them."""
        own: list[Metric] = [self.counts]
        if self.election is not None:
            master = Gauge("leader_election_master_status", ("name",))
            master.set(LEASE.name, to=float(self.election.is_leader))
            own.append(master)
        return self._queue_metrics.render() + render_text(own)

    async def _work(self) -> None:
        self._informers.clear()
        self._contexts.clear()
        self._queue_metrics = QueueMetrics()
        self._contexts += [(controller, self._assemble(controller)) for controller in self.controllers]
        absent = await self._absent()
        async with asyncio.TaskGroup() as group:
            informers = {view: informer for view, informer in self._informers.items() if view not in absent}
            for view, informer in informers.items():
                group.create_task(informer.run(), name=f"informer {view.gvk.kind}")
            for informer in informers.values():
                await informer.synced()
            for controller, context in self._contexts:
                if controller.watches and all(watch.view in absent for watch in controller.watches):
                    continue  # Nothing that it keeps is served.
                group.create_task(context.events.run(), name=f"{controller.name} events")
                if controller.beside is not None:
                    group.create_task(_until_done(controller.beside, context), name=f"{controller.name} beside")
                handle = partial(self._handle, controller, context)
                group.create_task(context.queue.run(handle, workers=controller.workers), name=controller.name)
            self.started.set()
            log.info("controllers started", extra={"controllers": [each.name for each in self.controllers]})

    async def _absent(self) -> set[type[Object]]:
        """The optional kinds that this API server does not serve; asked until it answers."""
        optional = {
            watch.view
            for controller in self.controllers
            for watch in controller.watches
            if not isinstance(watch, Owns) and watch.optional
        }
        while optional:
            try:
                served = {each.resource for each in (await discover(self._client)).resources}
            except ApiError as error:
                log.warning("cannot discover what is served", extra={"failure": str(error)})
                await self._clock.sleep(DISCOVERY_RETRY_SECONDS)
            else:
                return {view for view in optional if resource_of(view) not in served}
        return set()

    def _assemble(self, controller: Controller) -> Context:
        context = Context(
            client=self._client,
            clock=self._clock,
            rng=self._rng,
            events=EventRecorder(self._client, controller.component or controller.name, clock=self._clock),
            queue=WorkQueue(self._clock, name=controller.name, metrics=self._queue_metrics),
            settings=self._settings,
            informers=self._informers,
        )
        kept = next((watch.view for watch in controller.watches if isinstance(watch, For)), None)
        for watch in controller.watches:
            if watch.view not in self._informers:
                namespace, fields = (watch.namespace, watch.fields) if isinstance(watch, Maps) else ("", "")
                self._informers[watch.view] = Informer(
                    self._client, watch.view, namespace=namespace, fields=fields, clock=self._clock, rng=self._rng
                )
        if controller.prepare is not None:
            controller.prepare(context)
        for watch in controller.watches:
            if not isinstance(watch, Maps) or watch.keys is not leads_nowhere:
                self._informers[watch.view].on_change(_listener(watch, kept, context))
        return context

    async def _handle(self, controller: Controller, context: Context, key: Key) -> float | None:
        began = self._clock.monotonic()
        outcome = "error"
        try:
            again = await controller.reconcile(key, context)
            outcome = "success"
            return again
        except Conflict:
            outcome = "conflict"  # Our copy was old; the news is on its way.
            raise
        except (ApiError, ExceptionGroup) as error:
            if _is_moot(error, controller, key):
                outcome = "gone"
                return None
            log.warning(
                "reconcile failed", extra={"controller": controller.name, "key": str(key), "error": explain(error)}
            )
            raise
        except Exception:
            log.exception("reconcile broke", extra={"controller": controller.name, "key": str(key)})
            raise
        finally:
            seconds = self._clock.monotonic() - began
            self.counts.add(controller.name, outcome)
            if log.isEnabledFor(logging.INFO):
                fields = {"controller": controller.name, "key": str(key), "outcome": outcome, "seconds": seconds}
                log.info("reconciled", extra=fields)


def selected(table: Sequence[Controller], choice: str) -> tuple[Controller, ...]:
    """The controllers that `--controllers=CHOICE` switches on.

    Raises:
        ValueError: a name in it is no controller's.
    """
    words = [_current(word.strip()) for word in choice.split(",") if word.strip()]
    names = {controller.name for controller in table}
    unknown = [word for word in words if word.removeprefix("-") not in names | {"*"}]
    if unknown:
        raise ValueError(f"{', '.join(map(repr, unknown))} is not in the list of known controllers")
    return tuple(
        controller
        for controller in table
        if f"-{controller.name}" not in words
        and (controller.name in words or ("*" in words and controller.on_by_default))
    )


def _current(word: str) -> str:
    """The name of today for a name of an older release, with its minus sign if it has one."""
    name = word.removeprefix("-")
    return f"{word[: len(word) - len(name)]}{FORMER_NAMES.get(name, name)}"


def _is_moot(error: Exception, controller: Controller, key: Key) -> bool:
    """Another try is for nothing: the key's own object has gone while we looked, or its namespace goes and takes nothing in.

    The news of that, on its way, wakes the key. Of other objects, one that is missing may yet come.
    """
    if isinstance(error, ExceptionGroup):
        return all(_is_moot(each, controller, key) for each in error.exceptions)
    if isinstance(error, ApiError) and is_namespace_terminating(error):
        return True
    if not isinstance(error, NotFound) or error.name != key.name:
        return False
    kept = (resource_of(watch.view) for watch in controller.watches if isinstance(watch, For))
    return any((error.group, error.resource) == (each.group, each.plural) for each in kept)


def explain(error: Exception) -> str:
    """The messages of an error or of all errors in a group."""
    if isinstance(error, ExceptionGroup):
        return "; ".join(dict.fromkeys(explain(each) for each in error.exceptions))
    return str(error) or type(error).__name__


def _listener(watch: For | Owns | Maps, kept: type[Object] | None, context: Context) -> Callable[[Any, Any], None]:
    add = context.queue.add
    if isinstance(watch, For):
        return lambda old, new: add((new or old).key)
    if isinstance(watch, Owns):
        if kept is None:
            raise ValueError("Owns needs a For beside it")
        return partial(_add_owners, add, kept.gvk.group, kept.gvk.kind)

    def map_change(old: Any, new: Any) -> None:
        for key in watch.keys(context, old, new):
            add(key)

    return map_change


def _add_owners(add: Callable[[Key], None], group: str, kind: str, old: Object | None, new: Object | None) -> None:
    if old is not None and new is not None and old.metadata.owner_references == new.metadata.owner_references:
        old = None  # It leads where the new one does.
    for item in (old, new):
        owner = item.metadata.controller if item is not None else None
        if item is not None and owner is not None and owner.kind == kind:
            owner_group, slash, _ = owner.api_version.partition("/")
            if (owner_group if slash else "") == group:
                add(Key(item.metadata.namespace, owner.name))


async def _until_done(work: Callable[[Context], Any], context: Context) -> None:
    await work(context)
