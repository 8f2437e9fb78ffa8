"""What the nodes of a cluster look like."""

import pytest

from kobune.aks.clusters import Cluster, NodePool, check_cluster
from kobune.aks.nodes import allocatable, capacity, node_shapes
from kobune.aks.reservations import NodeOs
from kobune.api.errors import Invalid


def shapes(*pools, version="1.36.1", **cluster):
    return node_shapes(Cluster("demo", version, pools, **cluster))


def test_names_are_those_of_scale_set_machines():
    first, *_, last = shapes(NodePool("np1", 38))
    assert first.name.startswith("aks-np1-")
    assert first.name.endswith("-vmss000000")
    assert last.name.endswith("-vmss000011")  # 37 in base 36.
    assert len(first.name.split("-")[2]) == 8


def test_pools_share_the_clusters_eight_digits():
    one, two = shapes(NodePool("one", 1), NodePool("two", 1))
    assert one.name.split("-")[2] == two.name.split("-")[2]


def test_addresses_and_pod_ranges_do_not_meet():
    found = shapes(NodePool("np1", 300), NodePool("np2", 300))
    assert len({shape.address for shape in found}) == len({shape.pod_cidr for shape in found}) == 600
    assert (found[0].address, found[0].pod_cidr) == ("10.224.0.4", "10.244.0.0/24")


def test_capacity_and_allocatable_are_those_of_the_size():
    [shape] = shapes(NodePool("np1", 1, vm_size="Standard_D2s_v3", max_pods=110))
    assert capacity(shape.reservations)["cpu"] == "2"
    assert allocatable(shape.reservations)["cpu"] == "1900m"
    assert allocatable(shape.reservations)["pods"] == "110"


def test_zones_are_dealt_in_turn():
    found = shapes(NodePool("np1", 4, zones=("1", "2", "3")))
    assert [shape.labels["topology.kubernetes.io/zone"] for shape in found] == [
        "westeurope-1", "westeurope-2", "westeurope-3", "westeurope-1",
    ]  # fmt: skip


def test_windows_names_have_no_digits_of_the_cluster():
    [shape] = shapes(NodePool("win", 1, os=NodeOs.WINDOWS))
    assert shape.name == "akswin000000"


def test_taints_are_read_as_aks_writes_them():
    [shape] = shapes(NodePool("np1", 1, taints=("CriticalAddonsOnly=true:NoSchedule", "gpu:NoExecute")))
    assert shape.taints == (
        {"key": "CriticalAddonsOnly", "value": "true", "effect": "NoSchedule"},
        {"key": "gpu", "effect": "NoExecute"},
    )


def test_every_bad_field_is_named_at_once():
    bad = Cluster("-", "1.12", (NodePool("Pool", -1, vm_size="Standard_X", max_pods=3),))
    with pytest.raises(Invalid) as refused:
        check_cluster(bad)
    assert [cause.field for cause in refused.value.causes] == [
        "name", "kubernetesVersion", "agentPoolProfiles[Pool].name", "agentPoolProfiles[Pool].count",
        "agentPoolProfiles[Pool].maxPods", "agentPoolProfiles[Pool].vmSize",
    ]  # fmt: skip


def test_a_minor_version_becomes_its_newest_patch_and_a_size_its_own_casing():
    found = check_cluster(Cluster("demo", "1.35", (NodePool("np1", 1, vm_size="standard_d2S_v3"),)))
    assert found.kubernetes_version.startswith("1.35.")
    assert found.pools[0].vm_size == "Standard_D2s_v3"
