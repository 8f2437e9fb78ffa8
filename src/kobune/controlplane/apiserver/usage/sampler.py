"""Asks kubelets what they use, no more often than needed and only while somebody wants to know."""

import asyncio
import logging
from collections.abc import Iterable, Mapping

import orjson

from kobune.api.clock import Clock
from kobune.api.errors import ApiError, Json
from kobune.controlplane.apiserver.kubelets import Kubelets, url_of
from kobune.controlplane.apiserver.usage.samples import Sample, Window, read_summary

log = logging.getLogger(__name__)

RESOLUTION_SECONDS = 15.0  # A look stays good for so long. Source: metrics-server --metric-resolution.
LONGEST_WINDOW_SECONDS = 60.0  # Cpu over a longer time is no longer what is used now.
SHORTEST_WINDOW_SECONDS = 1.0
ANSWER_SECONDS = 10.0  # Source: metrics-server --kubelet-request-timeout.
AT_ONCE = 64  # Kubelets asked at the same time.


class UsageSampler:
    def __init__(self, kubelets: Kubelets, clock: Clock) -> None:
        self._kubelets = kubelets
        self._clock = clock
        self._windows: dict[str, Window] = {}  # By the kubelet's endpoint; simulated nodes share one.
        self._locks: dict[str, asyncio.Lock] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def windows(self, nodes: Iterable[Json]) -> Mapping[str, Window]:
        """What is known of these nodes now, by name; kubelets that do not answer are left out."""
        endpoints: dict[str, Json] = {}
        names: dict[str, str] = {}
        for node in nodes:
            try:
                endpoint = url_of(node, "/stats/summary", ()).authority
            except ApiError:
                continue  # Not yet heard of.
            endpoints.setdefault(endpoint, node)
            names[node["metadata"]["name"]] = endpoint
        async with asyncio.TaskGroup() as group:
            asked = {endpoint: group.create_task(self._window(endpoint, node)) for endpoint, node in endpoints.items()}
        found = {endpoint: window for endpoint, task in asked.items() if (window := task.result()) is not None}
        return {name: found[endpoint] for name, endpoint in names.items() if endpoint in found}

    async def _window(self, endpoint: str, node: Json) -> Window | None:
        async with self._locks.setdefault(endpoint, asyncio.Lock()):
            window = self._windows.get(endpoint)
            age = self._clock.monotonic() - window.last.moment if window is not None else LONGEST_WINDOW_SECONDS
            if window is not None and age < (RESOLUTION_SECONDS if window.is_complete else SHORTEST_WINDOW_SECONDS):
                return window
            before = window.last if window is not None and age < LONGEST_WINDOW_SECONDS else None
            last = await self._look(node)
            if last is None:
                self._windows.pop(endpoint, None)
                return None
            window = Window(last, before)
            if before is None and not window.is_complete:
                await self._clock.sleep(SHORTEST_WINDOW_SECONDS)
                again = await self._look(node)
                window = Window(again, last) if again is not None else window
            self._windows[endpoint] = window
            return window

    async def _look(self, node: Json) -> Sample | None:
        try:
            async with self._room, asyncio.timeout(ANSWER_SECONDS):
                pieces = await self._kubelets.get(node, "/stats/summary", ())
                body = b"".join([piece async for piece in pieces])
            summary: Json = orjson.loads(body)
            return read_summary(summary, self._clock.now(), self._clock.monotonic())
        except (ApiError, OSError, TimeoutError, ValueError, KeyError) as error:
            log.warning("no usage of node %s: %s", node["metadata"]["name"], error)
            return None
