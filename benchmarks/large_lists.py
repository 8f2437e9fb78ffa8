"""How much memory does an API server take for many clients that list large objects at once? Prints one JSON line.

Source of the case: upstream's enhancement proposal 5116, streaming encoding of lists.

Usage: python benchmarks/large_lists.py [--objects 10000] [--kilobytes 100] [--clients 16]
"""

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
AT_ONCE = 8
HEADERS = {"Authorization": "Bearer secret", "Accept-Encoding": "identity"}


def memory_mb(pid: int, field: str) -> float:
    """A field of the process's status: VmRSS now, VmHWM at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


async def fill(session: aiohttp.ClientSession, url: str, count: int, kilobytes: int) -> None:
    """Create the objects."""
    text, names = "x" * (kilobytes * 1000), iter(range(count))

    async def work() -> None:
        for number in names:
            body = {"metadata": {"name": f"large-{number}"}, "data": {"text": text}}
            async with session.post(url, json=body, headers=HEADERS) as answer:
                assert answer.status == 201, await answer.text()

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def list_all(session: aiohttp.ClientSession, url: str) -> int:
    """The bytes of one list, read as they come."""
    size = 0
    async with session.get(url, headers=HEADERS) as answer:
        assert answer.status == 200
        async for chunk in answer.content.iter_any():
            size += len(chunk)
    return size


async def measure(pid: int, port: int, objects: int, kilobytes: int, clients: int) -> None:
    url = f"https://127.0.0.1:{port}{CONFIG_MAPS}"
    connector = aiohttp.TCPConnector(ssl=False, limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        while True:
            try:
                async with session.get(f"{url}?limit=1", headers=HEADERS) as answer:
                    if answer.status == 200:
                        break
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
        await fill(session, url, objects, kilobytes)
        await asyncio.sleep(3)
        before = memory_mb(pid, "VmRSS")
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # The peak is counted anew from here.
        began = time.perf_counter()
        sizes = await asyncio.gather(*(list_all(session, url) for _ in range(clients)))
        seconds = time.perf_counter() - began
        peak = memory_mb(pid, "VmHWM")
    line = {"bench": "large lists", "objects": objects, "kilobytes": kilobytes, "clients": clients,
            "list_mb": round(sizes[0] / 1e6), "resident_mb": round(before), "added_mb": round(peak - before, 1),
            "mb_per_second": round(sum(sizes) / 1e6 / seconds)}  # fmt: skip
    print(json.dumps(line))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--kilobytes", type=int, default=100)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tokens").write_text('secret,admin,admin,"system:masters"\n')
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "kobune", "kube-apiserver", "--bind-address", "127.0.0.1",
                   "--secure-port", str(port), "--cert-dir", name, "--token-auth-file", str(folder / "tokens")]  # fmt: skip
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
            try:
                asyncio.run(measure(server.pid, port, options.objects, options.kilobytes, options.clients))
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
