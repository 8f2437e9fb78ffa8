"""One probe attempt: exec, httpGet, tcpSocket or grpc; its outcome in upstream's words."""

import asyncio
import errno
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from kobune.node.kubelet.hooks import resolve_port, url_of
from kobune.node.kubelet.pod import Container, GRPCAction, HTTPGetAction, Probe, TCPSocketAction
from kobune.node.runtime.runtime import Runtime, RuntimeFailure

OUTPUT_SHOWN = 10 << 10  # Bytes of output that are looked at. Source: upstream maxRespBodyLength.
MAX_REDIRECTS = 10


class Outcome(NamedTuple):
    success: bool
    output: str
    warning: bool = False  # A success that deserves a remark.


class Client(NamedTuple):
    """What probes are made with."""

    runtime: Runtime
    http: aiohttp.ClientSession
    user_agent: str = "kube-probe/1.36"


async def attempt(client: Client, probe: Probe, container: Container, container_id: str, pod_ip: str) -> Outcome:
    """The outcome of one attempt; a probe that cannot be made fails."""
    seconds = max(1, probe.timeout_seconds)
    try:
        if probe.exec is not None:
            return await _exec(client.runtime, container_id, probe.exec.command, seconds)
        if probe.http_get is not None:
            return await _get(client, probe.http_get, container, pod_ip, seconds)
        if probe.tcp_socket is not None:
            return await _connect(probe.tcp_socket, container, pod_ip, seconds)
        if probe.grpc is not None:
            return await _grpc(probe.grpc, pod_ip, seconds)
    except ValueError as error:
        return Outcome(False, str(error))
    return Outcome(True, "")


async def _exec(runtime: Runtime, container_id: str, command: list[str], seconds: int) -> Outcome:
    try:
        code, out, err = await runtime.exec_sync(container_id, command, timeout_seconds=seconds)
    except TimeoutError:  # Also when the runtime itself does not answer in time.
        words = " ".join(command)
        return Outcome(False, f'command timed out: "{words}" timed out after {seconds}s')
    except RuntimeFailure as error:
        return Outcome(False, str(error))
    return Outcome(code == 0, (out + err)[:OUTPUT_SHOWN].decode(errors="replace"))


async def _get(client: Client, action: HTTPGetAction, container: Container, pod_ip: str, seconds: int) -> Outcome:
    url = url_of(action, container, pod_ip)
    headers: dict[str, str] = {"User-Agent": client.user_agent, "Accept": "*/*"}
    for header in action.http_headers:
        # A header may be taken back by giving it an empty value.
        headers.pop(header.name.title(), None)
        if header.value:
            headers[header.name.title()] = header.value
    host = urlsplit(url).hostname
    try:
        async with asyncio.timeout(seconds):
            for _ in range(MAX_REDIRECTS):
                # A pod's certificate is its own affair. Source: upstream, InsecureSkipVerify.
                async with client.http.get(url, headers=headers, ssl=False, allow_redirects=False) as answer:
                    body = (await answer.content.read(OUTPUT_SHOWN)).decode(errors="replace")
                    if answer.status in (301, 302, 303, 307, 308) and "Location" in answer.headers:
                        target = answer.url.join(URL(answer.headers["Location"]))
                        if target.host != host:
                            words = f"Probe terminated redirects, Response body: {body}"
                            return Outcome(True, words, warning=True)
                        url = str(target)
                        continue
                    if 200 <= answer.status < 400:
                        return Outcome(True, body)
                    return Outcome(False, f"HTTP probe failed with statuscode: {answer.status}")
            return Outcome(False, f'Get "{url}": stopped after {MAX_REDIRECTS} redirects')
    except TimeoutError:
        words = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Outcome(False, f'Get "{url}": {words}')
    except aiohttp.ClientConnectorError as error:
        return Outcome(
            False, f'Get "{url}": dial tcp {_address(error.host or "", error.port or 0)}: {_refusal(error.os_error)}'
        )
    except (aiohttp.ClientError, OSError) as error:
        return Outcome(False, f'Get "{url}": {error or "EOF"}')


async def _connect(action: TCPSocketAction, container: Container, pod_ip: str, seconds: int) -> Outcome:
    host, port = action.host or pod_ip, resolve_port(container, action.port)
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Outcome(False, f"dial tcp {_address(host, port)}: i/o timeout")
    except OSError as error:
        return Outcome(False, f"dial tcp {_address(host, port)}: {_refusal(error)}")
    writer.close()
    return Outcome(True, "")


async def _grpc(action: GRPCAction, pod_ip: str, seconds: int) -> Outcome:
    """The standard health service. Its two messages are one field each, so they are written and read by hand."""
    import grpc.aio  # Not loaded before a pod asks for it.

    address = _address(pod_ip, action.port)
    name = action.service.encode()
    body = b"\x0a" + bytes([len(name)]) + name if name else b""
    async with grpc.aio.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check", request_serializer=lambda raw: raw, response_deserializer=lambda raw: raw
        )
        try:
            answer: bytes = await check(body, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return Outcome(
                    False,
                    f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {error.details()}",
                )
            if error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
                return Outcome(
                    False,
                    f'timeout: failed to connect service "{address}" within {seconds}s: context deadline exceeded',
                )
            return Outcome(False, f"error: health rpc probe failed: {error.details()}")
    status = answer[1] if len(answer) >= 2 and answer[0] == 0x08 else 0
    if status == 1:
        return Outcome(True, "service healthy")
    names = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
    return Outcome(False, f'service unhealthy (responded with "{names.get(status, status)}")')


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _refusal(error: OSError) -> str:
    words = {
        errno.ECONNREFUSED: "connect: connection refused",
        errno.EHOSTUNREACH: "connect: no route to host",
        errno.ENETUNREACH: "connect: network is unreachable",
        errno.ETIMEDOUT: "connect: connection timed out",
    }
    return words.get(error.errno or 0, str(error))
