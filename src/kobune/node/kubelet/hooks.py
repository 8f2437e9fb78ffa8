"""Lifecycle hooks: what runs right after a container's start and right before its end."""

import aiohttp

from kobune.api.clock import Clock
from kobune.node.kubelet.pod import Container, Handler, HTTPGetAction
from kobune.node.runtime.runtime import Runtime, RuntimeFailure

HOUR = 3600.0  # A hook's own limit; preStop hooks are cut off by the grace period long before.
BODY_SHOWN = 10 << 10  # Bytes of an answer that may be shown. Source: upstream maxRespBodyLength.


class HookFailed(Exception):
    """The hook did not succeed."""


def resolve_port(container: Container, port: int | str) -> int:
    """The number of a port given by number or by the name of one of the container's ports.

    Raises:
        ValueError: no port of that name.
    """
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    for each in container.ports:
        if each.name == port:
            return each.container_port
    raise ValueError(f"couldn't find port: {port} in container {container.name}")


def url_of(action: HTTPGetAction, container: Container, pod_ip: str) -> str:
    host = action.host or pod_ip
    if ":" in host:
        host = f"[{host}]"
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    return f"{action.scheme.lower()}://{host}:{resolve_port(container, action.port)}{path}"


async def run_hook(
    runtime: Runtime, container_id: str, container: Container, handler: Handler, pod_ip: str, *, clock: Clock
) -> None:
    """Run the handler to its end.

    Raises:
        HookFailed: it did not succeed; the message is upstream's and may hold the hook's output.
    """
    if handler.exec is not None:
        command = handler.exec.command
        try:
            code, out, err = await runtime.exec_sync(container_id, command, timeout_seconds=HOUR)
        except (RuntimeFailure, TimeoutError) as error:
            raise HookFailed(
                f"Exec lifecycle hook ({command}) for Container {container.name!r} failed: {error}"
            ) from error
        if code:
            text = (out + err).decode(errors="replace")
            raise HookFailed(
                f"Exec lifecycle hook ({command}) for Container {container.name!r} exited with {code}: {text!r}"
            )
    elif handler.sleep is not None:
        await clock.sleep(handler.sleep.seconds)
    elif handler.http_get is not None:
        await _get(container, handler.http_get, pod_ip)
    elif handler.tcp_socket is not None:
        raise HookFailed("tcpSocket is not a hook")


async def _get(container: Container, action: HTTPGetAction, pod_ip: str) -> None:
    try:
        url = url_of(action, container, pod_ip)
        headers = [("User-Agent", "kube-lifecycle/1.36"), *((each.name, each.value) for each in action.http_headers)]
        # The certificate of a pod is the pod's own affair. Source: upstream, InsecureSkipVerify.
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HOUR)) as session,
            session.get(url, headers=headers, ssl=False, allow_redirects=True) as answer,
        ):
            await answer.content.read(BODY_SHOWN)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise HookFailed(
            f"HTTP lifecycle hook ({action.path}) for Container {container.name!r} failed: {error}"
        ) from error
