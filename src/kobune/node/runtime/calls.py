"""gRPC calls by name, over one channel to a runtime's socket; failures become RuntimeFailure."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kobune.client.grpc_calls import close_channel, is_cancelled
from kobune.node.runtime.runtime import RuntimeFailure

M = TypeVar("M", bound=Message)

MAX_MESSAGE_BYTES = 16 << 20  # Source: upstream kubelet, maxMsgSize.
CALL_SECONDS = 120.0  # Source: upstream kubelet, runtimeRequestTimeout (2 minutes).


class NotPresent(RuntimeFailure):
    """The runtime does not know the container, sandbox or image."""


class NotOffered(RuntimeFailure):
    """The runtime does not offer this call."""


class Calls:
    """The methods that `files` describe. Made inside a running event loop, which it then belongs to."""

    def __init__(self, socket: Path, *files: FileDescriptor) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"unix://{socket}",
            options=[
                # The default authority of a unix socket is its path, which Go's HTTP/2 server refuses.
                ("grpc.default_authority", "localhost"),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                # A runtime that is just starting is there in a moment; gRPC would look again after a second.
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 1000),
                # One channel per socket: two nodes' runtimes must never share one.
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self._under_way: set[grpc.aio.Call] = set()
        self._stubs: dict[str, Callable[..., Any]] = {
            method.name: self._stub(method)
            for file in files
            for service in file.services_by_name.values()
            for method in service.methods
        }

    async def call(self, method: str, request: Message, answer: type[M], *, seconds: float = CALL_SECONDS) -> M:
        """The answer of a unary method. Raises NotPresent, NotOffered, TimeoutError or plain RuntimeFailure."""
        call = self._stubs[method](request, timeout=seconds)
        self._under_way.add(call)
        try:
            response: M = await call
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from None
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise RuntimeFailure("the connection to the runtime has been closed") from None
        finally:
            self._under_way.discard(call)
        return response

    async def stream(self, method: str, request: Message, answer: type[M]) -> AsyncIterator[M]:
        """The answers of a streaming method, until the runtime ends it."""
        call = self._stubs[method](request)
        self._under_way.add(call)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from None
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise RuntimeFailure("the connection to the runtime has been closed") from None
        finally:
            call.cancel()
            self._under_way.discard(call)

    async def close(self) -> None:
        """End whatever is under way; returns when nothing of it comes to the event loop any more."""
        await close_channel(self._channel, self._under_way)

    def _stub(self, method: MethodDescriptor) -> Callable[..., Any]:
        kind = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        stub: Callable[..., Any] = kind(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        return stub


def _failure(error: grpc.aio.AioRpcError) -> Exception:
    message = error.details() or str(error.code())
    kinds: dict[grpc.StatusCode, type[Exception]] = {
        grpc.StatusCode.NOT_FOUND: NotPresent,
        grpc.StatusCode.UNIMPLEMENTED: NotOffered,
        grpc.StatusCode.DEADLINE_EXCEEDED: TimeoutError,
    }
    return kinds.get(error.code(), RuntimeFailure)(message)
