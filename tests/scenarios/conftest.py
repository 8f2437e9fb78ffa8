"""Whole clusters for whole stories: started by the command line, used with the real kubectl."""

import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pytest

from kobune.aks.clusters import Cluster
from kobune.host.layout import Layout
from kobune.host.spec import OperationState, Outcome, new_wish, read_spec, read_status, write_spec

RUN_SECONDS = 120.0
LOG_LINES = 30


@dataclass(frozen=True)
class RealCluster:
    """A cluster that `kobune up` started."""

    state_dir: Path
    name: str

    @property
    def kubeconfig(self) -> Path:
        return self.state_dir / "clusters" / self.name / "kubeconfig"

    def kobune(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command line against this state directory."""
        command = [sys.executable, "-m", "kobune", *arguments, "--state-dir", str(self.state_dir)]
        return run(command, check=check)

    def kubectl(self, *arguments: str, check: bool = True, stdin: str = "") -> str:
        """What kubectl printed; its complaint is the assertion's message when it failed. It may take its own --timeout."""
        asked = [float(word.removeprefix("--timeout=").rstrip("s")) for word in arguments if "--timeout=" in word]
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments]
        done = run(command, check=check, stdin=stdin, seconds=max([RUN_SECONDS, *(each + 30 for each in asked)]))
        return done.stdout + ("" if check else done.stderr)

    def get(self, *arguments: str) -> dict:
        """What `kubectl get … -o json` answered."""
        return orjson.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, manifest: dict | str) -> str:
        """Apply one manifest."""
        text = manifest if isinstance(manifest, str) else orjson.dumps(manifest).decode()
        return self.kubectl("apply", "-f", "-", stdin=text)

    @staticmethod
    def eventually(condition, *, seconds: float = 60):
        """The first true value of `condition()`; fails after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, f"not within {seconds} s: {value!r}"
            time.sleep(0.1)

    def wish(self, kind: str, change: Callable[[Cluster], Cluster]) -> Outcome:
        """Ask for the changed cluster; how the operation ended."""
        layout = Layout(self.state_dir).cluster(self.name)
        spec, asked = read_spec(layout), new_wish(kind)
        write_spec(layout, replace(spec, cluster=change(spec.cluster), wish=asked))

        def ended():
            operation = read_status(layout).operation
            is_ours = operation is not None and operation.id == asked.id
            return operation if is_ours and operation.state is not OperationState.IN_PROGRESS else None

        return self.eventually(ended, seconds=400)

    def status(self) -> dict:
        """The cluster's row of `kobune status -o json`."""
        [row] = orjson.loads(self.kobune("status", "-o", "json").stdout)["clusters"]
        return row

    def account(self) -> str:
        """How the cluster is, for whoever reads of a failed test."""
        parts = []
        for arguments in (["nodes,pods,deployments,replicasets", "-o", "wide"], ["events", "--sort-by=.lastTimestamp"]):
            with suppress(subprocess.TimeoutExpired):
                parts.append(self.kubectl("get", *arguments, "-A", "--request-timeout=10s", check=False))
        for log in sorted(self.state_dir.rglob("*.log")):
            if log.parent.name == "logs" and log.stat().st_size:
                lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
                parts += [f"--- {log.name}", *lines]
        return "\n".join(parts)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test tells how its cluster was before that is gone."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("real_cluster")
    if report.when == "call" and report.failed and cluster is not None:
        report.sections.append(("the cluster", cluster.account()))
    return report


def run(
    command: list[str], *, check: bool = True, stdin: str = "", seconds: float = RUN_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; a failure shows what it wrote."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds)
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def real_cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """Two real nodes, for the tests of one module; its UP_OPTIONS are further options of `kobune up`."""
    options = getattr(request.module, "UP_OPTIONS", ())
    cluster = RealCluster(tmp_path_factory.mktemp("state"), "story")
    try:
        cluster.kobune("up", "--cluster", "story", "--nodes", "2", "--vm-size", "Standard_D2s_v3", *options)
        yield cluster
    finally:
        cluster.kobune("down", "--cluster", "story", "--purge")
