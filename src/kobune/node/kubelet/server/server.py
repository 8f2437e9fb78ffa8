"""HTTPS on port 10250: routes to what the node offers, for clients with a certificate of the cluster's authority."""

import asyncio
import logging
import socket as sockets
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web

from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.node.kubelet.config import KubeletConfig, Tls
from kobune.node.kubelet.containers import log_directory
from kobune.node.kubelet.runtime_state import RuntimeState
from kobune.node.kubelet.server.authorization import Authorizer, peer_of
from kobune.node.kubelet.server.logs import parse_options, read_log
from kobune.node.kubelet.server.lookup import Pods, Refused, find_logged, find_pod, find_running
from kobune.node.kubelet.server.manifests import pod_list
from kobune.node.kubelet.server.port_forward import forward
from kobune.node.kubelet.server.stats import Rates, resource_metrics, summary
from kobune.node.kubelet.server.streaming import carry, open_socket, wanted_streams
from kobune.node.runtime.runtime import Runtime, RuntimeFailure, State

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Context(NamedTuple):
    """What the handlers work with."""

    config: KubeletConfig
    runtime: Runtime
    state: RuntimeState
    pods: Pods
    authorizer: Authorizer
    clock: Clock


class KubeletServer:
    """The node's server. `run` serves until cancelled."""

    def __init__(self, context: Context) -> None:
        self._it = context
        self._rates = Rates()
        self._since = context.clock.now()

    def application(self) -> web.Application:
        """The routes, for serving by whatever means."""
        application = web.Application(middlewares=[self._guard])
        route = application.router.add_route
        route("GET", "/healthz", self._healthz)
        route("GET", "/pods", self._pods)
        route("GET", "/containerLogs/{namespace}/{pod}/{container}", self._logs)
        for name, handler in (("exec", self._exec), ("attach", self._attach)):
            route("*", f"/{name}/{{namespace}}/{{pod}}/{{container}}", handler)
            route("*", f"/{name}/{{namespace}}/{{pod}}/{{uid}}/{{container}}", handler)
        route("*", "/portForward/{namespace}/{pod}", self._port_forward)
        route("*", "/portForward/{namespace}/{pod}/{uid}", self._port_forward)
        route("GET", "/stats/summary", self._summary)
        route("GET", "/metrics/resource", self._resource_metrics)
        return application

    async def run(self, tls: Tls) -> None:
        """Serve until cancelled; connections are closed then."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(tls.cert_file, tls.key_file)
        context.load_verify_locations(tls.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
        config = self._it.config
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
        await runner.setup()
        try:
            while True:
                try:
                    site = web.TCPSite(
                        runner, config.listen_address, config.port, ssl_context=context, reuse_address=True
                    )
                    await site.start()
                    break
                except OSError as error:
                    log.error("cannot listen", extra={"port": config.port, "error": str(error)})
                    await self._it.clock.sleep(1.0)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Authorization, and failures as plain text, which is what clients of a kubelet expect."""
        transport = request.transport
        secured = transport is not None and transport.get_extra_info("sslcontext") is not None
        if secured and transport is not None and request.path != "/healthz":
            peer = peer_of(transport.get_extra_info("peercert"))
            if not await self._it.authorizer.allows(peer, request.method, request.path):
                words = f"Forbidden (user={peer.user}, verb={request.method.lower()}, resource=nodes)"
                return web.Response(status=403, text=words)
        if transport is not None and (raw := transport.get_extra_info("socket")) is not None:
            raw.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        try:
            return await handler(request)
        except Refused as refusal:
            return web.Response(status=refusal.status, text=str(refusal))
        except (RuntimeFailure, TimeoutError) as failure:
            return web.Response(status=500, text=str(failure))

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _pods(self, request: web.Request) -> web.Response:
        return web.Response(body=pod_list(self._it.pods.all_pods()), content_type="application/json")

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        where = request.match_info
        try:
            options = parse_options(request.query, self._it.clock.now())
        except ValueError as error:
            raise Refused(422, str(error)) from error
        found = find_logged(
            self._it.pods,
            self._it.state.pod,
            where["namespace"],
            where["pod"],
            where["container"],
            previous=options.previous,
        )
        record = found.record
        path = log_directory(found.pod, self._it.config) / record.name / f"{record.attempt}.log"

        async def is_running() -> bool:
            return any(
                each.id == record.id and each.state is State.RUNNING
                for each in self._it.state.pod(found.pod.uid).containers
            )

        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        answer.enable_chunked_encoding()
        if not path.exists():
            if options.follow or record.state is not State.RUNNING:
                raise Refused(500, f"failed to try resolving symlinks in path {str(path)!r}: no such file or directory")
            return web.Response(text="")
        await answer.prepare(request)
        async for piece in read_log(path, options, is_running, clock=self._it.clock):
            await answer.write(piece)
        await answer.write_eof()
        return answer

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        found = self._running(request)
        command = request.query.getall("command", [])
        if not command:
            raise Refused(400, "you must specify at least one command")
        stdin, stdout, stderr, tty = wanted_streams(request.query)
        self._require_some(stdin, stdout, stderr)
        socket = await open_socket(request)
        stream = await self._it.runtime.exec(found, command, stdin=stdin, tty=tty)
        await carry(socket, stream, stdin=stdin, stdout=stdout, stderr=stderr and not tty)
        return socket

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        found = self._running(request)
        stdin, stdout, stderr, tty = wanted_streams(request.query)
        self._require_some(stdin, stdout, stderr)
        socket = await open_socket(request)
        stream = await self._it.runtime.attach(found, stdin=stdin, tty=tty)
        await carry(socket, stream, stdin=stdin, stdout=stdout, stderr=stderr and not tty)
        return socket

    async def _port_forward(self, request: web.Request) -> web.StreamResponse:
        pod = find_pod(self._it.pods, request.match_info["namespace"], request.match_info["pod"])
        sandbox = self._it.state.pod(pod.uid).sandbox
        if sandbox is None or not sandbox.ready:
            raise Refused(400, f"unable to do port forwarding: pod {pod.name} is not running")
        named = [*request.query.getall("port", []), *request.query.getall("ports", [])]
        try:
            ports = [int(port) for text in named for port in text.split(",")]
        except ValueError as error:
            raise Refused(400, f"unable to parse port: {error}") from error
        return await forward(request, self._it.runtime, sandbox.id, pod=pod.name, ports=ports)

    def _running(self, request: web.Request) -> str:
        """The id of the running container that the path names."""
        where = request.match_info
        found = find_running(self._it.pods, self._it.state.pod, where["namespace"], where["pod"], where["container"])
        return found.record.id

    def _require_some(self, stdin: bool, stdout: bool, stderr: bool) -> None:
        if not (stdin or stdout or stderr):
            raise Refused(400, "you must specify at least 1 of stdin, stdout, stderr")

    async def _report(self) -> Json:
        it = self._it
        pods = it.pods.all_pods()
        states = {pod.uid: it.state.pod(pod.uid) for pod in pods}
        return summary(
            it.config, pods, states, await it.runtime.stats(), self._rates, it.clock.now(), since=self._since
        )

    async def _summary(self, request: web.Request) -> web.Response:
        return web.json_response(await self._report())

    async def _resource_metrics(self, request: web.Request) -> web.Response:
        text = resource_metrics(await self._report(), self._it.clock.now())
        return web.Response(text=text, content_type="text/plain")
