"""One priority level: its seats, and the queues of those that wait for one.

Fair queuing by start tags: every queue has a tag that grows with the seat-seconds its requests take, and the queue with
the least tag goes first; a queue that was empty starts where the level stands now. A level may borrow the seats that
others lend and do not use: at any moment, where upstream reckons every ten seconds by what was wanted before.
"""

import asyncio
import hashlib
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from kobune.api.errors import Json

EXPECTED_SECONDS = 0.003  # What a request is taken for until it is done.
MAX_HASH_CARDS = 15
WIDEST_SHARE = 0.15  # Of a level's seats for one request. Source: upstream priorityLevelMaxSeatsPercent.


@dataclass(slots=True)
class Waiting:
    """A request in a queue; `go` is done when it has its seats."""

    seats: int
    go: asyncio.Future[None]
    queue: "Queue"


@dataclass(slots=True)
class Queue:
    tag: float = 0.0
    waiting: deque[Waiting] = field(default_factory=deque)


class Bank:
    """What all levels of a server share: the seats that are lent."""

    def __init__(self) -> None:
        self.levels: Sequence[Level] = ()

    def spare(self) -> int:
        """Seats that may be borrowed now."""
        lent = sum(max(0, level.executing - level.nominal) for level in self.levels)
        return sum(min(level.lendable, max(0, level.nominal - level.executing)) for level in self.levels) - lent


class Level:
    """`nominal` seats are its own, of which `lendable` others may use; up to `most` with what it borrows."""

    def __init__(self, name: str, uid: str, bank: Bank) -> None:
        self.name = name
        self.uid = uid
        self.exempt = False
        self.nominal = self.lendable = self.most = 0
        self.hand_size = self.queue_length = 0
        self.queues: list[Queue] = []
        self.executing = 0
        self.waiting = 0
        self.rejected = self.dispatched = 0
        self.widest = 1  # The most seats that one request gets.
        self._bank = bank
        self._now = 0.0  # The tag of the queue served last.

    def configure(self, spec: Json, nominal: int) -> None:
        """Take a configuration; requests that wait already stay where they are."""
        self.exempt = spec.get("type") == "Exempt"
        limited = spec.get("limited") or spec.get("exempt") or {}
        self.nominal = nominal
        self.lendable = round(nominal * (limited.get("lendablePercent") or 0) / 100)
        borrowing = limited.get("borrowingLimitPercent")
        self.most = 2**31 if borrowing is None else nominal + round(nominal * borrowing / 100)
        self.widest = 2**31 if self.exempt else 1
        queuing = (limited.get("limitResponse") or {}).get("queuing") or {}
        wanted = queuing.get("queues", 0) if (limited.get("limitResponse") or {}).get("type") == "Queue" else 0
        self.hand_size, self.queue_length = queuing.get("handSize", 0), queuing.get("queueLengthLimit", 0)
        if wanted and self.hand_size:
            self.widest = max(1, min(math.ceil(nominal * WIDEST_SHARE), nominal // self.hand_size))
        if wanted != len(self.queues):
            # Who waits in a queue that is no more is served from it all the same: the level keeps it until then.
            self.queues = [*(one for one in self.queues if one.waiting), *(Queue() for _ in range(wanted))]

    def take(self, seats: int) -> bool:
        """Seats at once, if nobody waits and there are some."""
        if self.exempt or (not self.waiting and self._has_room(seats)):
            self.executing += seats
            self.dispatched += 1
            return True
        return False

    def has_free_seat(self) -> bool:
        """Whether a request that is over at once need not wait for its seat."""
        return self.exempt or (not self.waiting and self.executing < self.nominal)

    async def wait(self, flow: str, seats: int, seconds: float) -> bool:
        """Seats when it is this flow's turn; False: there is no room to wait, or it took too long."""
        queue = self._queue_of(flow)
        if queue is None or len(queue.waiting) >= self.queue_length:
            self.rejected += 1
            return False
        one = Waiting(seats, asyncio.get_running_loop().create_future(), queue)
        if not queue.waiting:
            queue.tag = max(queue.tag, self._now)
        queue.waiting.append(one)
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await one.go
        except BaseException as error:
            if one in queue.waiting:
                queue.waiting.remove(one)
                self.waiting -= 1
            elif one.go.done() and not one.go.cancelled():
                self.leave(seats, 0.0, flow)  # It has got its seats in the very moment.
            if isinstance(error, TimeoutError):
                self.rejected += 1
                return False
            raise
        return True

    def leave(self, seats: int, seconds: float, flow: str) -> None:
        """Give seats back after having had them so long."""
        self.executing -= seats
        if self.waiting:
            queue = self._queue_of(flow)
            if queue is not None:
                queue.tag = max(self._now, queue.tag + seats * (seconds - EXPECTED_SECONDS))
            self.dispatch()

    def dispatch(self) -> None:
        """Give free seats to those whose turn it is."""
        while self.waiting:
            queue = min((one for one in self.queues if one.waiting), key=lambda one: one.tag)
            first = queue.waiting[0]
            if not self._has_room(first.seats):
                return
            queue.waiting.popleft()
            self.waiting -= 1
            self._now = queue.tag
            queue.tag += first.seats * EXPECTED_SECONDS
            if not first.go.done():
                self.executing += first.seats
                self.dispatched += 1
                first.go.set_result(None)

    def _has_room(self, seats: int) -> bool:
        after = self.executing + seats
        if after <= self.nominal or not self.executing:
            return True
        return after <= self.most and after - max(self.nominal, self.executing) <= self._bank.spare()

    def _queue_of(self, flow: str) -> Queue | None:
        """The shortest of the flow's queues."""
        if not self.queues or not self.hand_size:
            return None
        hand = deal(flow, len(self.queues), min(self.hand_size, len(self.queues)))
        return min((self.queues[card] for card in hand), key=lambda queue: len(queue.waiting))


def deal(flow: str, deck: int, hand: int) -> list[int]:
    """The flow's own choice of `hand` of `deck` queues. Source: upstream shufflesharding.Dealer."""
    number = int.from_bytes(hashlib.sha256(flow.encode()).digest()[:8], "little")
    cards: list[int] = []
    remainders: list[int] = []
    for index in range(min(hand, MAX_HASH_CARDS)):
        number, remainder = divmod(number, deck - index)
        remainders.append(remainder)
    for index, card in enumerate(remainders):
        for before in reversed(remainders[:index]):
            if card >= before:
                card += 1
        cards.append(card)
    return cards
