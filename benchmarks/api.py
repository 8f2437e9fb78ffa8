"""How fast is the API server? Starts one with the embedded store, and prints one JSON line per question and round.

The load comes from this process over TLS keep-alive connections, as a user whom RBAC judges; the server has its own.
In the end comes a table beside the targets: the least and the greatest of the rounds, the processor time that one answer
or event took on either side, and the server's resident memory. Each question is first asked for a while uncounted.
Where the rate times the client's time comes near a second, the client was the limit.

Usage: python benchmarks/api.py [start get list create create-each watch] [--rounds 3] [--seconds 4] [--connections 16] [--pods 5000]
       python benchmarks/api.py get create --audit Metadata
       python benchmarks/api.py get list create watch --server 127.0.0.1:6443 --pids 123,124

With --server the same load goes to an API server that runs already, upstream's for instance; it must have been started
with the users of TOKENS (--token-auth-file). --pids are its processes, the store's too, for processor time and memory.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

import uvloop
from load.client import Watch, call, cpu_seconds, load, open_watch, request
from load.server import OwnServer, Server

PODS = "/api/v1/namespaces/default/pods"
WATCHERS, WRITERS, WARM_UP = 50, 32, 500
ALONE = 200  # Single events on a server that has nothing else to do.


TARGETS = {
    # The measure, the figure among those printed, and its least; negative: its most.
    "start": ("start to /readyz, s", "seconds", -0.6),
    "get": ("GET one pod, a second", "per_second", 9_000),
    "create": ("CREATE pods, durable, a second", "per_second", 3_000),
    "create-each": ("CREATE pods, no spec twice", "per_second", 3_000),
    "list": ("LIST of all pods, MB/s", "MB_per_second", 400),
    "watch": ("watch events delivered, a second", "per_second", 100_000),
}


def pod(name: str, own: str = "x") -> bytes:
    """About 2 KB as sent. Pods of one template differ in their names, others in their specs, by what is their `own`."""
    env = [{"name": f"VARIABLE_{index}", "value": own.rjust(60, "x")} for index in range(16)]
    container = {"name": "main", "image": "kobune.local/busybox", "command": ["sleep", "1000"], "env": env}
    metadata = {"name": name, "labels": {"app": "web", "tier": "front"}}
    spec = {"containers": [container], "automountServiceAccountToken": False}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).encode()


def post(name: str) -> bytes:
    return request("POST", PODS, "bench", pod(name))


async def ready(server: OwnServer) -> float:
    """Seconds until /readyz was good."""
    data = request("GET", "/readyz", "root")
    while True:
        if server.has_ended():
            raise SystemExit("the server ended; its log says why")
        try:
            if (await call(server, data)).startswith(b"HTTP/1.1 200"):
                return time.perf_counter() - server.started
        except OSError:
            await asyncio.sleep(0.005)


async def grant(server: Server) -> None:
    """Let `bench` do everything, by RBAC; make the default account that pods need."""
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "bench"}
    binding = json.dumps({"metadata": {"name": "bench"}, "roleRef": reference, "subjects": [subject]}).encode()
    path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    await call(server, request("POST", path, "root", binding))
    account = json.dumps({"metadata": {"name": "default"}}).encode()
    await call(server, request("POST", "/api/v1/namespaces/default/serviceaccounts", "root", account))
    while not (await call(server, request("GET", f"{PODS}?limit=1", "bench"))).startswith(b"HTTP/1.1 200"):
        await asyncio.sleep(0.1)  # Other servers hear of the binding a little later.


async def empty(server: Server) -> None:
    await call(server, request("DELETE", PODS, "bench"))


async def fill(server: Server, requests: Sequence[bytes]) -> None:
    waiting = iter(requests)
    await load(server, WRITERS, 600, lambda: next(waiting, None))


class Load(NamedTuple):
    """How hard each question is asked."""

    rounds: int
    seconds: float
    connections: int
    pods: int


async def get(server: Server, how: Load) -> AsyncIterator[dict[str, float]]:
    await call(server, post("one"))
    data = request("GET", f"{PODS}/one", "bench")
    await load(server, how.connections, how.seconds / 4, lambda: data)
    for _ in range(how.rounds):
        yield await load(server, how.connections, how.seconds, lambda: data)
    await empty(server)


async def create(server: Server, how: Load) -> AsyncIterator[dict[str, float]]:
    names = (f"new-{number:07}" for number in count())
    await load(server, how.connections, how.seconds / 4, lambda: post(next(names)))
    for _ in range(how.rounds):
        yield await load(server, how.connections, how.seconds, lambda: post(next(names)))
        await empty(server)


async def create_each(server: Server, how: Load) -> AsyncIterator[dict[str, float]]:
    """As `create`, but no spec comes twice."""
    names = (f"each-{number:07}" for number in count())

    def make() -> bytes:
        name = next(names)
        return request("POST", PODS, "bench", pod(name, name))

    await load(server, how.connections, how.seconds / 4, make)
    for _ in range(how.rounds):
        yield await load(server, how.connections, how.seconds, make)
        await empty(server)


async def list_all(server: Server, how: Load) -> AsyncIterator[dict[str, float]]:
    before = server.memory_mb()
    await fill(server, [post(f"full-{number:06}") for number in range(how.pods)])
    per_1000 = round((server.memory_mb() - before) / how.pods * 1000, 1)
    data = request("GET", PODS, "bench")
    await load(server, 2, how.seconds / 4, lambda: data)
    for _ in range(how.rounds):
        yield {"pods": how.pods, "MB_per_1000_pods": per_1000, **await load(server, 2, how.seconds, lambda: data)}
    await empty(server)


async def watch(server: Server, how: Load) -> AsyncIterator[dict[str, float]]:
    """WATCHERS connections see pods being made by WRITERS others, as fast as the server makes them."""
    listing = await call(server, request("GET", f"{PODS}?limit=1", "bench"))
    revision = listing.split(b'"resourceVersion":"')[1].split(b'"')[0].decode()
    data = request("GET", f"{PODS}?watch=true&resourceVersion={revision}", "bench")
    watches = [await open_watch(server, data) for _ in range(WATCHERS)]
    names = (f"watched-{number:07}" for number in count())
    made = await delivered(server, watches, 0, [post(next(names)) for _ in range(WARM_UP)])
    for _ in range(how.rounds):
        # As many as fit into the time, by the round before.
        wanted = max(WARM_UP, round(made["per_second"] / WATCHERS * how.seconds))
        made = await delivered(server, watches, watches[0].events, [post(next(names)) for _ in range(wanted)])
        yield {"watchers": WATCHERS, **made, **await alone(server, watches, names)}
    for one in watches:
        one.transport.close()
    await empty(server)


async def delivered(server: Server, watches: Sequence[Watch], before: int, posts: Sequence[bytes]) -> dict[str, float]:
    """What delivering the events of these posts to all watches took, once all have come everywhere."""
    spent, own, first = server.cpu_seconds(), cpu_seconds(), time.perf_counter()
    bytes_before = sum(one.bytes for one in watches)
    async with asyncio.TaskGroup() as tasks:
        for one in watches:
            tasks.create_task(one.have(before + len(posts)))
        tasks.create_task(fill(server, posts))
    took = time.perf_counter() - first
    events = len(posts) * len(watches)
    return {
        "events": events,
        "per_second": round(events / took),
        "MB_per_second": round((sum(one.bytes for one in watches) - bytes_before) / took / 1e6, 1),
        "server_cpu_us": round((server.cpu_seconds() - spent) / events * 1e6, 2),
        "client_cpu_us": round((cpu_seconds() - own) / events * 1e6, 2),
    }


async def alone(server: Server, watches: Sequence[Watch], names: Iterator[str]) -> dict[str, float]:
    """From one write on an idle server until the first and the last of its watches have the event."""
    latencies: list[tuple[float, float]] = []
    reader, writer = await asyncio.open_connection(server.host, server.port, ssl=server.tls)
    for _ in range(ALONE):
        wanted, data = watches[0].events + 1, post(next(names))
        sent = time.perf_counter()
        writer.write(data)
        arrived = [asyncio.ensure_future(one.have(wanted)) for one in watches]
        await asyncio.wait(arrived, return_when=asyncio.FIRST_COMPLETED)
        first = time.perf_counter()
        await asyncio.gather(*arrived)
        latencies.append(((first - sent) * 1000, (time.perf_counter() - sent) * 1000))
        await reader.readuntil(b"\r\n\r\n")
        await reader.read(1 << 20)
    writer.close()
    return {
        "alone_first_p50_ms": round(statistics.median(first for first, _ in latencies), 2),
        "alone_last_p50_ms": round(statistics.median(last for _, last in latencies), 2),
    }


QUESTIONS = {"get": get, "create": create, "create-each": create_each, "list": list_all, "watch": watch}


class Answers:
    """Prints what is found at once, and all of it in the end."""

    def __init__(self) -> None:
        self._found: dict[str, list[dict[str, float]]] = {}

    def say(self, bench: str, server: Server, figures: dict[str, float]) -> None:
        figures = {**figures, "memory_MB": round(server.memory_mb())}
        self._found.setdefault(bench, []).append(figures)
        print(json.dumps({"bench": bench, **figures}), flush=True)

    def table(self) -> Iterator[str]:
        rows = [("", "target", "measured", "server µs", "client µs", "RSS MB")]
        for bench, rounds in self._found.items():
            measure, figure, least = TARGETS[bench]
            limit = f"≥ {least:,}" if least > 0 else f"≤ {-least:,}"
            columns = [span(rounds, name) for name in (figure, "server_cpu_us", "client_cpu_us", "memory_MB")]
            rows.append((measure, limit, *columns))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for first, *others in rows:
            cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            yield "  ".join([first.ljust(widths[0]), *cells])


def span(rounds: Sequence[dict[str, float]], figure: str) -> str:
    """The least and the greatest."""
    values = sorted(one[figure] for one in rounds if figure in one)
    return " – ".join(f"{value:,}" for value in dict.fromkeys((values[0], values[-1]))) if values else ""


async def main(questions: Sequence[str], other: Server | None, how: Load, audit: str) -> None:
    answers = Answers()

    async def ask(server: Server) -> None:
        await grant(server)
        for name, question in QUESTIONS.items():
            if name in questions:
                async for figures in question(server, how):
                    answers.say(name, server, figures)

    if other is not None:
        await ask(other)
    else:
        with tempfile.TemporaryDirectory() as name:
            server = OwnServer(Path(name), 20_000 + os.getpid() % 20_000, audit)
            try:
                await ready(server)  # The first start also makes keys and certificates.
                for _ in range(how.rounds if "start" in questions else 0):
                    server.stop()
                    server = OwnServer(Path(name), server.port, audit)
                    answers.say("start", server, {"seconds": round(await ready(server), 3)})
                await ask(server)
            finally:
                server.stop()
    print("\n".join(answers.table()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("questions", nargs="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of a round")
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
    asked = options.questions or list(TARGETS)
    strength = Load(options.rounds, options.seconds, options.connections, options.pods)
    uvloop.run(main(asked, running, strength, options.audit))
