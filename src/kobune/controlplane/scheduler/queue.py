"""Pods that wait for a node: ready to be tried, backing off, or parked until something happens that may help them.

Source: upstream scheduling queue. Parked pods are kept by shape and by the plugins that refused them, so that an event is
judged once per such group, however many pods wait in it.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from kobune.api.clock import Clock
from kobune.controlplane.scheduler.events import ClusterEvent
from kobune.controlplane.scheduler.pod_info import PodInfo, PodShape

# Seconds. Source: upstream podInitialBackoffSeconds, podMaxBackoffSeconds, DefaultPodMaxInUnschedulablePodsDuration.
FIRST_BACKOFF, MAX_BACKOFF = 1.0, 10.0
MAX_PARKED = 300.0
SWEEP = 30.0  # How often parked pods are looked through for those that have waited too long.

ACTIVE, BACKOFF, UNSCHEDULABLE, GATED = "active", "backoff", "unschedulable", "gated"  # As in the metric's label.

# Why a pod came to where it is, where no event of the cluster is the reason. Source: upstream framework/events.go.
ADDED, UPDATED = "UnschedulablePodAdd", "UnschedulablePodUpdate"
FAILED, BACKED_OFF, EARLY = "ScheduleAttemptFailure", "BackoffComplete", "PopFromBackoffQ"
ACTIVATED, TIMED_OUT = "ForceActivate", "UnschedulableTimeout"

Helps = Callable[[str, ClusterEvent, PodInfo], bool]  # (plugin, event, a pod that it refused).
Gate = Callable[[PodInfo], str]  # The plugin that keeps the pod from being tried; "" is none.
Park = tuple[PodShape, frozenset[str]]


@dataclass(slots=True, eq=False)
class QueuedPod:
    """A pending pod and the story of its attempts. Times are the clock's monotonic seconds."""

    pod: PodInfo
    since: float  # When it came to where it is.
    attempts: int = 0
    refusals: int = 0  # Attempts that ended without a node.
    errors: int = 0  # Attempts in a row that ended in an error.
    plugins: frozenset[str] = frozenset()  # Who refused it the last time.
    gated_by: str = ""
    backoff_until: float = 0.0
    place: str = ""  # ACTIVE, BACKOFF, UNSCHEDULABLE, GATED, or "" while it is being tried.
    first_attempt: float = 0.0
    was_flushed: bool = False  # It is tried because it had been parked for too long, not because anything happened.
    park: Park | None = field(default=None, repr=False)


