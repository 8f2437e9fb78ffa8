"""Entra integration: its rules, credentials, and what the clusters' guards are told."""

import base64
import json

import pytest

from kobune.aks.arm.guarding import follow_guards
from kobune.aks.guard import SERVER_APPLICATION
from kobune.aks.roles import BUILT_IN

GROUP, WHO = "dddddddd-0000-0000-0000-000000000001", "eeeeeeee-0000-0000-0000-000000000001"
ROLES = {role.name: role.id for role in BUILT_IN}


def entra(**more):
    return {"managed": True, "adminGroupObjectIDs": [GROUP], **more}


def kubeconfig(answer):
    return json.loads(base64.b64decode(answer["kubeconfigs"][0]["value"]))


def test_users_bring_tokens_by_a_credential_plugin_or_kubectls_own_way(arm):
    arm.created(aadProfile=entra())
    assert arm.show()["properties"]["aadProfile"]["tenantID"] == arm.service.sign_in.tenant
    path = f"{arm.path()}/listClusterUserCredential"
    plugin = kubeconfig(arm.call("POST", path)[1])["users"][0]["user"]["exec"]
    assert plugin["apiVersion"] == "client.authentication.k8s.io/v1beta1"
    asked = dict(zip(plugin["args"][-10::2], plugin["args"][-9::2], strict=True))
    assert (asked["--server-id"], asked["--login"]) == (SERVER_APPLICATION, "devicecode")
    older = kubeconfig(arm.call("POST", path, format="azure")[1])["users"][0]["user"]["auth-provider"]
    assert (older["name"], older["config"]["apiserver-id"]) == ("azure", SERVER_APPLICATION)
    assert arm.call("POST", path, format="other")[1]["code"] == "InvalidParameter"
    assert "user" not in kubeconfig(arm.call("POST", f"{arm.path()}/listClusterAdminCredential")[1])["users"][0]


def test_without_local_accounts_there_are_no_static_credentials(arm):
    arm.created(aadProfile=entra(), disableLocalAccounts=True)
    for call in (
        "listClusterAdminCredential",
        "listClusterMonitoringUserCredential",
        "accessProfiles/clusterAdmin/listCredential",
    ):
        status, body = arm.call("POST", f"{arm.path()}/{call}")
        assert (status, body["code"]) == (400, "BadRequest"), call
        assert body["message"].startswith("Getting static credential is not allowed")
    assert arm.call("POST", f"{arm.path()}/listClusterUserCredential")[0] == 200


@pytest.mark.parametrize(
    "profile, code",
    [
        pytest.param({"managed": True, "adminGroupObjectIDs": ["admins"]}, "InvalidParameter", id="group"),
        pytest.param({"managed": True, "tenantID": GROUP}, "InvalidParameter", id="tenant"),
        pytest.param({"managed": False, "enableAzureRBAC": True}, "BadRequest", id="azure-rbac-alone"),
        pytest.param({"clientAppID": GROUP, "serverAppID": GROUP}, "BadRequest", id="legacy"),
    ],
)
def test_profiles_that_cannot_be_are_refused(arm, profile, code):
    arm.group()
    status, body = arm.create(aadProfile=profile)
    assert (status, body["code"]) == (400, code)


def test_integration_is_turned_on_later_and_never_off(arm):
    arm.created()
    body = arm.show()
    body["properties"]["aadProfile"] = entra()
    assert arm.call("PUT", arm.path(), body)[0] == 200
    arm.settle()
    body["properties"]["aadProfile"]["managed"] = False
    assert arm.call("PUT", arm.path(), body)[1]["code"] == "BadRequest"


def test_guards_are_told_of_administrators_and_of_roles_inside_the_cluster(arm):
    arm.created("plain")
    arm.created("c1", aadProfile=entra(enableAzureRBAC=True))
    scopes = {
        "Azure Kubernetes Service RBAC Reader": f"{arm.path()}/namespaces/team",
        "Azure Kubernetes Service RBAC Writer": "resourceGroups/rg1",
        "Azure Kubernetes Service RBAC Admin": arm.path("plain"),
        "Contributor": arm.path(),
    }
    for number, (role, scope) in enumerate(scopes.items()):
        role_id = f"{arm.scope}/providers/Microsoft.Authorization/roleDefinitions/{ROLES[role]}"
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments/ffffffff-0000-0000-0000-00000000000{number}"
        assert arm.call("PUT", path, {"properties": {"roleDefinitionId": role_id, "principalId": WHO}})[0] == 201
    follow_guards(arm.service)
    (guard,) = arm.fleet.guards.values()
    assert (guard.admin_groups, guard.decides) == ((GROUP,), True)
    assert sorted(grant.namespace for grant in guard.grants) == ["", "team"]
    assert {grant.principal for grant in guard.grants} == {WHO}
