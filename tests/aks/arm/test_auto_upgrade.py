"""What is upgraded without anybody's asking, and when."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kobune.aks.arm.auto_upgrade import channel_target, follow_auto_upgrades
from kobune.aks.arm.documents import KEPT
from kobune.aks.arm.fleet import Outcome
from kobune.aks.arm.service import CLUSTERS

MONDAYS = {"weekly": {"intervalWeeks": 1, "dayOfWeek": "Monday"}}


@pytest.mark.parametrize(
    "channel, current, target",
    [
        ("none", "1.34.0", "1.34.0"),
        ("node-image", "1.34.0", "1.34.0"),
        ("patch", "1.34.0", "1.34.2"),
        ("patch", "1.34.2", "1.34.2"),
        ("stable", "1.34.0", "1.35.1"),
        ("stable", "1.35.1", "1.36.1"),
        ("stable", "1.36.0", "1.36.1"),
        ("stable", "1.37.0", "1.37.0"),
        ("rapid", "1.35.0", "1.36.1"),
        ("rapid", "1.36.1", "1.37.0"),
        ("rapid", "1.37.0", "1.37.0"),
    ],
)
def test_a_channel_leads_to_its_version_one_minor_at_a_time(channel, current, target):
    assert channel_target(channel, current) == target


def upgrades(arm, days: float = 0):
    """Let the time come; the operation that begins by itself, if one does, carried out."""
    arm.service.clock.start += timedelta(days=days)
    asked = len(arm.fleet.asked)
    follow_auto_upgrades(arm.service)
    arm.settle()
    return [kind for _, kind, _ in arm.fleet.asked[asked:]]


def plan(arm, name, **window):
    body = {"properties": {"maintenanceWindow": {"startTime": "10:00", "durationHours": 4, **window}}}
    return arm.call("PUT", f"{arm.path()}/maintenanceConfigurations/{name}", body)


def with_old_images(arm):
    """As if the nodes had been made before the newest image came out."""
    [cluster] = arm.service.store.list(CLUSTERS)
    pools = cluster.document["properties"]["agentPoolProfiles"]
    for pool in pools:
        pool[KEPT]["image"] = "AKSUbuntu-2404gen2containerd-202608.12.0"
    arm.service.save(cluster)


def images(arm):
    """The releases that the pools are to have."""
    [cluster] = arm.service.store.list(CLUSTERS)
    return [pool[KEPT]["image"].rpartition("-")[2] for pool in cluster.document["properties"]["agentPoolProfiles"]]


def test_a_channel_upgrades_cluster_and_pools_as_soon_as_it_may(arm):
    arm.created(
        "c1",
        arm.pool(),
        arm.pool("np2", mode="User", orchestratorVersion="1.34.0"),
        kubernetesVersion="1.34.1",
        autoUpgradeProfile={"upgradeChannel": "stable"},
    )
    assert [upgrades(arm), upgrades(arm), upgrades(arm)] == [["upgrade"], ["upgrade"], []]
    properties = arm.show()["properties"]
    assert properties["currentKubernetesVersion"] == properties["kubernetesVersion"] == "1.36.1"
    assert {pool["currentOrchestratorVersion"] for pool in properties["agentPoolProfiles"]} == {"1.36.1"}
    operation = arm.call("GET", f"{arm.path()}/operations/latest")[1]
    assert operation["status"] == "Succeeded"


def test_who_left_the_patch_to_the_service_goes_on_so(arm):
    arm.created(kubernetesVersion="1.36", autoUpgradeProfile={"upgradeChannel": "rapid"})
    assert upgrades(arm) == ["upgrade"]
    properties = arm.show()["properties"]
    assert (properties["kubernetesVersion"], properties["currentKubernetesVersion"]) == ("1.37", "1.37.0")


def test_an_upgrade_waits_for_its_window(arm):
    arm.created(kubernetesVersion="1.36.0", autoUpgradeProfile={"upgradeChannel": "patch"})
    assert plan(arm, "aksManagedAutoUpgradeSchedule", schedule=MONDAYS)[0] == 200
    assert upgrades(arm) == []  # It is Monday, eight o'clock.
    assert upgrades(arm, days=1) == []
    assert upgrades(arm, days=6 + 3 / 24) == ["upgrade"]  # Monday, eleven o'clock.


def test_a_window_of_the_default_configuration_counts_where_there_is_no_other(arm):
    arm.created(kubernetesVersion="1.36.0", autoUpgradeProfile={"upgradeChannel": "patch"})
    slots = {"properties": {"timeInWeek": [{"day": "Tuesday", "hourSlots": [9]}]}}
    assert arm.call("PUT", f"{arm.path()}/maintenanceConfigurations/default", slots)[0] == 200
    assert upgrades(arm) == []
    assert upgrades(arm, days=1 + 1 / 24) == ["upgrade"]


def test_a_failed_upgrade_is_tried_again_in_the_next_window(arm):
    arm.created(kubernetesVersion="1.36.0", autoUpgradeProfile={"upgradeChannel": "patch"})
    plan(arm, "aksManagedAutoUpgradeSchedule", schedule=MONDAYS)
    arm.fleet.outcome = Outcome("", "Failed", code="UpgradeFailed", message="a budget")
    assert upgrades(arm, days=3 / 24) == ["upgrade"]
    arm.fleet.views["c1-0"] = replace(arm.fleet.views["c1-0"], kubernetes_version="1.36.0")
    assert arm.show()["properties"]["provisioningState"] == "Failed"
    assert upgrades(arm, days=1 / 24) == []
    arm.fleet.outcome = None
    assert upgrades(arm, days=7) == ["upgrade"]
    assert arm.show()["properties"]["currentKubernetesVersion"] == "1.36.1"


def test_without_a_window_a_failed_upgrade_is_tried_again_a_day_later(arm):
    arm.created(kubernetesVersion="1.36.0", autoUpgradeProfile={"upgradeChannel": "patch"})
    arm.fleet.outcome = Outcome("", "Failed", code="UpgradeFailed", message="a budget")
    assert upgrades(arm) == ["upgrade"]
    arm.fleet.views["c1-0"] = replace(arm.fleet.views["c1-0"], kubernetes_version="1.36.0")
    assert [upgrades(arm, days=0.9), upgrades(arm, days=0.2)] == [[], ["upgrade"]]


def test_new_node_images_come_by_their_own_channel_in_their_own_window(arm):
    arm.created()
    with_old_images(arm)
    assert plan(arm, "aksManagedNodeOSUpgradeSchedule", schedule={"daily": {"intervalDays": 2}})[0] == 200
    assert [upgrades(arm), upgrades(arm, days=1.1)] == [[], []]
    assert upgrades(arm, days=1) == ["node-image"]
    assert images(arm) == ["202608.26.0"]
    assert upgrades(arm) == []


@pytest.mark.parametrize("channel", ["None", "Unmanaged"])
def test_who_wants_no_new_images_keeps_the_old_ones(arm, channel):
    arm.created(autoUpgradeProfile={"nodeOSUpgradeChannel": channel})
    with_old_images(arm)
    assert upgrades(arm) == []
    assert images(arm) == ["202608.12.0"]


def test_security_patches_are_of_linux_alone(arm):
    arm.created(
        "c1",
        arm.pool(),
        arm.pool("win", mode="User", osType="Windows"),
        networkProfile={"networkPlugin": "azure"},
        autoUpgradeProfile={"nodeOSUpgradeChannel": "SecurityPatch"},
    )
    with_old_images(arm)
    assert upgrades(arm) == ["node-image"]
    assert images(arm) == ["202608.26.0", "202608.12.0"]


def test_the_channel_of_node_images_is_planned_by_the_clusters_schedule(arm):
    arm.created(autoUpgradeProfile={"upgradeChannel": "node-image", "nodeOSUpgradeChannel": "None"})
    assert arm.show()["properties"]["autoUpgradeProfile"]["nodeOSUpgradeChannel"] == "NodeImage"
    with_old_images(arm)
    plan(arm, "aksManagedAutoUpgradeSchedule", schedule=MONDAYS)
    assert [upgrades(arm), upgrades(arm, days=3 / 24)] == [[], ["node-image"]]


def test_nothing_begins_while_something_else_goes_on_or_the_cluster_is_stopped(arm):
    arm.created(kubernetesVersion="1.36.0", autoUpgradeProfile={"upgradeChannel": "patch"})
    assert arm.call("POST", f"{arm.path()}/stop")[0] == 202
    assert upgrades(arm) == []
    assert upgrades(arm) == []
    arm.fleet.holds = True
    arm.call("POST", f"{arm.path()}/start")
    assert upgrades(arm) == []
    arm.fleet.finish("c1-0")
    arm.settle()
    arm.fleet.holds = False
    assert upgrades(arm) == ["upgrade"]


def changed(arm, **properties):
    body = arm.show()
    body["properties"] |= properties
    return arm.call("PUT", arm.path(), body)


def test_with_automatic_upgrades_the_control_plane_is_not_upgraded_alone(arm):
    arm.created(kubernetesVersion="1.35", autoUpgradeProfile={"upgradeChannel": "patch"})
    status, error = changed(arm, kubernetesVersion="1.36")
    assert (status, error["code"]) == (400, "NotAllAgentPoolOrchestratorVersionSpecifiedAndUnchanged")
    assert changed(arm, kubernetesVersion="1.36", autoUpgradeProfile={"upgradeChannel": "none"})[0] == 200


@pytest.mark.parametrize("profile", [{"upgradeChannel": "fast"}, {"nodeOSUpgradeChannel": "Weekly"}])
def test_unknown_channels_are_refused(arm, profile):
    arm.group()
    assert arm.create("c1", autoUpgradeProfile=profile)[1]["code"] == "InvalidParameter"


def test_node_images_of_the_clusters_channel_cannot_be_switched_off_by_the_other(arm):
    arm.created(autoUpgradeProfile={"upgradeChannel": "node-image"})
    profile = {"upgradeChannel": "node-image", "nodeOSUpgradeChannel": "None"}
    assert changed(arm, autoUpgradeProfile=profile)[1]["code"] == "InvalidParameter"


def test_maintenance_configurations_are_kept_with_their_defaults(arm):
    arm.created()
    path = f"{arm.path()}/maintenanceConfigurations"
    assert plan(arm, "aksManagedAutoUpgradeSchedule", schedule=MONDAYS)[0] == 200
    window = arm.call("GET", f"{path}/aksmanagedautoupgradeschedule")[1]["properties"]["maintenanceWindow"]
    assert (window["startDate"], window["utcOffset"]) == ("2026-01-05", "+00:00")
    assert plan(arm, "default", schedule=MONDAYS)[0] == 200
    names = [found["name"] for found in arm.call("GET", path)[1]["value"]]
    assert names == ["aksManagedAutoUpgradeSchedule", "default"]
    assert arm.call("DELETE", f"{path}/default")[0] == 200
    assert arm.call("DELETE", f"{path}/default")[0] == 204
    assert arm.call("GET", f"{path}/default")[0] == 404


def test_maintenance_configurations_that_aks_refuses_are_refused(arm):
    arm.created()
    assert plan(arm, "other", schedule=MONDAYS)[1]["code"] == "InvalidParameter"
    assert plan(arm, "default", schedule={"daily": {"intervalDays": 1}})[1]["code"] == "InvalidParameter"
    assert (
        plan(arm, "aksManagedAutoUpgradeSchedule", schedule=MONDAYS, durationHours=2)[1]["code"] == "InvalidParameter"
    )
    path = f"{arm.path()}/maintenanceConfigurations"
    slots = {"properties": {"timeInWeek": [{"day": "Monday", "hourSlots": [1]}]}}
    assert arm.call("PUT", f"{path}/aksManagedAutoUpgradeSchedule", slots)[1]["code"] == "InvalidParameter"
    wrong = {"properties": {"timeInWeek": [{"day": "Monday", "hourSlots": [24]}]}}
    assert arm.call("PUT", f"{path}/default", wrong)[1]["code"] == "InvalidParameter"
