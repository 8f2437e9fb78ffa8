"""A cluster that is killed with its service and everything else stands in nobody's way."""

import os
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from kobune.host.layout import Layout
from kobune.host.machines import machine_wide_name
from kobune.node.machine.network import Network

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: work}
spec:
  containers:
  - name: work
    image: kobune.local/busybox
    command: [sleep, "3600"]
"""


def kill_everything(state_dir: Path) -> None:
    """Everything that runs for the clusters of this state directory."""
    cluster = machine_wide_name(Layout(state_dir).cluster("story"))
    left = True
    while left:
        left = False
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (process / "cmdline").read_bytes().decode(errors="replace")
                started = any(name in words for name in (str(state_dir), *(str(run) for run in runs_of(state_dir))))
                if (started or f"/kobune/{cluster}/" in (process / "cgroup").read_text()) and process.name != str(
                    os.getpid()
                ):
                    os.kill(int(process.name), signal.SIGKILL)
                    left = True


def runs_of(state_dir: Path) -> list[Path]:
    """The folders of the cluster's machines on this host."""
    return [
        record.parent for record in Path("/run/kobune").glob("*/machine.json") if str(state_dir) in record.read_text()
    ]


def test_another_cluster_of_its_name_takes_its_place(real_cluster, tmp_path):
    real_cluster.apply(POD)
    real_cluster.kubectl("wait", "pod/work", "--for=condition=Ready", "--timeout=60s")
    bridge = Path("/sys/class/net", Network(machine_wide_name(Layout(real_cluster.state_dir).cluster("story"))).bridge)
    assert bridge.exists()
    kill_everything(real_cluster.state_dir)

    other = replace(real_cluster, state_dir=tmp_path)
    try:
        other.kobune("up", "--cluster", "story")
        assert not bridge.exists()
        assert runs_of(real_cluster.state_dir) == []
        other.apply(POD)
        other.kubectl("wait", "pod/work", "--for=condition=Ready", "--timeout=60s")
    finally:
        other.kobune("down", "--cluster", "story", "--purge")

    # Its files are there, so it can be started again.
    real_cluster.kobune("up", "--cluster", "story")
    real_cluster.kubectl("wait", "pod/work", "--for=condition=Ready", "--timeout=60s")
