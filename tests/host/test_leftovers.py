"""Which cluster a machine belongs to is in its folder's path."""

from pathlib import Path

import pytest

from kobune.host.layout import Layout
from kobune.host.leftovers import cluster_of


def test_a_machine_belongs_to_the_cluster_in_whose_folder_it_is(tmp_path: Path):
    cluster = Layout(tmp_path).cluster("demo")
    assert cluster_of(cluster.node("node-1") / "machine") == cluster


@pytest.mark.parametrize(
    "folder", ["/node-1", "/tmp/elsewhere/of/no/cluster/node-1", "/tmp/state/clusters/demo/other/node-1/machine"]
)
def test_a_machine_elsewhere_is_no_clusters(folder: str):
    assert cluster_of(Path(folder)) is None
