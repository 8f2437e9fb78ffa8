"""What the volume types share: what they are given, and how they fail."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from kobune.api.clock import Clock
from kobune.client.client import Client
from kobune.node.kubelet.fields import Place
from kobune.node.kubelet.pod import Pod, Volume
from kobune.node.kubelet.sources import Sources
from kobune.node.kubelet.volumes.mounts import Mounter

T = TypeVar("T")


class Offload(Protocol):
    """Runs a blocking call without holding up the event loop, as asyncio.to_thread."""

    async def __call__(self, call: Callable[..., T], /, *args: Any, **options: Any) -> T: ...


class VolumeProblem(Exception):
    """The volume cannot be set up now; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Request:
    """One volume of one pod, to be set up at `path` (which may have been done before)."""

    pod: Pod
    volume: Volume
    path: Path
    place: Place
    sources: Sources
    client: Client
    mounter: Mounter
    clock: Clock
    offload: Offload

    @property
    def fs_group(self) -> int | None:
        security = self.pod.spec.security_context
        return security.fs_group if security else None
