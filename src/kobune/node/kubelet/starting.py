"""Starts what a pod consists of: its sandbox, then container by container."""

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path

from kobune.api.errors import ApiError
from kobune.node.kubelet.containers import container_spec, log_directory, next_attempt, sandbox_spec
from kobune.node.kubelet.dns import pod_hostname, pod_resolver, render_hosts
from kobune.node.kubelet.ending import Grace, end_container
from kobune.node.kubelet.environment import ConfigError, environment_sources, make_environment
from kobune.node.kubelet.hooks import HookFailed, run_hook
from kobune.node.kubelet.pod import Container, Pod, field_path
from kobune.node.kubelet.services import Services
from kobune.node.kubelet.status import Waiting
from kobune.node.kubelet.volumes.volume import VolumeProblem
from kobune.node.runtime.runtime import Image, Mount, RuntimeFailure, Sandbox, SandboxSpec

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0  # After a failed start. Source: upstream backOffPeriod.
MESSAGE_LIMIT = 4096  # Bytes of a termination message. Source: upstream MaxContainerTerminationMessageLength.


class StartFailed(Exception):
    """The container did not start; `waiting` is its state until the next attempt."""

    def __init__(self, waiting: Waiting, retry_seconds: float = RETRY_SECONDS) -> None:
        super().__init__(waiting.message)
        self.waiting = waiting
        self.retry_seconds = retry_seconds


def make_sandbox_spec(services: Services, pod: Pod, attempt: int) -> SandboxSpec:
    resolver = pod_resolver(pod, services.config, services.host_resolver())
    return sandbox_spec(pod, services.config, resolver, attempt=attempt)


async def start_sandbox(services: Services, pod: Pod, attempt: int) -> Sandbox:
    """A new sandbox with its addresses. Raises RuntimeFailure."""
    directory = log_directory(pod, services.config)
    directory.mkdir(parents=True, exist_ok=True)
    services.cgroups.make(pod)
    sandbox_id = await services.runtime.run_sandbox(make_sandbox_spec(services, pod, attempt))
    sandbox = await services.state.refresh_sandbox(sandbox_id)
    if sandbox is None:
        raise RuntimeFailure(f"sandbox {sandbox_id} is gone")
    return sandbox


async def find_image(services: Services, pod: Pod, container: Container) -> Image:
    """The container's image, pulled when need be. Raises ImageProblem."""

    async def logins() -> Mapping[str, Mapping[str, str]]:
        names = [each.name for each in pod.spec.image_pull_secrets]
        return await services.sources.registry_logins(pod.namespace, names)

    return await services.images.ensure(pod, container, logins)


async def start_container(
    services: Services,
    pod: Pod,
    container: Container,
    sandbox: Sandbox,
    volumes: Mapping[str, Path],
    image: Image,
) -> str:
    """Create and start the container; its id. The postStart hook is the caller's.

    Raises:
        StartFailed: with the events already recorded.
    """
    runtime, where = services.runtime, field_path(pod, container.name)
    last = services.state.pod(pod.uid).newest(container.name)
    logs = log_directory(pod, services.config) / container.name
    attempt = last.attempt + 1 if last is not None else next_attempt(logs)
    place = services.place(tuple(sandbox.ips) or ((services.config.node_ip,) if services.config.node_ip else ()))
    try:
        data = await services.sources.data(pod.namespace, environment_sources([container]))
        variables = services.service_variables(pod.namespace, pod.spec.enable_service_links)
        env = make_environment(pod, container, data, variables, place)
        mounts = services.volumes.mounts(pod, container, volumes, env)
        mounts += _managed_files(services, pod, container, mounts, attempt, sandbox)
        logs.mkdir(parents=True, exist_ok=True)
        spec = container_spec(pod, container, services.config, image=image, attempt=attempt, env=env, mounts=mounts)
    except (ConfigError, VolumeProblem, ApiError, OSError) as error:
        services.recorder.warning(pod, "Failed", f"Error: {error}", field_path=where)
        raise StartFailed(Waiting("CreateContainerConfigError", str(error))) from error
    try:
        container_id = await runtime.create_container(
            sandbox.id, spec, make_sandbox_spec(services, pod, sandbox.attempt)
        )
    except (RuntimeFailure, TimeoutError) as error:
        services.recorder.warning(pod, "Failed", f"Error: {error}", field_path=where)
        raise StartFailed(Waiting("CreateContainerError", str(error))) from error
    services.recorder.normal(pod, "Created", "Container created", field_path=where)
    try:
        await runtime.start_container(container_id)
    except (RuntimeFailure, TimeoutError) as error:
        services.recorder.warning(pod, "Failed", f"Error: {error}", field_path=where)
        with contextlib.suppress(RuntimeFailure, TimeoutError):
            await services.state.refresh_container(container_id)
        raise StartFailed(Waiting("RunContainerError", str(error))) from error
    services.recorder.normal(pod, "Started", "Container started", field_path=where)
    await services.state.refresh_container(container_id)
    return container_id


async def run_post_start(services: Services, pod: Pod, container: Container, container_id: str, pod_ip: str) -> None:
    """Run the postStart hook; a container whose hook fails is ended. Raises StartFailed."""
    if container.lifecycle is None or container.lifecycle.post_start is None:
        return
    handler = container.lifecycle.post_start
    try:
        await run_hook(services.runtime, container_id, container, handler, pod_ip, clock=services.clock)
    except HookFailed as error:
        where = field_path(pod, container.name)
        services.recorder.warning(pod, "FailedPostStartHook", "PostStartHook failed", field_path=where)
        record = await services.state.refresh_container(container_id)
        if record is not None:
            grace = Grace(pod.spec.termination_grace_period_seconds)
            with contextlib.suppress(RuntimeFailure, TimeoutError):
                await end_container(services, pod, record, message="FailedPostStartHook", grace=grace, pod_ip=pod_ip)
        raise StartFailed(Waiting("PostStartHookError", str(error))) from error


def _managed_files(
    services: Services, pod: Pod, container: Container, mounts: list[Mount], attempt: int, sandbox: Sandbox
) -> list[Mount]:
    """The hosts file and the file for the termination message, unless the container mounts its own there."""
    directory = services.config.pods_dir / pod.uid
    taken = {mount.container_path.rstrip("/") for mount in mounts}
    result = []
    if "/etc/hosts" not in taken and not (pod.spec.host_network and "/etc" in taken):
        hosts = directory / "etc-hosts"
        hosts.parent.mkdir(parents=True, exist_ok=True)
        host_file = ""
        if pod.spec.host_network:
            with contextlib.suppress(OSError):
                host_file = Path("/etc/hosts").read_text()
        name = pod_hostname(pod, services.config.cluster_domain)
        hosts.write_text(render_hosts(pod, sandbox.ips, name, host_file))
        hosts.chmod(0o644)
        result.append(Mount("/etc/hosts", str(hosts)))
    path = container.termination_message_path
    if path and path not in taken:
        file = message_file(services, pod.uid, container.name, attempt)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        file.chmod(0o666)  # Whoever the container runs as must be able to write it.
        result.append(Mount(path, str(file)))
    return result


def message_file(services: Services, uid: str, container: str, attempt: int) -> Path:
    """Where a container's termination message lies on the node."""
    return services.config.pods_dir / uid / "containers" / container / f"termination-{attempt}"
