"""How fast is the API server? Starts one with the embedded store, and prints one JSON line per question.

The load comes from this process over TLS keep-alive connections, as a user whom RBAC judges; the server has its own.

Usage: python benchmarks/api.py [start get list create watch] [--seconds 5] [--connections 16] [--pods 5000] [--audit Metadata]
       python benchmarks/api.py get list create watch --server 127.0.0.1:6443 --pids 123,124

With --server the same load goes to an API server that runs already, upstream's for instance; it must have been started
with the users of TOKENS (--token-auth-file). --pids are its processes, the store's too, for processor time and memory.
"""

import argparse
import asyncio
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import uvloop

QUESTIONS = ("start", "get", "list", "create", "watch")
PODS = "/api/v1/namespaces/default/pods"
TOKENS = 'root,root,1,"system:masters"\nbench,bench,2,"bench"\n'
WATCHERS, WATCHED = 50, 1000
LAST_CHUNK = b"\r\n0\r\n\r\n"


def pod(name: str) -> bytes:
    """About 2 KB as sent."""
    env = [{"name": f"VARIABLE_{index}", "value": "x" * 60} for index in range(16)]
    container = {"name": "main", "image": "kobune.local/busybox", "command": ["sleep", "1000"], "env": env}
    metadata = {"name": name, "labels": {"app": "web", "tier": "front"}}
    spec = {"containers": [container], "automountServiceAccountToken": False}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).encode()


def request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One keep-alive connection that sends what `next_request` gives as soon as the answer before is complete."""

    def __init__(self, next_request: Callable[[], bytes | None]) -> None:
        self._next = next_request
        self._head = b""
        self._missing = -1  # Bytes of the body; -1: still reading the head.
        self._tail: bytes | None = None  # The last bytes of a body that comes in chunks.
        self.answers = self.bytes = self.failures = 0
        self.done = asyncio.get_running_loop().create_future()
        self._sent = 0.0
        self.latencies: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self.bytes += len(data)
        if self._missing < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, rest = self._head[:end].lower(), self._head[end + 4 :]
            if head[9:10] != b"2":
                self.failures += 1
            if b"transfer-encoding: chunked" in head:
                self._missing, self._tail, data = 1, b"", rest
            else:
                at = head.index(b"content-length:") + 15
                self._missing = int(head[at:].split(b"\r\n", 1)[0]) - len(rest)
        elif self._tail is None:
            self._missing -= len(data)
        if self._tail is not None:
            self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
            if self._tail == LAST_CHUNK:
                self._missing, self._tail = 0, None
        if self._missing <= 0:
            self._head, self._missing = b"", -1
            self.answers += 1
            self.latencies.append(time.perf_counter() - self._sent)
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        data = self._next()
        if data is None:
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(data)


async def load(
    server: "Server", connections: int, seconds: float, make: Callable[[], bytes | None]
) -> dict[str, float]:
    """Keep `connections` busy; what came of it, and the processor time that each answer cost the server."""
    loop, spent = asyncio.get_running_loop(), server.cpu_seconds()
    end = time.perf_counter() + seconds

    def next_request() -> bytes | None:
        return make() if time.perf_counter() < end else None

    start = time.perf_counter()
    pairs = [
        await loop.create_connection(lambda: Connection(next_request), server.host, server.port, ssl=server.tls)
        for _ in range(connections)
    ]
    opened = [connection for _, connection in pairs]
    for connection in opened:
        await connection.done
    took = time.perf_counter() - start
    answers = sum(connection.answers for connection in opened)
    latencies = sorted(one for connection in opened for one in connection.latencies)
    return {
        "per_second": round(answers / took),
        "MB_per_second": round(sum(connection.bytes for connection in opened) / took / 1e6, 1),
        "p50_ms": round(latencies[len(latencies) // 2] * 1000, 2),
        "p99_ms": round(latencies[len(latencies) * 99 // 100] * 1000, 2),
        "server_cpu_us": round((server.cpu_seconds() - spent) / max(answers, 1) * 1e6, 1),
        "failures": sum(connection.failures for connection in opened),
    }


async def call(server: "Server", data: bytes) -> bytes:
    """One answer's head and body."""
    reader, writer = await asyncio.open_connection(server.host, server.port, ssl=server.tls)
    writer.write(data.replace(b"Accept:", b"Connection: close\r\nAccept:", 1))
    answer = await reader.read()
    writer.close()
    return answer


class Server:
    """An API server that runs already."""

    def __init__(self, host: str, port: int, pids: Sequence[int]) -> None:
        self.host, self.port, self.pids = host, port, pids
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    def memory_mb(self) -> float:
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in self.pids]
        return sum(int(status.split("VmRSS:")[1].split()[0]) for status in statuses) / 1024

    def cpu_seconds(self) -> float:
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """It is not ours."""


