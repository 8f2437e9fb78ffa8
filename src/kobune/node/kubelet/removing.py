"""Removes what is left of containers and pods: from the runtime, from the node's disk, from the API server."""

import contextlib
import logging
import shutil

from kobune.api.errors import ApiError, NotFound
from kobune.node.kubelet.containers import log_directory
from kobune.node.kubelet.pod import Pod
from kobune.node.kubelet.services import Services
from kobune.node.kubelet.starting import message_file
from kobune.node.kubelet.status_writer import StatusWriter
from kobune.node.runtime.runtime import Container, RuntimeFailure

log = logging.getLogger(__name__)

RETRY_SECONDS = 2.0


async def remove_record(services: Services, pod: Pod, record: Container) -> None:
    """Forget a dead container with its log and its message."""
    with contextlib.suppress(RuntimeFailure, TimeoutError):
        await services.runtime.remove_container(record.id)
        services.state.forget(record.id)
    logs = log_directory(pod, services.config) / record.name
    message = message_file(services, pod.uid, record.name, record.attempt)
    for path in (*logs.glob(f"{record.attempt}.log*"), message):
        path.unlink(missing_ok=True)


async def remove_old_sandboxes(services: Services, pod: Pod) -> None:
    """Dead sandboxes stay only as long as they hold the last traces of containers."""
    state = services.state.pod(pod.uid)
    for sandbox in state.sandboxes[1:]:
        if not sandbox.ready and not any(each.sandbox_id == sandbox.id for each in state.containers):
            with contextlib.suppress(RuntimeFailure, TimeoutError):
                await services.runtime.remove_sandbox(sandbox.id)
                services.state.forget(sandbox.id)


async def remove_from_runtime(services: Services, pod: Pod) -> None:
    """Remove all containers and sandboxes of the pod; tries until it succeeds."""
    while True:
        state = services.state.pod(pod.uid)
        try:
            for record in state.containers:
                await services.runtime.remove_container(record.id)
                services.state.forget(record.id)
            for sandbox in state.sandboxes:
                await services.runtime.stop_sandbox(sandbox.id)
                await services.runtime.remove_sandbox(sandbox.id)
                services.state.forget(sandbox.id)
            return
        except (RuntimeFailure, TimeoutError) as error:
            log.warning("pod not removed", extra={"pod": str(pod.key), "error": str(error)})
            await services.clock.sleep(RETRY_SECONDS)


async def remove_logs(services: Services, pod: Pod) -> None:
    await services.offload(shutil.rmtree, log_directory(pod, services.config), ignore_errors=True)


async def delete_object(services: Services, pod: Pod, writer: StatusWriter) -> None:
    """Delete the pod from the API server once its last status is written there; tries until it succeeds."""
    await writer.flush()
    while writer.uid:
        try:
            await services.client.delete(Pod, pod.key, uid=writer.uid, grace_seconds=0)
            return
        except NotFound:
            return
        except ApiError as error:
            if error.code == 409:
                return  # Another pod of that name has taken its place.
            log.info("pod not deleted", extra={"pod": str(pod.key), "error": str(error)})
            await services.clock.sleep(RETRY_SECONDS)
