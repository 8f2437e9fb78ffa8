"""The kubelet endpoint of all simulated nodes: logs, exec, attach and usage of pods that have no containers."""

import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from kobune.api.errors import Json
from kobune.api.objects.meta import Key
from kobune.api.quantity import cpu_millicores, to_bytes
from kobune.api.timestamps import format_time
from kobune.node.simulator.life import Life
from kobune.node.simulator.simulator import Simulator
from kobune.node.simulator.views import SimContainer, SimPod

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDOUT, ERROR = b"\1", b"\3"  # Channel numbers. Source: upstream remotecommand protocol.


@asynccontextmanager
async def serve(simulator: Simulator, sock: socket.socket, tls: ssl.SSLContext | None) -> AsyncIterator[str]:
    """Serve on a bound socket; yields HOST:PORT for the nodes' annotation. `tls` should demand a client certificate."""
    application = web.Application()
    pod = "/{namespace}/{pod}/{container}"
    kubelet = _Kubelet(simulator)
    application.add_routes([
        web.get("/healthz", _healthz),
        web.get("/stats/summary", kubelet.stats),
        web.get(f"/containerLogs{pod}", kubelet.logs),
        web.get(f"/exec{pod}", kubelet.exec),
        web.get(f"/attach{pod}", kubelet.exec),
    ])  # fmt: skip
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, sock, ssl_context=tls).start()
        host, port = sock.getsockname()[:2]
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok")


class _Kubelet:
    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def logs(self, request: web.Request) -> web.Response:
        pod, container, life = self._find(request)
        if pod.status.phase == "Pending":
            text = f'container "{container.name}" in pod "{pod.name}" is waiting to start: ContainerCreating'
            raise web.HTTPBadRequest(text=text)
        line = life.log or f"{pod.name}/{container.name} is simulated: no process runs behind this line"
        if request.query.get("timestamps") == "true":
            line = f"{format_time(pod.status.start_time)} {line}" if pod.status.start_time else line
        empty = request.query.get("tailLines") == "0" or request.query.get("previous") == "true"
        return web.Response(text="" if empty else f"{line}\n")

    async def exec(self, request: web.Request) -> web.StreamResponse:
        """Says that there is nothing to run in, and fails as a command that cannot be found."""
        pod, container, _ = self._find(request)
        channel = web.WebSocketResponse(protocols=PROTOCOLS)
        if not channel.can_prepare(request).ok:
            raise web.HTTPBadRequest(text="simulated pods take WebSocket connections only")
        await channel.prepare(request)
        command = " ".join(request.query.getall("command", ["attach"]))
        text = f"{pod.name}/{container.name} is simulated: {command!r} was not run\n"
        await channel.send_bytes(STDOUT + text.encode())
        await channel.send_bytes(ERROR + json.dumps(_not_run()).encode())
        await channel.close()
        return channel

    async def stats(self, _: web.Request) -> web.Response:
        """Upstream's summary, reduced to what metrics come from; of all nodes, since they share one endpoint."""
        pods = []
        for key, pod in self._simulator.pods.items.items():
            life = self._simulator.life_of(key)
            if life is not None and pod.status.phase == "Running":
                pods.append({
                    "podRef": {"name": key.name, "namespace": key.namespace, "uid": pod.uid},
                    "containers": [
                        {
                            "name": container.name,
                            "cpu": {"usageNanoCores": usage(container, life)[0] * 1_000_000},
                            "memory": {"workingSetBytes": usage(container, life)[1]},
                        }
                        for container in pod.spec.containers
                    ],
                })  # fmt: skip
        return web.json_response({"pods": pods})

    def _find(self, request: web.Request) -> tuple[SimPod, SimContainer, Life]:
        where = request.match_info
        key = Key(where["namespace"], where["pod"])
        pod, life = self._simulator.pods.get(key), self._simulator.life_of(key)
        if pod is None or life is None:
            raise web.HTTPNotFound(text=f'pod "{key.name}" not found')
        containers = [*pod.spec.init_containers, *pod.spec.containers]
        container = next((each for each in containers if each.name == where["container"]), None)
        if container is None:
            raise web.HTTPNotFound(text=f"container not found ({where['container']!r})")
        return pod, container, life


def usage(container: SimContainer, life: Life) -> tuple[int, int]:
    """What a running container uses: (millicores, bytes), by its pod's annotations or else its requests."""
    requests = container.resources.requests
    cpu = life.cpu_millicores if life.cpu_millicores is not None else cpu_millicores(requests.get("cpu", 0))
    memory = life.memory_bytes if life.memory_bytes is not None else to_bytes(requests.get("memory", 0))
    return cpu, memory


def _not_run() -> Json:
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": "command terminated with non-zero exit code: simulated pods run no commands",
        "details": {"causes": [{"reason": "ExitCode", "message": "127"}]},
    }
