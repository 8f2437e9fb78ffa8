"""A namespace that lives as long as a test."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from kobune.api.objects.core import Namespace
from kobune.api.objects.meta import Key
from kobune.client.client import Client
from kobune.client.kubeconfig import load_kubeconfig

T = TypeVar("T")
GONE_SECONDS = 30.0


@contextmanager
def fresh_namespace(kubeconfig: Path) -> Iterator[str]:
    """A new namespace; at the end it is deleted, and everything in it is gone when this returns."""

    async def create(client: Client) -> str:
        return (await client.create(Namespace, {"metadata": {"generateName": "test-"}})).name

    async def delete(client: Client) -> None:
        await client.delete(Namespace, Key("", name))
        this = f"metadata.name={name}"
        async with asyncio.timeout(GONE_SECONDS):
            found = await client.list(Namespace, fields=this)
            if not found.items:
                return
            async for event in client.watch(Namespace, revision=found.revision, fields=this):
                if event.type == "DELETED":
                    return

    name = _with_client(kubeconfig, create)
    try:
        yield name
    finally:
        _with_client(kubeconfig, delete)


def _with_client(kubeconfig: Path, work: Callable[[Client], Awaitable[T]]) -> T:
    async def run() -> T:
        client = Client(load_kubeconfig(kubeconfig))
        try:
            return await work(client)
        finally:
            await client.transport.close()

    return asyncio.run(run())
