"""Agent pools and machines through ARM."""

import json
import subprocess
import sys

import pytest

from kobune.aks.nodes import allocatable, node_shapes


def test_a_pool_is_added_and_shows_in_the_cluster(arm):
    arm.created()
    body = {"properties": {"count": 3, "vmSize": "Standard_D4s_v5", "mode": "User", "availabilityZones": ["1", "2"]}}
    status, shown = arm.call("PUT", arm.pool_path("np2"), body)
    assert status == 201
    assert shown["properties"]["provisioningState"] == "Creating"
    arm.settle()
    assert [pool["name"] for pool in arm.show()["properties"]["agentPoolProfiles"]] == ["nodepool1", "np2"]
    assert arm.call("GET", arm.pool_path("NP2"))[1]["properties"]["provisioningState"] == "Succeeded"
    wanted = arm.fleet.views["c1-0"].cluster.pools[1]
    assert (wanted.name, wanted.count, wanted.zones) == ("np2", 3, ("1", "2"))


def test_scale_upgrade_and_image_are_called_by_their_names(arm):
    arm.created(kubernetesVersion="1.34")
    shown = arm.show()
    shown["properties"]["kubernetesVersion"] = "1.35"
    arm.call("PUT", arm.path(), shown)
    arm.settle()
    path = arm.pool_path("nodepool1")
    pool = arm.call("GET", path)[1]
    pool["properties"]["count"] = 5
    assert arm.call("PUT", path, pool)[1]["properties"]["provisioningState"] == "Scaling"
    arm.settle()
    pool["properties"]["orchestratorVersion"] = "1.35"
    assert arm.call("PUT", path, pool)[1]["properties"]["provisioningState"] == "Upgrading"
    arm.settle()
    assert arm.call("POST", f"{path}/upgradeNodeImageVersion")[0] == 202
    location = arm.headers["Location"].removeprefix("https://localhost:8443").partition("?")[0]
    arm.settle()
    assert arm.call("GET", location)[1]["name"] == "nodepool1"
    assert [kind for _, kind, _ in arm.fleet.asked] == ["create", "upgrade", "scale", "upgrade", "node-image"]


def test_a_pool_that_goes_is_shown_until_it_is_gone(arm):
    arm.created("c1", arm.pool(), arm.pool("np2", mode="User"))
    arm.fleet.holds = True
    assert arm.call("DELETE", arm.pool_path("np2"))[0] == 202
    assert arm.call("GET", arm.pool_path("np2"))[1]["properties"]["provisioningState"] == "Deleting"
    assert [pool.name for pool in arm.fleet.views["c1-0"].cluster.pools] == ["nodepool1"]
    arm.fleet.finish("c1-0")
    arm.settle()
    assert arm.call("GET", arm.pool_path("np2"))[0] == 404
    assert arm.call("DELETE", arm.pool_path("np2"))[0] == 204


def test_node_images_of_several_pools_are_upgraded_together(arm):
    """az asks for one pool after the other, without waiting."""
    arm.created("c1", arm.pool(), arm.pool("np2", mode="User"))
    arm.fleet.holds = True
    for name in ("nodepool1", "np2"):
        assert arm.call("POST", f"{arm.pool_path(name)}/upgradeNodeImageVersion")[0] == 202
    assert arm.call("POST", f"{arm.pool_path('np2')}/upgradeNodeImageVersion")[0] == 409
    arm.settle()
    assert len(arm.fleet.asked) == 3
    arm.fleet.finish("c1-0")
    arm.settle()
    assert arm.service.store.unfinished() == []
    for name in ("nodepool1", "np2"):
        assert arm.call("GET", arm.pool_path(name))[1]["properties"]["provisioningState"] == "Succeeded"


def test_the_last_system_pool_stays(arm):
    arm.created("c1", arm.pool(), arm.pool("np2", mode="User"))
    status, error = arm.call("DELETE", arm.pool_path("nodepool1"))
    assert (status, error["code"]) == (400, "MustDefineAtLeastOneSystemPool")


def test_a_pool_stops_and_starts_by_its_power_state(arm):
    arm.created("c1", arm.pool(), arm.pool("np2", mode="User"))
    for code, running in (("Stopped", False), ("Running", True)):
        pool = arm.call("GET", arm.pool_path("np2"))[1]
        pool["properties"]["powerState"] = {"code": code}
        assert arm.call("PUT", arm.pool_path("np2"), pool)[0] == 200
        arm.settle()
        assert arm.fleet.views["c1-0"].cluster.pools[1].running is running
        assert arm.call("GET", arm.pool_path("np2"))[1]["properties"]["powerState"]["code"] == code


def test_machines_are_listed_and_deleted_by_name(arm):
    arm.created("c1", arm.pool(count=3))
    machines = arm.call("GET", f"{arm.pool_path('nodepool1')}/machines")[1]["value"]
    assert len(machines) == 3
    name = machines[1]["name"]
    assert arm.call("GET", f"{arm.pool_path('nodepool1')}/machines/{name}")[1]["properties"]["status"]["ready"]
    status, error = arm.call("POST", f"{arm.pool_path('nodepool1')}/deleteMachines", {"machineNames": ["other"]})
    assert (status, error["code"]) == (400, "InvalidParameter")
    assert arm.call("POST", f"{arm.pool_path('nodepool1')}/deleteMachines", {"machineNames": [name]})[0] == 202
    wanted = arm.fleet.views["c1-0"].cluster.pools[0]
    assert (wanted.count, wanted.removed) == (2, (name,))


