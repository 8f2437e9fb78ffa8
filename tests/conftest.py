"""What every test may rely on: real tests run where they can, and where they must run they fail rather than skip."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobune.controlplane.store.etcd_member import member_command
from kobune.node.machine.requirements import find_missing


@pytest.fixture(autouse=True, scope="session")
def _nothing_of_the_users(tmp_path_factory: pytest.TempPathFactory):
    """Tests see neither the user's clusters nor the user's kubeconfig."""
    patch = pytest.MonkeyPatch()
    patch.setenv("KOBUNE_HOME", str(tmp_path_factory.mktemp("kobune")))
    patch.delenv("KUBECONFIG", raising=False)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def _chosen_etcd(tmp_path_factory: pytest.TempPathFactory):
    """KOBUNE_TEST_ETCD=/path/to/etcd runs every test of an etcd with that one, whatever its version."""
    chosen = os.environ.get("KOBUNE_TEST_ETCD")
    if not chosen:
        yield
        return
    folder = tmp_path_factory.mktemp("bin")
    (folder / "etcd").symlink_to(Path(chosen).resolve(strict=True))
    patch = pytest.MonkeyPatch()
    patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    yield
    patch.undo()


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an etcd of one member; whoever uses it keeps to a root of its own."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        client, peer = (f"127.0.0.1:{port.getsockname()[1]}" for port in (one, other))
    folder: Path = tmp_path_factory.mktemp("etcd")
    command = member_command("one", folder / "data", client=client, peers={"one": peer})
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        yield f"http://{client}"
        process.terminate()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-golden", action="store_true", help="Write expected outputs anew instead of comparing.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs programs that are not here is skipped, except in continuous integration."""
    if shutil.which("etcd") is None and "KOBUNE_TEST_ETCD" not in os.environ and os.environ.get("CI") != "true":
        for item in items:
            if item.get_closest_marker("etcd"):
                item.add_marker(pytest.mark.skip(reason="The program etcd is not on the PATH."))
    real = [item for item in items if item.get_closest_marker("real")]
    if not real or os.environ.get("CI") == "true":
        return
    missing = list(find_missing())
    if shutil.which("kubectl") is None:
        missing.append("The program kubectl is not on the PATH.")
    if missing:
        for item in real:
            item.add_marker(pytest.mark.skip(reason=" ".join(missing)))
