"""The engine for more than one machine: the same promises, kept by an etcd v3 cluster.

Revisions are etcd's own. Needs nothing newer than etcd 3.4; how far watches are where others write too: see etcd_progress.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from kobune.controlplane.store import etcd_pb2 as pb
from kobune.controlplane.store.contract import Change, Compacted, Conflict, Entry, Full, Page, Unavailable
from kobune.controlplane.store.etcd_calls import EtcdCalls, Refused, Tls
from kobune.controlplane.store.etcd_leases import Leases
from kobune.controlplane.store.etcd_progress import PROGRESS, Progress

M = TypeVar("M", bound=Message)

RECONNECT_SECONDS = 0.2


class LeaseLost(Unavailable):
    """etcd does not know the lease that a write was to be kept under; nothing was written."""


class EtcdStore:
    """Made in the event loop that uses it; connects with the first call.

    Args:
        endpoints: "https://HOST:PORT" or "http://HOST:PORT", any number of members of one cluster.
        root: put before every key, so that several clusters share one etcd.
        below: the folder ("/registry") that all keys are in, if `root` is to stand in its place.
        begins_after: added to etcd's own revisions: where its state came from another store, that one's last.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: Tls | None = None,
        root: str = "",
        below: str = "",
        begins_after: int = 0,
    ) -> None:
        self._calls = EtcdCalls(endpoints, tls)
        self._root = root.encode()
        self._below = below
        self._leases = Leases(self._calls)
        self._progress = Progress(self._calls, self._root)
        self._begins_after = begins_after

    async def revision(self) -> int:
        # Not serializable, so a majority confirms it.
        found = await self._range(pb.RangeRequest(key=b"/", count_only=True))
        return int(found.header.revision) + self._begins_after

    async def members(self) -> Sequence[str]:
        # A read that a majority confirms: a member that is cut off is not well. Source: etcd's /health.
        return await self._calls.problems("KV/Range", pb.RangeRequest(key=b"health", count_only=True), pb.RangeResponse)

    async def read(self, key: str) -> Entry | None:
        found = await self._range(pb.RangeRequest(key=self._key(key)))
        return self._entry(found.kvs[0]) if found.kvs else None

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        start, end = self._span(prefix)
        if after:
            start = max(start, self._key(after) + b"\0")
        own = revision - self._begins_after if revision else 0
        if revision and own <= 0:
            raise Compacted(self._begins_after + 1)
        found = await self._range(pb.RangeRequest(key=start, range_end=end, limit=limit, revision=own))
        shown = revision or found.header.revision + self._begins_after
        return Page([self._entry(kv) for kv in found.kvs], shown, found.more)

    async def write(
        self, key: str, value: bytes, *, expected: int | None, durable: bool = True, seconds: float = 0.0
    ) -> int:
        put = pb.PutRequest(key=self._key(key), value=value)
        if seconds:
            return await self._write_leased(key, put, expected, seconds)
        return await self._put(key, put, expected)

    async def _put(self, key: str, put: pb.PutRequest, expected: int | None) -> int:
        if expected is None:
            written = await self._mutate("KV/Put", put, pb.PutResponse)
            return int(written.header.revision) + self._begins_after
        done = await self._if_at(key, expected, pb.RequestOp(request_put=put))
        return int(done.header.revision) + self._begins_after

    async def _write_leased(self, key: str, put: pb.PutRequest, expected: int | None, seconds: float) -> int:
        try:
            put.lease = await self._leases.take(seconds)
            return await self._put(key, put, expected)
        except Refused as refused:
            raise _translated(refused) from refused
        except LeaseLost:
            # As after a restore of etcd: what it knew of leases is gone, and nothing was written.
            self._leases.forget(put.lease)
            put.lease = await self._leases.take(seconds)
            return await self._put(key, put, expected)

    async def delete(self, key: str, *, expected: int | None) -> int:
        delete = pb.DeleteRangeRequest(key=self._key(key))
        if expected is None:
            deleted = await self._mutate("KV/DeleteRange", delete, pb.DeleteRangeResponse)
        else:
            done = await self._if_at(key, expected, pb.RequestOp(request_delete_range=delete))
            deleted = done.responses[0].response_delete_range
            deleted.header.CopyFrom(done.header)
        if not deleted.deleted:
            raise Conflict(key, None)
        return int(deleted.header.revision) + self._begins_after

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Change]]:
        key, end = self._span(prefix)
        if self._begins_after and after < self._begins_after:
            raise Compacted(self._begins_after)  # The other store's history.
        while True:
            # etcd refuses a start before the compacted revision; beginning one earlier than needed makes that exact.
            start = pb.WatchCreateRequest(key=key, range_end=end, start_revision=max(after - self._begins_after, 1))
            request = pb.WatchRequest(create_request=start)
            try:
                async with AsyncExitStack() as stack:
                    stream = await stack.enter_async_context(
                        self._calls.stream("Watch/Watch", request, pb.WatchResponse)
                    )
                    if not prefix:
                        await stack.enter_async_context(self._progress.following(stream))
                    while True:
                        answer = await stream.read()
                        if answer.compact_revision:
                            raise Compacted(answer.compact_revision + self._begins_after)
                        if answer.canceled:
                            raise Unavailable(answer.cancel_reason)
                        found = [self._change(event) for event in answer.events]
                        if answer.watch_id == PROGRESS:
                            found.append(Change("", None, answer.header.revision + self._begins_after))
                        changes = [change for change in found if change.revision > after]
                        if changes:
                            after = changes[-1].revision
                            yield changes
            except Unavailable:
                # Another member, or the same one later, goes on after the last change seen.
                self._calls.check_open()
                await asyncio.sleep(RECONNECT_SECONDS)

    async def progress(self) -> None:
        try:
            await self._progress.ask()
        except Refused as refused:
            raise _translated(refused) from refused

    async def compact(self, revision: int) -> None:
        revision = min(revision, await self.revision()) - self._begins_after
        if revision > 0:
            try:
                request = pb.CompactionRequest(revision=revision)
                await self._calls.call("KV/Compact", request, pb.CompactionResponse, repeatable=True)
            except Refused as refused:
                if refused.code is not grpc.StatusCode.OUT_OF_RANGE:  # Compacted already.
                    raise _translated(refused) from refused

    async def clear(self) -> None:
        """Remove everything, as one change."""
        key, end = self._span("")
        await self._mutate("KV/DeleteRange", pb.DeleteRangeRequest(key=key, range_end=end), pb.DeleteRangeResponse)

    async def close(self) -> None:
        await self._calls.close()

    async def _range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        try:
            return await self._calls.call("KV/Range", request, pb.RangeResponse, repeatable=True)
        except Refused as refused:
            if refused.code is grpc.StatusCode.OUT_OF_RANGE and "compacted" in refused.details:
                raise Compacted(request.revision + self._begins_after + 1) from refused
            raise _translated(refused) from refused

    async def _mutate(self, method: str, request: Message, answer: type[M]) -> M:
        try:
            return await self._calls.call(method, request, answer, repeatable=False)
        except Refused as refused:
            raise _translated(refused) from refused

    async def _if_at(self, key: str, expected: int, operation: pb.RequestOp) -> pb.TxnResponse:
        """Do it if the key is at revision `expected`; raises Conflict with what is there instead."""
        where, own = self._key(key), self._own(expected)
        done = await self._mutate(
            "KV/Txn",
            pb.TxnRequest(
                compare=[pb.Compare(target=pb.Compare.MOD, key=where, mod_revision=own)],
                success=[operation],
                failure=[pb.RequestOp(request_range=pb.RangeRequest(key=where))],
            ),
            pb.TxnResponse,
        )
        if not done.succeeded:
            found = done.responses[0].response_range.kvs
            raise Conflict(key, self._entry(found[0]) if found else None)
        return done

    def _own(self, expected: int) -> int:
        """etcd's revision of ours; a negative one, which nothing is at, where it is the store's before."""
        return expected and (expected - self._begins_after if expected > self._begins_after else -1)

    def _key(self, key: str) -> bytes:
        return self._root + key.removeprefix(self._below).encode()

    def _span(self, prefix: str) -> tuple[bytes, bytes]:
        """The first key that starts with the prefix and the first after all of those, as etcd takes them."""
        start = self._key(prefix or (f"{self._below}/" if self._below else ""))
        if not start:
            return b"\0", b"\0"  # Everything.
        # No key has the byte 0xff, since it is not in UTF-8.
        return start, start[:-1] + bytes([start[-1] + 1])

    def _entry(self, kv: pb.KeyValue) -> Entry:
        key = kv.key[len(self._root) :].decode(errors="replace")
        return Entry(self._below + key, kv.value, kv.mod_revision + self._begins_after)

    def _change(self, event: pb.Event) -> Change:
        key, value, revision = self._entry(event.kv)
        if self._progress.is_mark(event.kv.key):
            return Change("", None, revision)
        return Change(key, None if event.type == pb.Event.DELETE else value, revision)


def _translated(refused: Refused) -> Exception:
    if refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED and "space exceeded" in refused.details:
        return Full(f"etcd has no space left: {refused.details}")
    if "requested lease not found" in refused.details:
        return LeaseLost(f"etcd: {refused.details}")
    return Unavailable(f"etcd: {refused.details}")
