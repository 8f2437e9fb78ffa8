"""Network namespaces: entering one, and opening sockets in one without going there."""

import asyncio
import ctypes
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000  # Source: linux/sched.h.
_libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12 only.


def enter(namespace: Path) -> None:
    """Move the calling thread (alone) into a network namespace. Raises OSError."""
    handle = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(handle, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(namespace))
    finally:
        os.close(handle)


def is_occupied(namespace: Path) -> bool:
    """Whether any process is in it. Raises FileNotFoundError when there is no such namespace."""
    wanted = namespace.stat()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):  # It has just ended.
                found = (process / "ns" / "net").stat()
                if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return True
    return False


def run_in(namespace: Path | None, work: Callable[[], T]) -> T:
    """What `work` returns when it runs inside `namespace` (None: here). Blocks; raises what it raises."""
    if namespace is None:
        return work()
    outcome: list[T] = []
    failure: list[BaseException] = []

    def visit() -> None:
        try:
            enter(namespace)
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    # A thread of its own, because a thread that came back to a pool would stay in the namespace.
    visitor = threading.Thread(target=visit, name=f"in {namespace}")
    visitor.start()
    visitor.join()
    if failure:
        raise failure[0]
    return outcome[0]


def open_socket(namespace: Path | None, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket that belongs to `namespace` for life, whoever uses it. Takes about 0.1 ms; raises OSError."""
    return run_in(namespace, lambda: socket.socket(family, kind))


async def connect_in(namespace: Path | None, host: str, port: int, *, seconds: float = 10.0) -> socket.socket:
    """A connected TCP socket whose way begins in `namespace`; `host` is an IPv4 address. Raises OSError."""
    sock = open_socket(namespace)
    sock.setblocking(False)
    try:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock
