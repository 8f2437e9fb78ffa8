"""The activity log: what was done, by whom, with what outcome."""

from dataclasses import replace

from kobune.aks.arm.auto_upgrade import follow_auto_upgrades

CREATOR = "22222222-2222-2222-2222-222222222222"  # As `arm` signs in.
EVENTS = "providers/Microsoft.Insights/eventtypes/management/values"


def events(arm, wanted: str = ""):
    status, body = arm.call("GET", EVENTS, **({"$filter": wanted} if wanted else {}))
    assert status == 200, body
    return body["value"]


def told(arm, *fields):
    return [tuple(_value(event[field]) for field in fields) for event in events(arm)]


def _value(field):
    return field["value"] if isinstance(field, dict) else field


def test_every_operation_is_a_start_and_an_end_the_newest_first(arm):
    arm.created()
    arm.call("POST", f"{arm.path()}/stop")
    arm.settle()
    clusters = "Microsoft.ContainerService/managedClusters"
    assert told(arm, "operationName", "status") == [
        (f"{clusters}/stop/action", "Succeeded"),
        (f"{clusters}/stop/action", "Started"),
        (f"{clusters}/write", "Succeeded"),
        (f"{clusters}/write", "Started"),
    ]


def test_an_operation_names_who_asked_for_it(arm):
    arm.created()
    arm.caller = replace(arm.caller, app_id="44444444-4444-4444-4444-444444444444")
    arm.call("POST", f"{arm.path()}/stop")
    arm.caller = replace(arm.caller, person="admin@kobune.local")
    arm.settle()
    arm.call("POST", f"{arm.path()}/start")
    callers = [caller for caller, status in told(arm, "caller", "status") if status == "Started"]
    assert callers == ["admin@kobune.local", "44444444-4444-4444-4444-444444444444", CREATOR]


def test_who_aborts_is_not_who_began(arm):
    arm.created()
    arm.fleet.holds = True
    arm.call("POST", f"{arm.path()}/stop")
    arm.caller = replace(arm.caller, person="admin@kobune.local")
    assert arm.call("POST", f"{arm.path()}/abort")[0] == 202
    callers = dict(told(arm, "operationName", "caller"))
    clusters = "Microsoft.ContainerService/managedClusters"
    assert callers[f"{clusters}/abort/action"] == "admin@kobune.local"
    assert callers[f"{clusters}/stop/action"] == CREATOR


def test_what_the_service_does_by_itself_is_told_apart(arm):
    arm.created(kubernetesVersion="1.36.0", autoUpgradeProfile={"upgradeChannel": "patch"})
    follow_auto_upgrades(arm.service)
    arm.settle()
    seen = [(event["caller"] == "Azure Kubernetes Service", event["properties"]["automatic"]) for event in events(arm)]
    assert seen == [(True, "true"), (True, "true"), (False, "false"), (False, "false")]


def test_a_group_goes_and_its_clusters_with_it(arm):
    arm.created()
    assert arm.call("DELETE", "resourcegroups/rg1")[0] == 202
    arm.settle()
    ended = [
        (what, caller)
        for what, status, caller in told(arm, "operationName", "status", "caller")
        if status == "Succeeded"
    ]
    assert ended[:2] == [
        ("Microsoft.Resources/subscriptions/resourceGroups/delete", CREATOR),
        ("Microsoft.ContainerService/managedClusters/delete", CREATOR),
    ]


def test_nodes_that_had_to_be_simulated_are_a_warning(arm):
    arm.fleet.room = 1
    arm.created("c1", arm.pool(count=3), arm.pool("np2", mode="User", count=2, tags={"kobune.io/runtime": "simulated"}))
    end, start = events(arm)
    assert (end["level"], start["level"]) == ("Warning", "Informational")
    assert "warning" not in start["properties"]
    assert end["properties"]["warning"] == (
        "2 of the 3 nodes of agent pool nodepool1 are simulated and run no containers: this machine carries no more real ones."
    )


def test_a_filter_chooses_by_time_group_and_state(arm):
    arm.created()
    first = events(arm)[0]
    since = f"eventTimestamp ge '{first['eventTimestamp']}' and resourceGroupName eq 'RG1'"
    assert [each["id"] for each in events(arm, since)] == [first["id"]]
    assert events(arm, "resourceGroupName eq 'rg2'") == []
    assert [_value(each["status"]) for each in events(arm, "status eq Started")] == ["Started"]
    assert arm.call("GET", EVENTS, **{"$filter": "colour eq 'red'"})[0] == 400
