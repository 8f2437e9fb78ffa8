"""Ends containers: preStop hook, TERM, grace period, KILL; sidecars after the containers they serve."""

import asyncio
import logging
from collections.abc import Sequence

from kobune.node.kubelet.containers import pre_stop_of
from kobune.node.kubelet.hooks import HookFailed, run_hook
from kobune.node.kubelet.pod import Container, Pod, field_path
from kobune.node.kubelet.services import Services
from kobune.node.runtime import runtime as cri
from kobune.node.runtime.runtime import RuntimeFailure, State

log = logging.getLogger(__name__)

MINIMUM_GRACE_SECONDS = 2  # However little is left after a hook. Source: upstream minimumGracePeriodInSeconds.


class Grace:
    """How long containers may take to end; it can only become shorter, and whoever waits learns of it."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.shortened = asyncio.Event()  # Set when `seconds` falls; then there is a new one for the next time.

    def shorten(self, seconds: int) -> None:
        if seconds < self.seconds:
            self.seconds = seconds
            self.shortened.set()
            self.shortened = asyncio.Event()


async def end_container(
    services: Services,
    pod: Pod,
    record: cri.Container,
    *,
    message: str,
    grace: Grace,
    pod_ip: str = "",
    hook: bool = True,
) -> None:
    """End one running container; returns when it has ended, or raises RuntimeFailure."""
    container = pod.find_container(record.name)
    services.recorder.normal(pod, "Killing", message, field_path=field_path(pod, record.name))
    clock = services.clock
    began = clock.monotonic()
    handler = container.lifecycle.pre_stop if container and container.lifecycle else pre_stop_of(record.annotations)
    if hook and handler is not None and grace.seconds > 0:
        try:
            async with asyncio.timeout(grace.seconds):
                shown = container or Container(name=record.name)
                await run_hook(services.runtime, record.id, shown, handler, pod_ip, clock=clock)
        except (HookFailed, TimeoutError) as error:
            log.info("preStop hook failed", extra={"pod": str(pod.key), "container": record.name, "error": str(error)})
            services.recorder.warning(
                pod, "FailedPreStopHook", "PreStopHook failed", field_path=field_path(pod, record.name)
            )
    while True:
        left = max(MINIMUM_GRACE_SECONDS, round(grace.seconds - (clock.monotonic() - began)))
        if await _stop_unless(services, record.id, left, grace.shortened):
            break
    await services.state.refresh_container(record.id)


async def _stop_unless(services: Services, container_id: str, seconds: int, interrupted: asyncio.Event) -> bool:
    """Stop the container; False when the interruption came first and it must be done over with less time."""
    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(_stop(services, container_id, seconds))
        waiting = group.create_task(interrupted.wait())
        await asyncio.wait((stopping, waiting), return_when=asyncio.FIRST_COMPLETED)
        done = stopping.done()
        stopping.cancel()
        waiting.cancel()
    if done and (failure := stopping.result()) is not None:
        raise failure
    return done


async def _stop(services: Services, container_id: str, seconds: int) -> RuntimeFailure | None:
    try:
        await services.runtime.stop_container(container_id, grace_seconds=seconds)
    except (RuntimeFailure, TimeoutError) as failure:
        # Raised inside the group it would come out wrapped.
        return failure if isinstance(failure, RuntimeFailure) else RuntimeFailure(str(failure))
    return None


async def end_pod(services: Services, pod: Pod, grace: Grace, *, pod_ip: str = "", hooks: bool = True) -> None:
    """End all containers, then stop all sandboxes. Raises RuntimeFailure when something would not end."""
    while True:
        state = services.state.pod(pod.uid)
        alive = [each for each in state.containers if each.state in (State.RUNNING, State.UNKNOWN)]
        if not alive:
            break
        order = [each.name for each in pod.spec.init_containers if each.is_sidecar]
        sidecars = sorted((each for each in alive if each.name in order), key=lambda each: -order.index(each.name))
        others = [each for each in alive if each.name not in order]
        batches: Sequence[Sequence[cri.Container]] = [others, *([each] for each in sidecars)]
        for batch in batches:
            await _end_all(services, pod, batch, grace, pod_ip=pod_ip, hooks=hooks)
        # What was being started when the end came may have begun to run meanwhile.
    for sandbox in services.state.pod(pod.uid).sandboxes:
        if sandbox.ready:
            await services.runtime.stop_sandbox(sandbox.id)
            await services.state.refresh_sandbox(sandbox.id)


async def _end_all(
    services: Services, pod: Pod, records: Sequence[cri.Container], grace: Grace, *, pod_ip: str, hooks: bool
) -> None:
    failures: list[Exception] = []

    async def end(record: cri.Container) -> None:
        try:
            await end_container(
                services,
                pod,
                record,
                message=f"Stopping container {record.name}",
                grace=grace,
                pod_ip=pod_ip,
                hook=hooks,
            )
        except (RuntimeFailure, TimeoutError) as failure:
            failures.append(failure)

    async with asyncio.TaskGroup() as group:
        for record in records:
            group.create_task(end(record), name=f"end {record.name}")
    if failures:
        raise failures[0]
