"""The end of a definition: its objects first, then its finalizer."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING

from kobune.api.errors import Json
from kobune.controlplane.apiserver.customresources import status
from kobune.controlplane.apiserver.options import DeleteOptions
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.delete import delete_collection
from kobune.controlplane.apiserver.request import MASTER

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

Write = Callable[[status.Change], Awaitable[None]]
POLL_SECONDS = 0.05  # Doubles up to the longest.
LONGEST_POLL_SECONDS = 5.0


async def end(registry: "Registry", definition: Json, write: Write) -> None:
    """Delete all objects, wait until those with finalizers are gone too, and let the definition go.

    Raises:
        ApiError: what a deletion raises.
    """
    spec = definition["spec"]
    served = registry.custom.find(spec["group"], spec["names"]["plural"])
    if served is None:
        await _let_go(registry, write, "NeverEstablished", "resource was never established")
        return
    kind = served.storage.kind
    pause, is_said = POLL_SECONDS, False
    while items := list((await registry.cache(kind)).list()):
        now = registry.clock.now()
        call = Call(kind, "", "", MASTER, now, verb="deletecollection")
        await delete_collection(registry, call, DeleteOptions(), items)
        if not list((await registry.cache(kind)).list()):
            break
        if not is_said:
            is_said = True
            await write(_in_progress(now))
        await registry.clock.sleep(pause)
        pause = min(pause * 2, LONGEST_POLL_SECONDS)
    await _let_go(registry, write, "InstanceDeletionCompleted", "removed all instances")


def _in_progress(now: datetime) -> status.Change:
    async def say(old: Json) -> Json:
        message = "CustomResource deletion is in progress"
        return status.terminating(old, "True", "InstanceDeletionInProgress", message, now)

    return say


async def _let_go(registry: "Registry", write: Write, reason: str, message: str) -> None:
    async def release(old: Json) -> Json:
        new = status.terminating(old, "False", reason, message, registry.clock.now())
        finalizers = [one for one in new["metadata"].get("finalizers") or () if one != status.FINALIZER]
        metadata = {name: value for name, value in new["metadata"].items() if name != "finalizers"}
        return {**new, "metadata": {**metadata, **({"finalizers": finalizers} if finalizers else {})}}

    await write(release)
