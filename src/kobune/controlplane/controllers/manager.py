"""kube-controller-manager: shared informers, a queue and workers for each controller, perhaps behind a leader election."""

import asyncio
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Conflict
from kobune.api.objects.meta import Key, Object
from kobune.client.client import Client
from kobune.client.events import EventRecorder
from kobune.client.informer import Informer
from kobune.client.leases import LeaderElection
from kobune.client.queue import WorkQueue
from kobune.controlplane.controllers.all import CONTROLLERS
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps, Owns, Settings

log = logging.getLogger(__name__)

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
        self._leader_elect = leader_elect
        self._identity = identity
        self.controllers = selected(table, controllers)
        self.counts: Counter[tuple[str, str]] = Counter()  # By controller and outcome.
        self.seconds: defaultdict[str, float] = defaultdict(float)  # Spent in reconciles, by controller.
        self._informers: dict[type[Object], Informer[Any]] = {}
        self._contexts: list[tuple[Controller, Context]] = []
        self.started = asyncio.Event()  # Informers are in and workers at work.

    async def run(self) -> None:
        """Keep everything true, for ever. Raises LeadershipLost when another manager must take over."""
        if not self._leader_elect:
            await self._work()
            return
        election = LeaderElection(self._client, LEASE, self._identity, clock=self._clock, rng=self._rng)
        await election.lead(self._work)

    @property
    def is_idle(self) -> bool:
        """No controller has anything to do now. Delayed work may wait; an informer may have news on the way."""
        return all(context.queue.is_idle for _, context in self._contexts)

    def metrics(self) -> str:
        """Counts for Prometheus, under upstream's names where it has them."""
        lines = ["# TYPE workqueue_depth gauge"]
        depths = Counter[str]()
        for controller, context in self._contexts:
            depths[controller.name] += len(context.queue)
        lines += [f'workqueue_depth{{name="{name}"}} {depth}' for name, depth in depths.items()]
        lines.append("# TYPE kobune_reconcile_total counter")
        for (name, outcome), count in sorted(self.counts.items()):
            lines.append(f'kobune_reconcile_total{{controller="{name}",outcome="{outcome}"}} {count}')
        lines.append("# TYPE workqueue_work_duration_seconds_sum counter")
        for name, seconds in sorted(self.seconds.items()):
            lines.append(f'workqueue_work_duration_seconds_sum{{name="{name}"}} {seconds:.6f}')
        return "\n".join(lines) + "\n"

    async def _work(self) -> None:
        self._informers.clear()
        self._contexts.clear()
        self._contexts += [(controller, self._assemble(controller)) for controller in self.controllers]
        async with asyncio.TaskGroup() as group:
            for view, informer in self._informers.items():
                group.create_task(informer.run(), name=f"informer {view.gvk.kind}")
            for informer in self._informers.values():
                await informer.synced()
            for controller, context in self._contexts:
                group.create_task(context.events.run(), name=f"{controller.name} events")
                if controller.beside is not None:
                    group.create_task(_until_done(controller.beside, context), name=f"{controller.name} beside")
                handle = partial(self._handle, controller, context)
                group.create_task(context.queue.run(handle, workers=controller.workers), name=controller.name)
            self.started.set()
            log.info("controllers started", extra={"controllers": [each.name for each in self.controllers]})

    def _assemble(self, controller: Controller) -> Context:
        context = Context(
            client=self._client,
            clock=self._clock,
            rng=self._rng,
            events=EventRecorder(self._client, controller.component or controller.name, clock=self._clock),
            queue=WorkQueue(self._clock),
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
            log.warning(
                "reconcile failed", extra={"controller": controller.name, "key": str(key), "error": explain(error)}
            )
            raise
        except Exception:
            log.exception("reconcile broke", extra={"controller": controller.name, "key": str(key)})
            raise
        finally:
            seconds = self._clock.monotonic() - began
            self.counts[controller.name, outcome] += 1
            self.seconds[controller.name] += seconds
            if log.isEnabledFor(logging.INFO):
                fields = {"controller": controller.name, "key": str(key), "outcome": outcome, "seconds": seconds}
                log.info("reconciled", extra=fields)


def selected(table: Sequence[Controller], choice: str) -> tuple[Controller, ...]:
    """The controllers that `--controllers=CHOICE` switches on.

    Raises:
        ValueError: a name in it is no controller's.
    """
    words = [word.strip() for word in choice.split(",") if word.strip()]
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
    for item in (old, new):
        owner = item.metadata.controller if item is not None else None
        if item is not None and owner is not None and owner.kind == kind:
            owner_group, slash, _ = owner.api_version.partition("/")
            if (owner_group if slash else "") == group:
                add(Key(item.metadata.namespace, owner.name))


async def _until_done(work: Callable[[Context], Any], context: Context) -> None:
    await work(context)
