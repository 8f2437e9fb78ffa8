"""Closing the connection to a runtime ends what is under way; other event loops of the process hear nothing of it."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest

from kobune.node.runtime import cri_pb2 as pb
from kobune.node.runtime.calls import Calls
from kobune.node.runtime.runtime import RuntimeFailure


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    """A runtime in which nothing ever happens."""

    def nothing(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        over = threading.Event()
        if context.add_callback(over.set):  # Else it is over already.
            over.wait()
        yield from ()

    def handler(details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method.endswith("/GetContainerEvents"):
            return grpc.unary_stream_rpc_method_handler(nothing)
        if details.method.endswith("/Version"):
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
        return None

    server = grpc.server(ThreadPoolExecutor(20))
    generic = type("Runtime", (grpc.GenericRpcHandler,), {"service": staticmethod(handler)})
    server.add_generic_rpc_handlers((generic(),))
    with TemporaryDirectory() as folder:
        server.add_insecure_port(f"unix:{folder}/socket")
        server.start()
        yield Path(folder, "socket")
        server.stop(None).wait()


async def events(calls: Calls) -> None:
    async for _ in calls.stream("GetContainerEvents", pb.GetEventsRequest(), pb.ContainerEventResponse):
        raise AssertionError("nothing happens")


async def use(socket: Path, pause: float) -> None:
    async with asyncio.timeout(20):
        calls = Calls(socket, pb.DESCRIPTOR)
        await calls.call("Version", pb.VersionRequest(), pb.VersionResponse)
        following = [asyncio.create_task(events(calls)) for _ in range(2)]
        gives_up = asyncio.create_task(events(calls))
        await asyncio.sleep(pause)
        gives_up.cancel()
        await calls.close()
        with pytest.raises(asyncio.CancelledError):
            await gives_up
        for one in following:
            with pytest.raises(RuntimeFailure, match="closed"):
                await one


@pytest.mark.parametrize("pause", [0.0, 0.0003, 0.001, 0.01])
def test_one_event_loop_after_the_other_hears_nothing_of_those_before(
    socket: Path, pause: float, caplog: pytest.LogCaptureFixture
):
    for _ in range(10):
        asyncio.run(use(socket, pause))
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
