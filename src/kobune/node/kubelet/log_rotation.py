"""Keeps container logs from filling the disk: a few files of bounded size each. Source: upstream container_log_manager."""

import gzip
import logging
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from kobune.api.clock import Clock
from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.containers import log_directory
from kobune.node.kubelet.pod import Pod
from kobune.node.kubelet.runtime_state import RuntimeState
from kobune.node.kubelet.volumes.volume import Offload
from kobune.node.runtime.runtime import Runtime, RuntimeFailure, State

log = logging.getLogger(__name__)


class LogRotation:
    """The logs of one node's running containers."""

    def __init__(
        self,
        config: KubeletConfig,
        runtime: Runtime,
        state: RuntimeState,
        pods: Callable[[], list[Pod]],
        *,
        clock: Clock,
        offload: Offload,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._state = state
        self._pods = pods
        self._clock = clock
        self._offload = offload

    async def run(self) -> None:
        """Look now and then, for ever."""
        while True:
            await self._clock.sleep(self._config.log_check_seconds)
            await self.check()

    async def check(self) -> None:
        """Rotate every log that has grown too large."""
        for pod in self._pods():
            directory = log_directory(pod, self._config)
            for record in self._state.pod(pod.uid).containers:
                path = directory / record.name / f"{record.attempt}.log"
                if record.state is State.RUNNING and _size(path) > self._config.log_max_bytes:
                    await self._rotate(path, record.id)

    async def _rotate(self, path: Path, container_id: str) -> None:
        moment = self._clock.now()
        try:
            await self._offload(make_room, path, self._config.log_max_files)
            moved = await self._offload(path.rename, rotated_name(path, moment))
            try:
                await self._runtime.reopen_log(container_id)
            except (RuntimeFailure, TimeoutError):
                await self._offload(moved.rename, path)  # The container goes on writing there; better large than lost.
                raise
        except (OSError, RuntimeFailure) as error:
            log.warning("log not rotated", extra={"path": str(path), "error": str(error)})


def rotated_name(path: Path, moment: datetime) -> Path:
    """`0.log.20260105-080000`"""
    return path.with_name(f"{path.name}.{moment:%Y%m%d-%H%M%S}")


def make_room(path: Path, files: int) -> None:
    """Compress all rotated logs but those being read, and delete the oldest, so that with the present one and the one to
    come there are at most `files`."""
    rotated = sorted(each for each in path.parent.glob(f"{path.name}.*") if each.suffix != ".tmp")
    for old in rotated[: max(0, len(rotated) - (files - 2))]:
        old.unlink(missing_ok=True)
        rotated.remove(old)
    for each in rotated:
        if each.suffix != ".gz":
            _compress(each)


def _compress(path: Path) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    with path.open("rb") as source, gzip.open(temporary, "wb") as target:
        shutil.copyfileobj(source, target)
    temporary.rename(path.with_name(f"{path.name}.gz"))
    path.unlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
