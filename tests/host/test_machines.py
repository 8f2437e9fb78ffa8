"""What clusters have on the machine they share is each one's own, whatever they are called."""

from pathlib import Path

from kobune.aks.clusters import Cluster, NodePool
from kobune.aks.instances import Instances, new_instances
from kobune.aks.nodes import node_shape
from kobune.api.clock import SystemClock
from kobune.host.layout import Layout
from kobune.host.machines import host_table, machine_of
from kobune.host.spec import Spec

POOL = NodePool("nodepool1", 1)
CLUSTER = Cluster("demo", "1.36.1", (POOL,))


def places(state_dir: Path) -> set[str]:
    """The names of what one node of the cluster "demo" has."""
    cluster, spec = Layout(state_dir).cluster("demo"), Spec(CLUSTER, 6443)
    [instance] = new_instances(CLUSTER, POOL, 1, Instances(), now=0.0, room=1)
    shape = node_shape(CLUSTER, POOL, instance, node_cidr=spec.node_cidr, pod_cidr=spec.pod_cidr)
    machine = machine_of(cluster, spec, shape, SystemClock())
    network = machine.spec.network
    return {
        network.bridge,
        str(machine.namespace),
        str(machine.cgroup_parent),
        str(machine.layout.run),
        host_table(cluster),
    }


def test_clusters_of_one_name_in_two_state_directories_share_nothing(tmp_path: Path):
    assert not places(tmp_path / "one") & places(tmp_path / "other")


def test_a_state_directory_may_be_given_relative_to_where_one_is(tmp_path: Path, monkeypatch):

    monkeypatch.chdir(tmp_path)
    assert places(Path("one")) == places(tmp_path / "one")