class OwnServer(Server):
    """An API server in a process of its own."""

    def __init__(self, directory: Path, port: int, audit: str = "") -> None:
        (directory / "tokens.csv").write_text(TOKENS)
        arguments = [
            "kube-apiserver", "--secure-port", str(port), "--bind-address", "127.0.0.1", "--cert-dir", str(directory),
            "--store", f"sqlite:{directory / 'state.db'}", "--token-auth-file", str(directory / "tokens.csv"),
        ]  # fmt: skip
        if audit:
            policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": audit}]}
            (directory / "audit.json").write_text(json.dumps(policy))
            arguments += ["--audit-policy-file", str(directory / "audit.json")]
            arguments += ["--audit-log-path", str(directory / "audit.log")]
        command = [sys.executable, "-c", "from kobune.cli.main import main; main()", *arguments]
        self._log = (directory / "server.log").open("ab")
        self.started = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        super().__init__("127.0.0.1", port, [self.process.pid])

    async def ready(self) -> float:
        """Seconds until /readyz was good."""
        data = request("GET", "/readyz", "root")
        while True:
            if self.process.poll() is not None:
                raise SystemExit("the server ended; its log says why")
            try:
                if (await call(self, data)).startswith(b"HTTP/1.1 200"):
                    return time.perf_counter() - self.started
            except OSError:
                await asyncio.sleep(0.005)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._log.close()


async def grant(server: Server) -> None:
    """Let `bench` do everything, by RBAC; make the default account that pods need."""
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "bench"}
    binding = json.dumps({"metadata": {"name": "bench"}, "roleRef": reference, "subjects": [subject]}).encode()
    path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    await call(server, request("POST", path, "root", binding))
    account = json.dumps({"metadata": {"name": "default"}}).encode()
    await call(server, request("POST", "/api/v1/namespaces/default/serviceaccounts", "root", account))


async def fill(server: Server, count: int, prefix: str = "full") -> None:
    names = iter(range(count))

    def make() -> bytes | None:
        number = next(names, None)
        return None if number is None else request("POST", PODS, "bench", pod(f"{prefix}-{number:06}"))

    await load(server, 32, 600, make)


async def watch(server: Server) -> dict[str, float]:
    """WATCHERS connections see WATCHED pods being made."""
    frames, readers = 0, []
    listing = await call(server, request("GET", f"{PODS}?limit=1", "bench"))
    revision = listing.split(b'"resourceVersion":"')[1].split(b'"')[0].decode()
    query = f"?watch=true&resourceVersion={revision}"
    for _ in range(WATCHERS):
        reader, writer = await asyncio.open_connection(server.host, server.port, ssl=server.tls, limit=1 << 24)
        writer.write(request("GET", PODS + query, "bench"))
        await reader.readuntil(b"\r\n\r\n")
        readers.append((reader, writer))

    async def count(reader: asyncio.StreamReader) -> None:
        nonlocal frames
        seen = 0
        while seen < WATCHED:
            data = await reader.read(1 << 20)
            found = data.count(b'{"type":"')
            seen += found
            frames += found

    first = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for reader, _ in readers:
            tasks.create_task(count(reader))
        tasks.create_task(fill(server, WATCHED, "watched"))
    took = time.perf_counter() - first
    for _, writer in readers:
        writer.close()
    return {"watchers": WATCHERS, "events": frames, "events_per_second": round(frames / took)}


def say(bench: str, **figures: float) -> None:
    print(json.dumps({"bench": bench, **figures}), flush=True)


async def ask(server: Server, questions: Sequence[str], seconds: float, connections: int, pods: int) -> None:
    await grant(server)
    if "get" in questions:
        await call(server, request("POST", PODS, "bench", pod("one")))
        data = request("GET", f"{PODS}/one", "bench")
        say("get", **await load(server, connections, seconds, lambda: data))
    if "create" in questions:
        numbers = iter(range(10_000_000))
        made = await load(
            server, connections, seconds, lambda: request("POST", PODS, "bench", pod(f"new-{next(numbers):07}"))
        )
        say("create", **made)
        # Gone again, so that lists have a known length.
        await call(server, request("DELETE", PODS, "bench"))
    if "list" in questions:
        await call(server, request("DELETE", PODS, "bench"))
        before = server.memory_mb()
        await fill(server, pods)
        grown = server.memory_mb() - before
        data = request("GET", PODS, "bench")
        found = await load(server, 2, seconds, lambda: data)
        say("list", pods=pods, MB_per_1000_pods=round(grown / pods * 1000, 1), **found)
    if "watch" in questions:
        say("watch", **await watch(server))


async def main(
    questions: Sequence[str], other: Server | None, seconds: float, connections: int, pods: int, audit: str
) -> None:
    if other is not None:
        await ask(other, questions, seconds, connections, pods)
        return
    with tempfile.TemporaryDirectory() as name:
        server = OwnServer(Path(name), 20_000 + os.getpid() % 20_000, audit)
        try:
            await server.ready()  # The first start also makes keys and certificates.
            if "start" in questions:
                server.stop()
                server = OwnServer(Path(name), server.port, audit)
                say("start", seconds=round(await server.ready(), 3), memory_MB=round(server.memory_mb()))
            await ask(server, questions, seconds, connections, pods)
        finally:
            server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("questions", nargs="*")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--pods", type=int, default=5000)
    parser.add_argument("--server", default="", help="HOST:PORT of a server that runs already")
    parser.add_argument("--pids", default="", help="its processes, separated by commas")
    parser.add_argument("--audit", default="", help="the level at which everything is audited: Metadata, Request, …")
    options = parser.parse_args()
    running = None
    if options.server:
        host, _, number = options.server.rpartition(":")
        running = Server(host, int(number), [int(pid) for pid in options.pids.split(",") if pid])
    asked = options.questions or list(QUESTIONS)
    uvloop.run(main(asked, running, options.seconds, options.connections, options.pods, options.audit))
