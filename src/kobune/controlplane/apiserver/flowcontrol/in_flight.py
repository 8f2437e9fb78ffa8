"""Without priorities: so many reads and so many writes at the same time, and nobody waits.

Source: upstream apiserver, pkg/server/filters/maxinflight.go.
"""

from kobune.controlplane.apiserver.authorization.authorizer import Access
from kobune.controlplane.apiserver.flowcontrol.estimate import NOTHING_AFTER, Aftermath
from kobune.controlplane.apiserver.flowcontrol.flowcontrol import Flow
from kobune.controlplane.apiserver.flowcontrol.level import Bank, Level
from kobune.controlplane.apiserver.request import NOTHING

READS = frozenset(("get", "list", "watch", "head", "options"))
PRIVILEGED = "system:masters"


class InFlight:
    def __init__(self, reads: int, writes: int) -> None:
        """How many of each; 0: any number."""
        self._most = {True: reads, False: writes}
        self._now = {True: 0, False: 0}
        self._flow = Flow("", Level("", "", Bank()), NOTHING)

    async def load(self) -> None:
        return

    async def run(self) -> None:
        return

    def classify(self, access: Access) -> Flow:
        return self._flow

    async def enter(self, flow: Flow, access: Access, seats: int) -> int:
        """1, or 0 when there are too many; administrators always get in."""
        reads = access.verb in READS
        if self._most[reads] and self._now[reads] >= self._most[reads] and PRIVILEGED not in access.user.groups:
            return 0
        self._now[reads] += 1
        return 1

    def room(self, access: Access) -> bytes | None:
        return b"" if not self._most[True] or self._now[True] < self._most[True] else None

    def leave(self, flow: Flow, access: Access, seats: int, seconds: float, after: Aftermath = NOTHING_AFTER) -> None:
        self._now[access.verb in READS] -= 1

    def metrics(self) -> str:
        kinds = ((True, "readOnly"), (False, "mutating"))
        return "".join(
            f'apiserver_current_inflight_requests{{request_kind="{name}"}} {self._now[reads]}\n'
            for reads, name in kinds
        )
