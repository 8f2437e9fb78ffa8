"""Images for containers: by pull policy, a few at a time, with growing pauses after failures. Source: upstream images."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from kobune.api.clock import Clock
from kobune.client.events import EventRecorder
from kobune.node.kubelet.backoff import BackOff
from kobune.node.kubelet.pod import Container, Pod, field_path
from kobune.node.runtime.runtime import Image, ImageNotFound, Runtime, RuntimeFailure

BUILTIN_REGISTRY = "kobune.local"  # Where images made on the node itself are said to be from.

Logins = Callable[[], Awaitable[Mapping[str, Mapping[str, str]]]]  # By registry.

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
# Without a dot or a port the first part is no host but belongs to the path, unless it is this one name.
_HOST = rf"(?:(?:localhost|{_LABEL}(?:\.{_LABEL})+|{_LABEL}(?:\.{_LABEL})*(?=:))(?::[0-9]+)?/)?"
_PATH = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"({_HOST}{_PATH}(?:/{_PATH})*)(?::([\w][\w.-]{{0,127}}))?(?:@([a-z0-9]+:[0-9a-fA-F]{{32,}}))?"
)


class ImageProblem(Exception):
    """The container must wait: `reason` as in its state (ErrImagePull, …), `retry_seconds` until the next attempt."""

    def __init__(self, reason: str, message: str, retry_seconds: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_seconds = retry_seconds


class Images:
    """The node's images, from the containers' point of view."""

    def __init__(self, runtime: Runtime, recorder: EventRecorder, clock: Clock, *, parallel: int) -> None:
        self._runtime = runtime
        self._recorder = recorder
        self._clock = clock
        self._backoff = BackOff()
        self._failures: dict[tuple[str, str], tuple[float, str]] = {}  # (when, words) by (pod uid, image).
        self._pulls = asyncio.Semaphore(parallel)
        self.used: dict[str, float] = {}  # When an image (by id) was last asked for; for garbage collection.

    async def ensure(self, pod: Pod, container: Container, logins: Logins) -> Image:
        """The container's image on this node, pulled when the policy asks for it.

        Raises:
            ImageProblem: it cannot be had now.
        """
        image = await self._ensure(pod, container, logins)
        self.used[image.id] = self._clock.monotonic()
        return image

    async def _ensure(self, pod: Pod, container: Container, logins: Logins) -> Image:
        reference, where = container.image, field_path(pod, container.name)
        if _REFERENCE.fullmatch(reference) is None:
            words = f'Failed to apply default image tag "{reference}": couldn\'t parse image name "{reference}": invalid reference format'
            self._recorder.warning(pod, "InspectFailed", words, field_path=where)
            raise ImageProblem("InvalidImageName", words, self._backoff.failed((pod.uid, reference), self._now()))
        # What is built into the node has no registry behind its name: there is nothing newer to be had.
        is_builtin = registry_of(reference) == BUILTIN_REGISTRY
        if container.image_pull_policy != "Always" or is_builtin:
            try:
                image = await self._runtime.find_image(reference)
            except (RuntimeFailure, TimeoutError) as error:
                words = f'Failed to inspect image "{reference}": {error}'
                self._recorder.warning(pod, "InspectFailed", words, field_path=where)
                raise ImageProblem("ImageInspectError", words, 10) from error
            if image is not None:
                words = f'Container image "{reference}" already present on machine and can be accessed by the pod'
                self._recorder.normal(pod, "Pulled", words, field_path=where)
                return image
            if container.image_pull_policy == "Never":
                words = f'Container image "{reference}" is not present with pull policy of Never'
                self._recorder.warning(pod, "ErrImageNeverPull", words, field_path=where)
                raise ImageProblem("ErrImageNeverPull", words, 10)
        return await self._pull(pod, reference, where, logins)

    async def _pull(self, pod: Pod, reference: str, where: str, logins: Logins) -> Image:
        key = (pod.uid, reference)
        failed = self._failures.get(key)
        if failed is not None:
            wait = failed[0] + self._backoff.pause(key) - self._now()
            if wait > 0:
                words = f'Back-off pulling image "{reference}"'
                self._recorder.normal(pod, "BackOff", words, field_path=where)
                raise ImageProblem("ImagePullBackOff", f"{words}: {failed[1]}", wait)
        self._recorder.normal(pod, "Pulling", f'Pulling image "{reference}"', field_path=where)
        asked = self._clock.monotonic()
        async with self._pulls:
            began = self._clock.monotonic()
            try:
                image = await self._pull_with(reference, await logins())
            except (RuntimeFailure, TimeoutError) as error:
                self._recorder.warning(pod, "Failed", f'Failed to pull image "{reference}": {error}', field_path=where)
                self._backoff.failed(key, self._now())
                self._failures[key] = (self._now(), f"ErrImagePull: {error}")
                # Looked at again soon, so that the state says ImagePullBackOff while the pause lasts.
                raise ImageProblem("ErrImagePull", str(error), min(5, self._backoff.pause(key))) from error
        self._failures.pop(key, None)
        ended = self._clock.monotonic()
        self._recorder.normal(
            pod,
            "Pulled",
            f'Successfully pulled image "{reference}" in {duration(ended - began)}'
            f" ({duration(ended - asked)} including waiting). Image size: {image.size_bytes} bytes.",
            field_path=where,
        )
        return image

    async def _pull_with(self, reference: str, logins: Mapping[str, Mapping[str, str]]) -> Image:
        login = logins.get(registry_of(reference))
        if login is not None:
            with suppress(ImageNotFound):
                return await self._runtime.pull_image(reference, auth=login)
        return await self._runtime.pull_image(reference)

    def forget(self, pod_uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._failures if key[0] == pod_uid]:
            del self._failures[key]
            self._backoff.forget(key)

    def _now(self) -> float:
        return self._clock.monotonic()


def registry_of(reference: str) -> str:
    """The registry's host: `docker.io` where the reference names none."""
    first, slash, _ = reference.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def duration(seconds: float) -> str:
    """As Go prints a duration cut to milliseconds: `310ms`, `1.204s`, `2m3.5s`."""
    millis = int(seconds * 1000)
    if millis < 1000:
        return f"{millis}ms" if millis else "0s"
    minutes, millis = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    rest = f"{millis / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{hours}h{minutes}m{rest}" if hours else f"{minutes}m{rest}" if minutes else rest