def test_simulated_nodes_are_asked_for_by_a_tag(arm):
    arm.created("c1", arm.pool(), arm.pool("np2", mode="User", tags={"kobune.io/runtime": "simulated"}))
    assert [pool.simulated for pool in arm.fleet.views["c1-0"].cluster.pools] == [False, True]
    asked = arm.call("GET", arm.pool_path("np2"))[1]["properties"]
    assert (asked["nodeRuntimes"], "status" in asked) == ({"real": 0, "simulated": 2}, False)


def test_pools_and_machines_tell_which_nodes_are_simulated(arm):
    arm.fleet.room = 1
    arm.created("c1", arm.pool(count=3, tags={"team": "a"}))
    shown = arm.call("GET", arm.pool_path("nodepool1"))[1]
    assert shown["properties"]["nodeRuntimes"] == {"real": 1, "simulated": 2}
    assert shown["properties"]["status"]["provisioningError"]["code"] == "SimulatedNodes"
    machines = arm.call("GET", f"{arm.pool_path('nodepool1')}/machines")[1]["value"]
    assert [machine["properties"]["tags"] for machine in machines] == [
        {"team": "a", "kobune.io/runtime": runtime} for runtime in ("real", "simulated", "simulated")
    ]
    assert arm.call("PUT", arm.pool_path("nodepool1"), shown)[0] == 200  # What is shown may come back.
    arm.settle()
    assert arm.call("GET", arm.pool_path("nodepool1"))[1]["properties"]["tags"] == {"team": "a"}


def test_a_spot_pool_shows_its_taint_and_takes_it_back(arm):
    arm.created("c1", arm.pool(), arm.pool("spot", mode="User", scaleSetPriority="Spot"))
    for _ in range(2):
        shown = arm.call("GET", arm.pool_path("spot"))[1]
        assert shown["properties"]["nodeTaints"] == ["kubernetes.azure.com/scalesetpriority=spot:NoSchedule"]
        assert shown["properties"]["nodeLabels"] == {"kubernetes.azure.com/scalesetpriority": "spot"}
        assert arm.call("PUT", arm.pool_path("spot"), shown)[0] == 200
        arm.settle()
    assert arm.fleet.views["c1-0"].cluster.pools[1].spot


@pytest.mark.parametrize("field, value", [("vmSize", "Standard_D4s_v5"), ("maxPods", 30), ("availabilityZones", ["1"])])
def test_what_is_fixed_cannot_be_changed(arm, field, value):
    arm.created()
    status, error = arm.call("PUT", arm.pool_path("nodepool1"), {"properties": {field: value}})
    assert (status, error["code"]) == (400, "PropertyChangeNotAllowed")
    assert error["message"] == f"Changing property 'properties.{field}' is not allowed."


def test_a_pool_that_a_write_of_the_cluster_leaves_out_stays_and_none_is_made_so(arm):
    arm.created("c1", arm.pool(), arm.pool("np2", mode="User"))
    shown = arm.show()
    shown["properties"]["agentPoolProfiles"] = shown["properties"]["agentPoolProfiles"][:1]
    shown["properties"]["agentPoolProfiles"][0]["count"] = 3
    assert arm.call("PUT", arm.path(), shown)[0] == 200
    arm.settle()
    pools = {pool["name"]: pool["count"] for pool in arm.show()["properties"]["agentPoolProfiles"]}
    assert pools == {"nodepool1": 3, "np2": 2}
    shown["properties"]["agentPoolProfiles"].append(arm.pool("np3", mode="User"))
    status, error = arm.call("PUT", arm.path(), shown)
    assert (status, error["code"], error["target"]) == (400, "BadRequest", "agentPoolProfiles")


@pytest.mark.parametrize("disk", [29, 2049])
def test_disks_that_aks_has_not_are_refused(arm, disk):
    arm.group()
    assert arm.create("c1", arm.pool(osDiskSizeGB=disk))[1]["code"] == "InvalidParameter"


def test_reservations_are_the_same_on_the_pool_on_the_node_and_at_the_command_line(arm):
    arm.created("c1", arm.pool(vmSize="Standard_D4s_v5", maxPods=60, osDiskSizeGB=256, orchestratorVersion="1.35"),
                kubernetesVersion="1.36")  # fmt: skip
    [pool] = arm.show()["properties"]["agentPoolProfiles"]
    options = ["--max-pods", "60", "--kubernetes-version", "1.35.1", "--os-disk-gib", "256", "-o", "json"]
    command = [sys.executable, "-m", "kobune", "reservations", "Standard_D4s_v5", *options]
    printed = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert pool["reservations"] == printed
    shape = node_shapes(arm.fleet.views["c1-0"].cluster)[0]
    lines = [f"{line['amount']} ({line['reason']})" for line in printed["lines"]]
    for line in lines:
        assert line in shape.annotations["kobune.io/reservations"]
    shown = allocatable(shape.reservations)
    assert shown["cpu"] == f"{printed['cpu']['allocatableMillicores']}m"
    assert shown["memory"] == f"{printed['memory']['allocatableKi']}Ki"
    assert shown["ephemeral-storage"] == str(printed["ephemeralStorage"]["allocatableBytes"])
