"""What is written into the control groups of a node and its pods."""

from pathlib import Path

from kobune.node.kubelet.cgroups import PodCgroups
from kobune.node.kubelet.config import Amounts, KubeletConfig
from kobune.node.kubelet.pod import pod_from_json
from kobune.node.machine.cgroups import Hierarchies

GI = 1 << 30
SHARED = "/kobune/demo/node-1"  # One of several nodes on this machine.


def cgroups(hierarchies, root=SHARED):
    capacity, reserved = Amounts(2000, 8 * GI), Amounts(100, GI)
    config = KubeletConfig(
        node_name="n", addresses=[], root_dir=Path("/n"), capacity=capacity, kube_reserved=reserved, cgroup_root=root
    )
    return PodCgroups(config, hierarchies)


def legacy(tmp_path):
    return Hierarchies(None, {name: tmp_path / name for name in ("cpu", "memory", "pids")})


def read(folder):
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


def test_all_pods_together_have_the_declared_size_and_no_more(tmp_path):
    cgroups(legacy(tmp_path)).enforce_allocatable()
    assert read(tmp_path / "cpu" / SHARED[1:] / "kubepods") == {
        "cpu.shares": "1945",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "200000",
    }
    assert read(tmp_path / "memory" / SHARED[1:] / "kubepods") == {"memory.limit_in_bytes": str(7 * GI)}


def test_version_2_says_the_same_in_its_own_files(tmp_path):
    cgroups(Hierarchies(tmp_path, {})).enforce_allocatable()
    found = read(tmp_path / SHARED[1:] / "kubepods")
    assert (found["cpu.max"], found["memory.max"]) == ("200000 100000", str(7 * GI))


def test_a_node_that_is_its_machine_needs_no_such_limit(tmp_path):
    cgroups(legacy(tmp_path), root="").enforce_allocatable()
    assert read(tmp_path / "cpu" / "kubepods") == {"cpu.shares": "1945"}


def test_a_pods_limit_beyond_its_node_is_the_nodes(tmp_path):
    container = {"name": "c", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "4"}}}
    pod = pod_from_json({"metadata": {"name": "web", "uid": "u1"}, "spec": {"containers": [container]}})
    cgroups(legacy(tmp_path)).make(pod)
    [quota] = (tmp_path / "cpu").rglob("podu1/cpu.cfs_quota_us")
    assert quota.read_text() == "200000"
