"""How far the watches of an etcd cluster are, where what others write there moves its revision without their being told.

Members that can are asked on the watch itself. Older ones answer that too early now and then; for them a key that the watch
covers is written and removed: once that has been seen, so has everything before it.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import grpc.aio

from kobune.controlplane.store import etcd_pb2 as pb
from kobune.controlplane.store.contract import Unavailable
from kobune.controlplane.store.etcd_calls import EtcdCalls, Stream

# From where on progress requests are answered in order. Source: upstream's RequestWatchProgress feature check.
RELIABLE_3_4, RELIABLE_3_5 = (3, 4, 31), (3, 5, 13)
PROGRESS = -1  # The watch id of an answer to a progress request. Source: etcd's watch server.


def is_reliable(version: str) -> bool:
    """Whether a member of this version answers progress requests, and not before the events that come first."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if found is None:
        return False
    numbers = (int(found[1]), int(found[2]), int(found[3]))
    return numbers >= RELIABLE_3_5 or RELIABLE_3_4 <= numbers < (3, 5, 0)


class Progress:
    """Asks on behalf of the watches under way.

    Args:
        root: put before every key that is watched; empty, and the watches are told of everything anyway.
    """

    def __init__(self, calls: EtcdCalls, root: bytes) -> None:
        self._calls = calls
        self._mark = root + b"/kobune/progress" if root else b""
        self._asking = asyncio.Lock()
        self._streams: dict[Stream[pb.WatchResponse], bool] = {}  # And whether its member is to be asked there.

    @contextlib.asynccontextmanager
    async def following(self, stream: Stream[pb.WatchResponse]) -> AsyncIterator[None]:
        """While a watch of everything goes on."""
        self._streams[stream] = await self._answers(stream.at)
        try:
            yield
        finally:
            del self._streams[stream]

    def is_mark(self, key: bytes) -> bool:
        """Whether a key is the one that is written to learn how far watches are."""
        return key == self._mark

    async def ask(self) -> None:
        """Have every watch told how far it is. Raises Refused, Unavailable."""
        async with self._asking:
            for stream, answers in list(self._streams.items()):
                if answers:
                    with contextlib.suppress(Unavailable):  # It begins anew where it was.
                        await stream.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
            if self._mark and not all(self._streams.values()):
                put, delete = pb.PutRequest(key=self._mark), pb.DeleteRangeRequest(key=self._mark)
                await self._calls.call("KV/Put", put, pb.PutResponse, repeatable=True)
                await self._calls.call("KV/DeleteRange", delete, pb.DeleteRangeResponse, repeatable=True)

    async def _answers(self, at: int) -> bool:
        """Whether an endpoint is to be asked on its watches."""
        try:
            status = await self._calls.ask(at, "Maintenance/Status", pb.StatusRequest(), pb.StatusResponse)
        except grpc.aio.AioRpcError:
            return False
        return is_reliable(status.version)
