"""Starts the service in the background, for commands that need one."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from kobune.host.endpoint import Endpoint, endpoint_file, read_endpoint
from kobune.host.layout import Layout
from kobune.host.service import is_served

START_SECONDS = 30.0
CONNECT_SECONDS = 2.0


class NotStarted(Exception):
    """The service did not start; the message says why."""


def start_service(layout: Layout) -> None:
    """Have a service look after the state directory; returns when one does. Raises NotStarted."""
    if not is_served(layout):
        _start(layout, ["--until-idle"], lambda: is_served(layout))


def start_endpoint(layout: Layout) -> Endpoint:
    """Have the service answer ARM too; how it is reached. A service without an endpoint is replaced.

    Raises:
        NotStarted: the message says why.
    """
    known = read_endpoint(layout)
    if known is not None and is_served(layout) and _answers(known):
        return known
    end_service(layout)
    began = time.time()

    def is_there() -> bool:
        written = endpoint_file(layout)
        return written.exists() and written.stat().st_mtime >= began - 1 and is_served(layout)

    _start(layout, [], is_there)
    found = read_endpoint(layout)
    if found is None:
        raise NotStarted(f"the service has no endpoint; see {layout.log}")
    return found


def _start(layout: Layout, options: Sequence[str], is_there: Callable[[], bool]) -> None:
    layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [sys.executable, "-m", "kobune", "serve", *options, "--state-dir", str(layout.root)]
    with open(layout.log, "ab") as output:
        service = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while not is_there():
        if service.poll() is not None and not is_there():
            raise NotStarted(f"the service ended at once: {_last_line(layout)} See {layout.log}")
        if time.monotonic() > deadline:
            raise NotStarted(f"the service did not start within {START_SECONDS:.0f} s; see {layout.log}")
        time.sleep(0.02)


def end_service(layout: Layout) -> None:
    """End the service that holds the lock, if one does; what it keeps running goes on."""
    deadline = time.monotonic() + START_SECONDS
    while is_served(layout):
        if time.monotonic() > deadline:
            raise NotStarted(f"the service that looks after {layout.root} does not end")
        with contextlib.suppress(ValueError, ProcessLookupError):
            os.kill(int(layout.lock.read_text()), signal.SIGTERM)
        time.sleep(0.1)


def _answers(endpoint: Endpoint) -> bool:
    address = urlsplit(endpoint.url)
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False


def _last_line(layout: Layout) -> str:
    lines = [line for line in layout.log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
