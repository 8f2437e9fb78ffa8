"""Version 1, version 2 and hybrid machines are told apart by their mounts."""

from pathlib import Path

from kobune.node.machine.cgroups import find_hierarchies

V1 = "36 25 0:31 / /sys/fs/cgroup/{0} rw,nosuid - cgroup cgroup rw,{0}"
V2 = "35 25 0:30 / /sys/fs/cgroup{0} rw,nosuid - cgroup2 cgroup rw"


def test_version_2_alone_has_everything_in_one_place():
    found = find_hierarchies(V2.format(""))
    assert found.unified == Path("/sys/fs/cgroup")
    assert found.roots == [Path("/sys/fs/cgroup")]


def test_a_hybrid_machine_has_its_controllers_in_version_1():
    found = find_hierarchies("\n".join([V2.format("/unified"), V1.format("memory"), V1.format("cpu")]))
    assert found.unified is None
    assert found.roots == [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/cpu")]
    assert found.missing == ["cpuset", "pids"]


def test_controllers_mounted_together_are_one_place():
    found = find_hierarchies("36 25 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                             + V1.format("memory"))  # fmt: skip
    assert found.legacy["cpu"] == found.legacy["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert len(found.roots) == 2
