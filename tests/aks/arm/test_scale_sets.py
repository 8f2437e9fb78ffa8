"""The scale sets behind agent pools, in the node resource group."""

from dataclasses import replace

import pytest

GROUP = "resourceGroups/MC_rg1_c1_westeurope/providers/Microsoft.Compute/virtualMachineScaleSets"


@pytest.fixture
def sets(arm):
    """Names of the scale sets of a cluster with a spot pool, by pool."""
    arm.created("c1", arm.pool(), arm.pool("spot", mode="User", scaleSetPriority="Spot", count=3))
    found = arm.call("GET", GROUP)[1]["value"]
    return {each["tags"]["aks-managed-poolName"]: each["name"] for each in found}


def test_each_pool_is_a_scale_set_of_the_node_resource_group(arm, sets):
    suffix = arm.fleet.views["c1-0"].cluster.suffix
    assert sets == {"nodepool1": f"aks-nodepool1-{suffix}-vmss", "spot": f"aks-spot-{suffix}-vmss"}
    shown = arm.call("GET", f"{GROUP}/{sets['spot'].upper()}")[1]
    assert shown["sku"]["capacity"] == 3
    profile = shown["properties"]["virtualMachineProfile"]
    assert (profile["priority"], profile["evictionPolicy"]) == ("Spot", "Delete")


def test_a_scale_set_has_its_pools_machines(arm, sets):
    machines = arm.call("GET", f"{GROUP}/{sets['spot']}/virtualMachines")[1]["value"]
    assert [machine["instanceId"] for machine in machines] == ["0", "1", "2"]
    one = arm.call("GET", f"{GROUP}/{sets['spot']}/virtualMachines/1")[1]
    assert one["tags"] == {"kobune.io/runtime": "real"}
    assert one["properties"]["osProfile"]["computerName"] == arm.fleet.views["c1-0"].nodes[3].name
    listed = arm.call("GET", f"{arm.pool_path('spot')}/machines")[1]["value"][1]
    assert listed["properties"]["resourceId"].rpartition("/")[2] == one["instanceId"]


def test_a_spot_machine_is_taken_back(arm, sets):
    assert arm.call("POST", f"{GROUP}/{sets['spot']}/virtualMachines/1/simulateEviction") == (204, None)
    assert arm.fleet.evicted == [("c1-0", arm.fleet.views["c1-0"].nodes[3].name)]


def test_a_wish_that_comes_meanwhile_leaves_it_taken_back(arm, sets):
    view = arm.fleet.views["c1-0"]
    name = view.nodes[3].name
    system, spot = view.cluster.pools
    cluster = replace(view.cluster, pools=(system, replace(spot, evicted=(name,))))
    arm.fleet.views["c1-0"] = replace(view, cluster=cluster)
    assert arm.call("POST", f"{arm.path()}/stop")[0] == 202
    assert arm.fleet.views["c1-0"].cluster.pools[1].evicted == (name,)


def test_no_other_machine_is_taken_back(arm, sets):
    status, error = arm.call("POST", f"{GROUP}/{sets['nodepool1']}/virtualMachines/0/simulateEviction")
    assert (status, error["code"]) == (409, "OperationNotAllowed")
    assert arm.call("POST", f"{GROUP}/{sets['spot']}/virtualMachines/7/simulateEviction")[0] == 404
    assert arm.fleet.evicted == []


def test_other_groups_have_none(arm, sets):
    other = "resourceGroups/{}/providers/Microsoft.Compute/virtualMachineScaleSets"
    assert arm.call("GET", other.format("rg1"))[1] == {"value": []}
    assert arm.call("GET", other.format("none"))[1]["code"] == "ResourceGroupNotFound"
    assert arm.call("GET", other.format("rg1") + "/x")[1]["code"] == "ResourceNotFound"
