"""Resource groups, providers, roles and identities."""


def test_a_groups_deletion_takes_its_clusters_along(arm):
    arm.created()
    arm.created("c2")
    assert arm.call("DELETE", "resourcegroups/rg1")[0] == 202
    location = arm.headers["Location"].removeprefix("https://localhost:8443").partition("?")[0]
    assert arm.call("PUT", arm.path("c3"), arm.body())[1]["code"] == "ResourceGroupBeingDeleted"
    arm.settle()
    assert arm.call("GET", location)[0] == 200
    assert arm.call("HEAD", "resourcegroups/rg1")[0] == 404
    assert arm.call("GET", "resources")[1]["value"] == []


def test_the_node_resource_group_is_shown_and_read_only(arm):
    arm.created()
    name = "resourcegroups/mc_rg1_c1_WESTEUROPE"
    status, group = arm.call("GET", name)
    assert status == 200
    assert group["managedBy"].endswith("/managedClusters/c1")
    for method in ("PUT", "DELETE", "PATCH"):
        status, error = arm.call(method, name, {"location": "westeurope"})
        assert (status, error["code"]) == (403, "DenyAssignmentAuthorizationFailed")


def test_group_names_and_places_are_checked(arm):
    assert arm.call("PUT", "resourcegroups/bad.", {"location": "westeurope"})[1]["code"] == "InvalidResourceGroup"
    assert arm.call("PUT", "resourcegroups/rg", {})[1]["code"] == "LocationRequired"
    arm.group()
    moved = arm.call("PUT", "resourcegroups/rg1", {"location": "eastus"})
    assert (moved[0], moved[1]["code"]) == (409, "InvalidResourceGroupLocation")
    assert arm.call("PUT", "resourcegroups/RG1", {"location": "West Europe", "tags": {"a": "b"}})[1]["name"] == "rg1"


def test_an_unregistered_provider_says_so(arm):
    provider = "providers/Microsoft.ContainerService"
    assert arm.call("GET", provider)[1]["registrationState"] == "Registered"
    assert arm.call("POST", f"{provider}/unregister")[1]["registrationState"] == "NotRegistered"
    assert arm.call("POST", f"{provider}/register")[1]["registrationState"] == "Registered"
    assert arm.call("GET", "providers/Microsoft.Nothing")[1]["code"] == "InvalidResourceNamespace"


def test_roles_are_found_by_name_and_assigned_once(arm):
    arm.created()
    scope = f"{arm.scope}/{arm.path()}/providers/Microsoft.Authorization"
    (role,) = arm.call("GET", f"{scope}/roleDefinitions", **{"$filter": "roleName eq 'acrpull'"})[1]["value"]
    body = {"properties": {"roleDefinitionId": role["id"], "principalId": "aaaaaaaa-0000-0000-0000-000000000009"}}
    assert arm.call("PUT", f"{scope}/roleAssignments/aaaaaaaa-0000-0000-0000-000000000001", body)[0] == 201
    assert (
        arm.call("PUT", f"{scope}/roleAssignments/aaaaaaaa-0000-0000-0000-000000000002", body)[1]["code"]
        == "RoleAssignmentExists"
    )
    found = arm.call("GET", f"{scope}/roleAssignments", **{"$filter": "atScope()"})[1]["value"]
    assert [one["properties"]["scope"] == f"{arm.scope}/{arm.path()}" for one in found] == [
        False,
        True,
    ]  # One inherited.


def test_an_identity_keeps_its_ids(arm):
    arm.group()
    path = "resourceGroups/rg1/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id1"
    first = arm.call("PUT", path, {"location": "westeurope"})[1]
    assert arm.call("PUT", path, {"location": "westeurope"})[1]["properties"] == first["properties"]
    assert arm.call("DELETE", path)[0] == 200
    assert arm.call("GET", path)[1]["code"] == "ResourceNotFound"


def names(arm, wanted: str = "", path: str = "resources"):
    status, body = arm.call("GET", path, **({"$filter": wanted} if wanted else {}))
    assert status == 200, body
    return [each["name"] for each in body["value"]]


def test_resources_are_chosen_by_group_type_name_location_and_tag(arm):
    arm.created("c1", tags={"team": "a"})
    arm.group("rg2", "northeurope")
    assert arm.call("PUT", arm.path("c2", "rg2"), arm.body(location="northeurope"))[0] == 201
    arm.settle()
    clusters = "resourceType eq 'Microsoft.ContainerService/managedClusters'"
    assert names(arm, clusters) == ["c1", "c2"]
    assert names(arm, "resourceGroup eq 'RG2'") == ["c2"]
    assert names(arm, f"name eq 'c1' and {clusters}") == ["c1"]
    assert names(arm, f"location eq 'northeurope' and {clusters}") == ["c2"]
    assert names(arm, "tagName eq 'team' and tagValue eq 'a'") == ["c1"]
    assert names(arm, "tagName eq 'team' and tagValue eq 'b'") == []
    assert arm.call("GET", "resources", **{"$filter": "substringof('c', name)"})[1]["code"] == "BadRequest"


def test_a_node_resource_group_has_the_scale_sets_of_its_pools(arm):
    arm.created()
    scale_set = f"aks-nodepool1-{arm.fleet.views['c1-0'].cluster.suffix}-vmss"
    group = "MC_rg1_c1_westeurope"
    assert names(arm, path=f"resourceGroups/{group}/resources") == [scale_set]
    assert names(arm, f"resourceGroup eq '{group}'") == [scale_set]
    assert names(arm, path="resourceGroups/rg1/resources") == ["c1"]
