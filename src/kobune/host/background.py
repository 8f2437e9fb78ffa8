"""Starts the service in the background, for commands that need one."""

import subprocess
import sys
import time

from kobune.host.layout import Layout
from kobune.host.service import is_served

START_SECONDS = 10.0


class NotStarted(Exception):
    """The service did not start; the message says why."""


def start_service(layout: Layout) -> None:
    """Have a service look after the state directory; returns when one does. Raises NotStarted."""
    if is_served(layout):
        return
    layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [sys.executable, "-m", "kobune", "serve", "--until-idle", "--state-dir", str(layout.root)]
    with open(layout.log, "ab") as output:
        service = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while not is_served(layout):
        if service.poll() is not None and not is_served(layout):
            raise NotStarted(f"the service ended at once; see {layout.log}")
        if time.monotonic() > deadline:
            raise NotStarted(f"the service did not start within {START_SECONDS:.0f} s; see {layout.log}")
        time.sleep(0.02)
