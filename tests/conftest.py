"""What every test may rely on: real tests run where they can, and where they must run they fail rather than skip."""

import os
import shutil

import pytest

from kobune.node.machine.requirements import find_missing


@pytest.fixture(autouse=True, scope="session")
def _nothing_of_the_users(tmp_path_factory: pytest.TempPathFactory):
    """Tests see neither the user's clusters nor the user's kubeconfig."""
    patch = pytest.MonkeyPatch()
    patch.setenv("KOBUNE_HOME", str(tmp_path_factory.mktemp("kobune")))
    patch.delenv("KUBECONFIG", raising=False)
    yield
    patch.undo()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root, containerd or kubectl the real tests are skipped, except in continuous integration."""
    real = [item for item in items if item.get_closest_marker("real")]
    if not real or os.environ.get("CI") == "true":
        return
    missing = list(find_missing())
    if shutil.which("kubectl") is None:
        missing.append("The program kubectl is not on the PATH.")
    if missing:
        for item in real:
            item.add_marker(pytest.mark.skip(reason=" ".join(missing)))
