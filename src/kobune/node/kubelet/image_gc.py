"""Removes images that no container uses when the disk fills up. Source: upstream image_gc_manager."""

import logging
from collections.abc import Callable, Mapping, Sequence

from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.node.kubelet.config import KubeletConfig
from kobune.node.kubelet.images import BUILTIN_REGISTRY
from kobune.node.kubelet.runtime_state import RuntimeState
from kobune.node.runtime.runtime import Image, Runtime, RuntimeFailure

log = logging.getLogger(__name__)


class ImageGC:
    """The collector of one node's images.

    Args:
        disk: the file system that holds images, with `capacityBytes` and `availableBytes`.
        used: when each image was last asked for, by id, on the monotonic clock.
        notify: told an event about the node: (reason, message).
    """

    def __init__(
        self,
        config: KubeletConfig,
        runtime: Runtime,
        state: RuntimeState,
        disk: Callable[[], Json],
        used: Mapping[str, float],
        notify: Callable[[str, str], None],
        *,
        clock: Clock,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._state = state
        self._disk = disk
        self._used = used
        self._notify = notify
        self._clock = clock
        self._seen: dict[str, float] = {}  # When an image was first noticed.

    async def run(self) -> None:
        """Look now and then, for ever."""
        while True:
            try:
                await self.collect()
            except (RuntimeFailure, TimeoutError) as error:
                log.warning("images not collected", extra={"error": str(error)})
            await self._clock.sleep(self._config.image_gc_seconds)

    async def collect(self) -> int:
        """Free space down to the low mark when the high mark is passed; the bytes freed."""
        disk = self._disk()
        capacity, available = disk.get("capacityBytes", 0), disk.get("availableBytes", 0)
        images = await self._runtime.list_images()
        now = self._clock.monotonic()
        self._seen = {image.id: self._seen.get(image.id, now) for image in images}
        if not capacity or 100 - available * 100 // capacity < self._config.image_gc_high_percent:
            return 0
        wanted = capacity * (100 - self._config.image_gc_low_percent) // 100 - available
        return await self.free(wanted, images, now)

    async def free(self, wanted: int, images: Sequence[Image], now: float) -> int:
        """Remove unused images, the longest unused first, until `wanted` bytes are free; the bytes freed."""
        in_use = {each.image_id for each in self._state.containers()} | {
            each.image for each in self._state.containers()
        }
        freed = 0
        for image in sorted(images, key=lambda each: self._last_use(each, now)):
            if freed >= wanted:
                break
            names = {image.id, *image.tags, *image.digests}
            is_young = now - self._seen.get(image.id, now) < self._config.image_minimum_age_seconds
            if names & in_use or is_young or any(tag.startswith(f"{BUILTIN_REGISTRY}/") for tag in image.tags):
                continue
            await self._runtime.remove_image(image.id)
            freed += image.size_bytes
        if freed < wanted:
            words = f"Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
            self._notify("FreeDiskSpaceFailed", words)
        return freed

    def _last_use(self, image: Image, now: float) -> float:
        return self._used.get(image.id, self._seen.get(image.id, now))
