"""Calls to an etcd cluster: to the endpoint that answered last, or to the next one when it fails."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from kobune.client.grpc_calls import close_channel, is_cancelled
from kobune.controlplane.store.contract import Closed, Unavailable

M = TypeVar("M", bound=Message)

CALL_SECONDS = 5.0  # Source: upstream has no limit of its own; etcd answers or gives up within 7 s.
HEALTH_SECONDS = 2.0
PAUSE_SECONDS = 0.1  # Before the endpoints are tried once more.
ATTEMPTS_SECONDS = 10.0  # For all attempts together: an election takes 1 to 2 s.
OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # So that a cut connection is noticed; etcd takes pings more often than every 5 s as abuse.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
# What etcd and gRPC say when a request was surely not executed.
_NOT_EXECUTED = (
    "failed to connect to all addresses",
    "no leader",
    "too many requests",
    "not started",
    "connections to all backends failing",
)
# Without a leader a member must not go on with a watch as if nothing happened. Source: etcd clientv3.WithRequireLeader.
_NEEDS_LEADER = (("hasleader", "true"),)


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM form; the certificate and the key are the client's own."""

    authority: Path
    certificate: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        certificate = self.certificate.read_bytes() if self.certificate else None
        key = self.key.read_bytes() if self.key else None
        return grpc.ssl_channel_credentials(self.authority.read_bytes(), key, certificate)


class EtcdCalls:
    """Made in the event loop that uses it.

    Args:
        endpoints: "https://HOST:PORT" or "http://HOST:PORT", any number of members of one cluster.
        tls: needed by https endpoints.
    """

    def __init__(self, endpoints: Sequence[str], tls: Tls | None) -> None:
        self._channels = [_channel(endpoint, tls) for endpoint in endpoints]
        self._under_way: list[set[grpc.aio.Call]] = [set() for _ in endpoints]
        self._current = 0
        self._stubs: dict[tuple[int, str], Callable[..., Any]] = {}
        self._closed = False

    async def call(self, method: str, request: Message, answer: type[M], *, repeatable: bool) -> M:
        """One request and its answer.

        Args:
            method: "KV/Range".
            repeatable: it does no harm to send it once more when it is not known whether it was executed.
        Raises:
            Refused: etcd answered that it will not.
            Unavailable: no member answered; if it is not repeatable it may have been executed.
        """
        give_up = asyncio.get_running_loop().time() + ATTEMPTS_SECONDS
        failures = 0
        while True:
            self.check_open()
            at = self._current
            try:
                result = await self._ask(at, method, request, answer, CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                self.check_open()
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise Refused(error.code(), error.details() or "") from error
                self.leave(at)
                failures += 1
                may_repeat = repeatable or any(text in (error.details() or "") for text in _NOT_EXECUTED)
                if not may_repeat or asyncio.get_running_loop().time() > give_up:
                    raise Unavailable(f"etcd: {error.details()}") from error
                if failures % len(self._channels) == 0:
                    await asyncio.sleep(PAUSE_SECONDS)
            else:
                return result

    async def problems(self, method: str, request: Message, answer: type[M]) -> Sequence[str]:
        """What each member says against a request, "" when it answers."""

        async def problem(at: int) -> str:
            try:
                await self.ask(at, method, request, answer)
            except grpc.aio.AioRpcError as error:
                return str(error.details() or error.code().name)
            return ""

        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(problem(at), name="etcd health") for at in range(len(self._channels))]
        return [one.result() for one in asked]

    @asynccontextmanager
    async def stream(self, method: str, request: Message, answer: type[M]) -> AsyncIterator["Stream[M]"]:
        """A stream begun with `request`. Raises Unavailable when it breaks."""
        self.check_open()
        at = self._current
        under_way = self._under_way[at]
        call = self._channels[at].stream_stream(
            f"/etcdserverpb.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )(metadata=_NEEDS_LEADER)
        stream = Stream[M](self, at, call)
        under_way.add(call)
        try:
            await stream.write(request)
            yield stream
        finally:
            call.cancel()
            under_way.discard(call)

    async def ask(self, at: int, method: str, request: Message, answer: type[M]) -> M:
        """One request to one endpoint. Raises AioRpcError when that does not answer."""
        return await self._ask(at, method, request, answer, HEALTH_SECONDS)

    async def close(self) -> None:
        """End whatever is under way; returns when nothing of it comes to the event loop any more."""
        self._closed = True
        async with asyncio.TaskGroup() as tasks:
            for channel, calls in zip(self._channels, self._under_way, strict=True):
                tasks.create_task(close_channel(channel, calls), name="close etcd's channel")

    def check_open(self) -> None:
        if self._closed:
            raise Closed

    def leave(self, failed: int) -> None:
        """Go to the next endpoint, unless another call has done so."""
        if self._current == failed:
            self._current = (failed + 1) % len(self._channels)

    async def _ask(self, at: int, method: str, request: Message, answer: type[M], seconds: float) -> M:
        under_way = self._under_way[at]
        call = self._stub(at, method, type(request), answer)(request, timeout=seconds)
        under_way.add(call)
        try:
            result: M = await call
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise Closed from None
        finally:
            under_way.discard(call)
        return result

    def _stub(self, at: int, method: str, request: type[Message], answer: type[M]) -> Callable[..., Any]:
        stub = self._stubs.get((at, method))
        if stub is None:
            stub = self._stubs[at, method] = self._channels[at].unary_unary(
                f"/etcdserverpb.{method}",
                request_serializer=request.SerializeToString,
                response_deserializer=answer.FromString,
            )
        return stub


class Stream(Generic[M]):
    """Messages both ways with the endpoint `at`."""

    def __init__(self, calls: EtcdCalls, at: int, call: Any) -> None:
        self.at = at
        self._calls = calls
        self._call = call
        self._over = asyncio.get_running_loop().create_future()
        call.add_done_callback(self._ended)

    def _ended(self, _: object) -> None:
        if not self._over.done():
            self._over.set_result(None)

    async def read(self) -> M:
        """The next answer."""
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            self._calls.check_open()
            self._calls.leave(self.at)
            raise Unavailable(f"etcd: {error.details()}") from error
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise Closed from None
        if message is grpc.aio.EOF:
            self._calls.check_open()
            self._calls.leave(self.at)
            raise Unavailable("etcd ended the stream")
        result: M = message
        return result

    async def write(self, request: Message) -> None:
        """One more request."""
        writing = asyncio.ensure_future(self._call.write(request))
        try:
            # A call that is cancelled before it has begun never lets anybody write, nor says so.
            await asyncio.wait((writing, self._over), return_when=asyncio.FIRST_COMPLETED)
            writing.cancel()
            await writing
        except asyncio.CancelledError:
            writing.cancel()
            if is_cancelled():
                raise
            self._calls.check_open()
            self._calls.leave(self.at)
            raise Unavailable(f"etcd: {await self._call.details()}") from None
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            self._calls.check_open()
            self._calls.leave(self.at)
            raise Unavailable(f"etcd: {error}") from error


class Refused(Exception):
    """etcd will not do it, whoever is asked."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


def _channel(endpoint: str, tls: Tls | None) -> grpc.aio.Channel:
    scheme, _, address = endpoint.rpartition("://")
    if scheme != "https":
        return grpc.aio.insecure_channel(address, options=OPTIONS)
    if tls is None:
        raise ValueError(f"{endpoint} needs the certificate of its authority")
    return grpc.aio.secure_channel(address, tls.credentials(), options=OPTIONS)