class SchedulingQueue:
    """Highest priority first, then first come, first served.

    Args:
        gate: asked before a pod is made ready; the pod waits, at no cost, until it is updated or activated.
        helps: whether an event may help a pod that a plugin refused.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        gate: Gate,
        helps: Helps,
        first_backoff: float = FIRST_BACKOFF,
        max_backoff: float = MAX_BACKOFF,
        max_parked: float = MAX_PARKED,
    ) -> None:
        self._clock = clock
        self._gate, self._helps = gate, helps
        self._first_backoff, self._max_backoff, self._max_parked = first_backoff, max_backoff, max_parked
        self._pods: dict[str, QueuedPod] = {}  # By uid, wherever they are.
        self._order = itertools.count()
        # Heaps hold (order…, pod); an entry whose pod has moved on is stale and skipped.
        self._active: list[tuple[int, float, int, QueuedPod]] = []
        self._backoff: list[tuple[float, int, float, int, QueuedPod]] = []
        self._errors: list[tuple[float, int, QueuedPod]] = []
        self._parked: dict[Park, dict[str, QueuedPod]] = {}
        self._gated: dict[str, QueuedPod] = {}
        self._counts = dict.fromkeys((ACTIVE, BACKOFF, UNSCHEDULABLE, GATED), 0)
        self._next_sweep = 0.0
        self.on_ready: Callable[[], None] = lambda: None  # Called whenever a pod can be popped.
        self.on_incoming: Callable[[str, str], None] = lambda queue, event: None  # A pod came to a place, and why.

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def get(self, uid: str) -> QueuedPod | None:
        """The pod, wherever it waits or while it is being tried."""
        return self._pods.get(uid)

    @property
    def counts(self) -> dict[str, int]:
        """How many pods are in each place."""
        return self._counts

    def pods(self) -> Iterator[QueuedPod]:
        """All pods, those being tried included."""
        return iter(self._pods.values())

    # In.

    def add(self, pod: PodInfo) -> QueuedPod:
        """A new pending pod."""
        queued = self._pods[pod.uid] = QueuedPod(pod, self._clock.monotonic())
        self._ready(queued, ADDED)
        return queued

    def update(self, pod: PodInfo, event: ClusterEvent) -> None:
        """A waiting pod has changed: it is tried again if that may help it."""
        queued = self._pods.get(pod.uid)
        if queued is None:
            self.add(pod)
            return
        queued.pod = pod
        if queued.place == GATED:
            if self._gate(pod) == "":
                self._ready(queued, UPDATED)
        elif queued.place == UNSCHEDULABLE:
            self._place(queued, UNSCHEDULABLE)  # Its shape may be another.
            if self._is_worth_trying(queued.plugins, event, pod):
                self._requeue(queued, UPDATED)

    def remove(self, uid: str) -> QueuedPod | None:
        """The pod is bound or gone."""
        queued = self._pods.pop(uid, None)
        if queued is not None:
            self._place(queued, "")
        return queued

    # Out.

    def pop(self) -> QueuedPod | None:
        """The next pod to try. When none is ready, one that backs off after a refusal is tried early."""
        while self._active:
            queued = heapq.heappop(self._active)[-1]
            if queued.place == ACTIVE:
                return self._begin(queued)
        while self._backoff:
            queued = heapq.heappop(self._backoff)[-1]
            if queued.place == BACKOFF and not queued.errors:
                self.on_incoming(ACTIVE, EARLY)
                return self._begin(queued)
        return None

    def take(self, uid: str) -> QueuedPod | None:
        """This pod, wherever it waits; None while it is being tried, is gated, or is not here. Source: upstream PopSpecificPod."""
        queued = self._pods.get(uid)
        if queued is None or not queued.place:
            return None
        if queued.place != ACTIVE:
            self._ready(queued, ACTIVATED)
        return self._begin(queued) if queued.place == ACTIVE else None

    def _begin(self, queued: QueuedPod) -> QueuedPod:
        self._place(queued, "")
        queued.attempts += 1
        if not queued.first_attempt:
            queued.first_attempt = self._clock.monotonic()
        return queued

    def refused(self, queued: QueuedPod, plugins: frozenset[str]) -> None:
        """No node would do. The pod is parked until an event may help with what these plugins said.

        When none said anything, as in a cluster without nodes, it is as with an error: tried again after a pause, never
        earlier. Source: upstream's queue, AddUnschedulableIfNotPresent and its queue of errors.
        """
        if self._pods.get(queued.pod.uid) is not queued:
            return  # Deleted meanwhile.
        if not plugins:
            self.failed(queued)
            return
        queued.refusals += 1
        queued.errors = 0
        queued.was_flushed = False
        queued.plugins = plugins
        queued.since = self._clock.monotonic()
        queued.backoff_until = queued.since + self._pause(queued.refusals)
        queued.gated_by = self._gate(queued.pod)
        self._place(queued, GATED if queued.gated_by else UNSCHEDULABLE)
        self.on_incoming(UNSCHEDULABLE, FAILED)

    def failed(self, queued: QueuedPod) -> None:
        """The attempt ended in an error: the pod is tried again after a pause, never earlier."""
        if self._pods.get(queued.pod.uid) is not queued:
            return
        queued.errors += 1
        queued.plugins = frozenset()
        queued.since = self._clock.monotonic()
        queued.backoff_until = queued.since + self._pause(queued.errors)
        self._back_off(queued, FAILED)

    def put_off(self, queued: QueuedPod, plugins: frozenset[str]) -> None:
        """The attempt of the pod's group ended without a node for it: it is tried again after a pause, whatever happens.

        Source: upstream determineSchedulingHintForInFlightPod: events are not yet judged for groups.
        """
        if self._pods.get(queued.pod.uid) is not queued:
            return
        if not plugins:
            self.failed(queued)
            return
        queued.refusals += 1
        queued.errors = 0
        queued.plugins = plugins
        queued.since = self._clock.monotonic()
        queued.backoff_until = queued.since + self._pause(queued.refusals)
        self._back_off(queued, FAILED, early=False)

    def reconsider(self, uids: Iterable[str], event: str) -> None:
        """Ask the gate anew about those of these pods that it keeps."""
        for uid in uids:
            queued = self._pods.get(uid)
            if queued is not None and queued.place == GATED:
                self._ready(queued, event)

    def done(self, uid: str) -> None:
        """The pod has a node."""
        self._pods.pop(uid, None)

    def _pause(self, failures: int) -> float:
        # The exponent is bounded first: 2.0 ** 2000 overflows.
        return min(self._first_backoff * 2.0 ** min(failures - 1, 30), self._max_backoff)

    # Events and time.

    def happened(self, event: ClusterEvent) -> None:
        """Move the parked pods that the event may help."""
        for (_, plugins), pods in list(self._parked.items()):
            example = next(iter(pods.values()))
            if self._is_worth_trying(plugins, event, example.pod):
                for queued in list(pods.values()):
                    self._requeue(queued, event.label)

    def _is_worth_trying(self, plugins: Iterable[str], event: ClusterEvent, pod: PodInfo) -> bool:
        return any(self._helps(plugin, event, pod) for plugin in plugins)

    def activate(self, uids: Iterable[str]) -> None:
        """Make these pods ready now, wherever they wait; gates still hold."""
        for uid in uids:
            queued = self._pods.get(uid)
            if queued is not None and queued.place in (BACKOFF, UNSCHEDULABLE, GATED):
                self._ready(queued, ACTIVATED)

    def release(self, uid: str, *, retry: bool) -> None:
        """A gate has opened: the pod is tried again, or parked until an event helps it."""
        queued = self._pods.get(uid)
        if queued is None or queued.place != GATED:
            return
        if retry or not queued.plugins:
            self._ready(queued, ACTIVATED)
        else:
            queued.gated_by = self._gate(queued.pod)
            self._place(queued, GATED if queued.gated_by else UNSCHEDULABLE)

    def tick(self) -> None:
        """Release what has waited long enough. To be called about every second."""
        now = self._clock.monotonic()
        while self._backoff and self._backoff[0][-1].backoff_until <= now:
            queued = heapq.heappop(self._backoff)[-1]
            if queued.place == BACKOFF and not queued.errors:
                self._ready(queued, BACKED_OFF)
        while self._errors and self._errors[0][0] <= now:
            queued = heapq.heappop(self._errors)[-1]
            if queued.place == BACKOFF and queued.backoff_until <= now:
                self._ready(queued, BACKED_OFF)
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP
        for pods in list(self._parked.values()):
            for queued in [one for one in pods.values() if now - one.since > self._max_parked]:
                queued.was_flushed = True
                self._requeue(queued, TIMED_OUT)

    # Places.

    def _requeue(self, queued: QueuedPod, event: str) -> None:
        """Ready, or backing off for the rest of its pause."""
        if queued.backoff_until > self._clock.monotonic():
            self._back_off(queued, event)
        else:
            self._ready(queued, event)

    def _ready(self, queued: QueuedPod, event: str) -> None:
        if self._is_gated(queued, event):
            return
        self.on_incoming(ACTIVE, event)
        queued.since = self._clock.monotonic()
        self._place(queued, ACTIVE)
        heapq.heappush(self._active, (-queued.pod.priority, queued.since, next(self._order), queued))
        self.on_ready()

    def _is_gated(self, queued: QueuedPod, event: str) -> bool:
        """Whether a plugin keeps the pod from being tried; it is put aside then."""
        queued.gated_by = self._gate(queued.pod)
        if not queued.gated_by:
            return False
        if queued.place not in (GATED, UNSCHEDULABLE):
            self.on_incoming(UNSCHEDULABLE, event)  # As upstream's metric has it: one queue for both.
        self._place(queued, GATED)
        return True

    def _back_off(self, queued: QueuedPod, event: str, *, early: bool = True) -> None:
        """`early`: the pod is tried before its pause is over when there is nothing else to do."""
        if self._is_gated(queued, event):
            return
        self.on_incoming(BACKOFF, event)
        self._place(queued, BACKOFF)
        order = next(self._order)
        if queued.errors or not early:
            heapq.heappush(self._errors, (queued.backoff_until, order, queued))
        else:
            # Within a second the order is that of ready pods. Source: upstream backoffQOrderingWindowDuration.
            window = float(int(queued.backoff_until))
            heapq.heappush(self._backoff, (window, -queued.pod.priority, queued.since, order, queued))
            self.on_ready()

    def _place(self, queued: QueuedPod, place: str) -> None:
        uid = queued.pod.uid
        if queued.park is not None:
            pods = self._parked[queued.park]
            del pods[uid]
            if not pods:
                del self._parked[queued.park]
            queued.park = None
        if queued.place:
            self._counts[queued.place] -= 1
            self._gated.pop(uid, None)
        queued.place = place
        if place:
            self._counts[place] += 1
        if place == GATED:
            self._gated[uid] = queued
        elif place == UNSCHEDULABLE:
            queued.park = (queued.pod.shape, queued.plugins)
            self._parked.setdefault(queued.park, {})[uid] = queued
