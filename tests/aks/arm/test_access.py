"""Roles decide what a caller may do; the directory says who there is."""

from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from aiohttp.test_utils import TestClient, TestServer

from kobune.aks.arm.access import action_of, scope_of
from kobune.aks.arm.routes import OPERATIONS
from kobune.aks.arm.server import ArmServer
from kobune.aks.roles import BUILT_IN, kubernetes_action

ROLES = {role.name: role for role in BUILT_IN}
RP = "Microsoft.ContainerService/managedClusters"
GROUP_ROLES = "resourceGroups/rg1/providers/Microsoft.Authorization/roleAssignments"


@pytest.mark.parametrize(
    "method, path, action",
    [
        ("GET", "/subscriptions/{s}/resourceGroups/{g}", "Microsoft.Resources/subscriptions/resourceGroups/read"),
        ("PUT", f"/subscriptions/{{s}}/resourceGroups/{{g}}/providers/{RP}/{{c}}", f"{RP}/write"),
        ("GET", f"/subscriptions/{{s}}/providers/{RP}", f"{RP}/read"),
        ("POST", f"/subscriptions/{{s}}/resourceGroups/{{g}}/providers/{RP}/{{c}}/stop", f"{RP}/stop/action"),
        ("DELETE", f"/subscriptions/{{s}}/resourceGroups/{{g}}/providers/{RP}/{{c}}/agentPools/{{p}}", f"{RP}/agentPools/delete"),
        ("PUT", "/**/providers/Microsoft.Authorization/roleAssignments/{a}", "Microsoft.Authorization/roleAssignments/write"),
    ],
)  # fmt: skip
def test_an_action_is_named_after_the_path(method, path, action):
    assert action_of(method, path.strip("/").split("/")) == action


def test_every_operation_has_an_action_that_the_owner_has_and_the_reader_only_of_reads():
    for row in OPERATIONS:
        action = row.action or action_of(row.method, row.segments)
        assert ROLES["Owner"].allows(action)
        assert ROLES["Reader"].allows(action) == action.endswith("/read"), row.path


def test_the_scope_is_the_resource_and_not_its_list_or_action():
    group = "/subscriptions/s/resourceGroups/g"
    cluster = f"{group}/providers/{RP}/c"
    assert scope_of(f"{cluster}/stop") == cluster
    assert scope_of(f"{cluster}/agentPools") == cluster
    assert scope_of(f"{cluster}/agentPools/p") == f"{cluster}/agentPools/p"
    assert scope_of(f"{group}/providers/{RP}") == group
    assert scope_of("/subscriptions/s/resourceGroups") == "/subscriptions/s"


@pytest.mark.parametrize(
    "role, verb, group, resource, sub, allowed",
    [
        ("RBAC Reader", "list", "apps", "deployments", "", True),
        ("RBAC Reader", "get", "", "secrets", "", False),
        ("RBAC Reader", "create", "", "pods", "", False),
        ("RBAC Writer", "create", "", "secrets", "", True),
        ("RBAC Writer", "create", "", "pods", "exec", True),
        ("RBAC Writer", "create", "rbac.authorization.k8s.io", "roles", "", False),
        ("RBAC Admin", "create", "rbac.authorization.k8s.io", "roles", "", True),
        ("RBAC Admin", "create", "", "resourcequotas", "", False),
        ("RBAC Cluster Admin", "delete", "", "namespaces", "", True),
        ("Cluster User Role", "get", "", "pods", "", False),
    ],
)
def test_roles_inside_clusters_allow_what_azures_page_says(role, verb, group, resource, sub, allowed):
    action = kubernetes_action(verb, group, resource, sub)
    assert ROLES[f"Azure Kubernetes Service {role}"].allows_data(action) is allowed


@pytest.fixture
async def client(arm) -> AsyncIterator[TestClient]:
    async with TestClient(TestServer(ArmServer(arm.service).application())) as client:
        yield client


async def signed_in(client: TestClient, arm, app: str = "", secret: str = "secret"):
    """Sends requests in an application's name."""
    principal = arm.service.sign_in.principal
    form = {"grant_type": "client_credentials", "client_id": app or principal.client_id, "client_secret": secret}
    answer = await (
        await client.post("/adfs/oauth2/token", data=form | {"scope": "https://management.azure.com/.default"})
    ).json()
    headers = {"Authorization": f"Bearer {answer['access_token']}"}

    async def call(method: str, path: str, body: object = None):
        if not path.startswith("/"):
            path = f"{arm.scope}/{path}?api-version=2026-06-01"
        answer = await client.request(method, path, json=body, headers=headers)
        return answer.status, await answer.json() if answer.content_length else None

    return call


async def new_principal(client: TestClient, arm, owner) -> SimpleNamespace:
    """What `az ad sp create-for-rbac` does."""
    application = (await owner("POST", "/msgraph/v1.0/applications", {"displayName": "ci"}))[1]
    path = f"/msgraph/v1.0/applications/{application['id']}/addPassword"
    secret = (await owner("POST", path, {"passwordCredential": {"displayName": "rbac"}}))[1]["secretText"]
    principal = (await owner("POST", "/msgraph/v1.0/servicePrincipals", {"appId": application["appId"]}))[1]
    call = await signed_in(client, arm, application["appId"], secret)
    return SimpleNamespace(id=principal["id"], app=application["appId"], call=call, secret=secret)


def assignment(arm, role: str, principal: str) -> dict[str, object]:
    role_id = f"{arm.scope}/providers/Microsoft.Authorization/roleDefinitions/{ROLES[role].id}"
    return {"properties": {"roleDefinitionId": role_id, "principalId": principal, "principalType": "ServicePrincipal"}}


async def test_a_principal_without_a_role_sees_nothing_and_is_told_what_it_lacks(client, arm):
    arm.created()
    ci = await new_principal(client, arm, await signed_in(client, arm))
    assert (await ci.call("GET", "/subscriptions?api-version=2022-12-01"))[1]["value"] == []
    status, body = await ci.call("GET", arm.path())
    assert (status, body["error"]["code"]) == (403, "AuthorizationFailed")
    assert (
        f"with object id '{ci.id}' does not have authorization to perform action '{RP}/read'"
        in body["error"]["message"]
    )
    assert (await ci.call("GET", "/msgraph/v1.0/servicePrincipals"))[0] == 200
    assert (await ci.call("POST", "/msgraph/v1.0/applications", {}))[1]["error"][
        "code"
    ] == "Authorization_RequestDenied"


async def test_a_role_counts_at_its_scope_and_below_until_it_is_taken_away(client, arm):
    arm.created()
    arm.group("rg2")
    owner = await signed_in(client, arm)
    ci = await new_principal(client, arm, owner)
    name = "aaaaaaaa-0000-0000-0000-000000000001"
    assert (await owner("PUT", f"{GROUP_ROLES}/{name}", assignment(arm, "Reader", ci.id)))[0] == 201
    assert (await ci.call("GET", arm.path()))[0] == 200
    assert (await ci.call("DELETE", arm.path()))[1]["error"]["code"] == "AuthorizationFailed"
    assert (await ci.call("GET", "resourceGroups/rg2"))[0] == 403
    assert [group["name"] for group in (await ci.call("GET", "resourceGroups"))[1]["value"]] == ["rg1"]
    clusters = (await ci.call("GET", f"providers/{RP}"))[1]["value"]
    assert [cluster["name"] for cluster in clusters] == ["c1"]
    assert len((await ci.call("GET", "/subscriptions?api-version=2022-12-01"))[1]["value"]) == 1
    assert (await owner("DELETE", f"{GROUP_ROLES}/{name}"))[0] == 200
    assert (await ci.call("GET", arm.path()))[0] == 403


@pytest.mark.parametrize(
    "role, user, admin, stop, assigns",
    [
        ("Contributor", 200, 200, 202, 403),
        ("User Access Administrator", 403, 403, 403, 201),
        ("Azure Kubernetes Service Cluster User Role", 200, 403, 403, 403),
        ("Azure Kubernetes Service Cluster Admin Role", 403, 200, 403, 403),
    ],
)
async def test_roles_of_arm_allow_what_azures_page_says(client, arm, role, user, admin, stop, assigns):
    arm.created()
    owner = await signed_in(client, arm)
    ci = await new_principal(client, arm, owner)
    here = f"{arm.path()}/providers/Microsoft.Authorization/roleAssignments"
    await owner("PUT", f"{here}/aaaaaaaa-0000-0000-0000-000000000001", assignment(arm, role, ci.id))
    assert (await ci.call("POST", f"{arm.path()}/listClusterUserCredential"))[0] == user
    assert (await ci.call("POST", f"{arm.path()}/listClusterAdminCredential"))[0] == admin
    other = assignment(arm, "Reader", ci.id)
    assert (await ci.call("PUT", f"{here}/aaaaaaaa-0000-0000-0000-000000000002", other))[0] == assigns
    assert (await ci.call("POST", f"{arm.path()}/stop"))[0] == stop


async def test_members_of_a_group_have_its_roles(client, arm):
    arm.created()
    owner = await signed_in(client, arm)
    ci = await new_principal(client, arm, owner)
    group = (await owner("POST", "/msgraph/v1.0/groups", {"displayName": "team", "mailNickname": "team"}))[1]
    await owner("PUT", f"{GROUP_ROLES}/aaaaaaaa-0000-0000-0000-000000000001", assignment(arm, "Reader", group["id"]))
    member = {"@odata.id": f"https://graph/v1.0/directoryObjects/{ci.id}"}
    assert (await owner("POST", f"/msgraph/v1.0/groups/{group['id']}/members/$ref", member))[0] == 204
    again = await signed_in(client, arm, ci.app, ci.secret)
    assert (await again("GET", arm.path()))[0] == 200
    assert (await ci.call("GET", arm.path()))[0] == 403  # Groups stand in the token.
    filtered = f"/msgraph/v1.0/servicePrincipals?$filter=servicePrincipalNames/any(c:c eq '{ci.app}')"
    assert [one["id"] for one in (await owner("GET", filtered))[1]["value"]] == [ci.id]


async def test_the_last_owner_stays(client, arm):
    owner = await signed_in(client, arm)
    found = (await owner("GET", "providers/Microsoft.Authorization/roleAssignments"))[1]["value"]
    assert [one["properties"]["principalId"] for one in found] == [arm.service.sign_in.principal.object_id]
    status, body = await owner("DELETE", f"providers/Microsoft.Authorization/roleAssignments/{found[0]['name']}")
    assert (status, body["error"]["message"]) == (400, "Deleting the last RBAC admin assignment is not allowed.")


def test_a_custom_role_can_be_assigned_and_is_deleted_when_nobody_has_it(arm):
    role, name = "providers/Microsoft.Authorization/roleDefinitions", "bbbbbbbb-0000-0000-0000-000000000001"
    permissions = [{"actions": [f"{RP}/stop/action", f"{RP}/read"]}]
    body = {"properties": {"roleName": "Stopper", "permissions": permissions, "assignableScopes": [arm.scope]}}
    assert arm.call("PUT", f"{role}/{name}", body)[0] == 201
    found = arm.call("GET", role, **{"$filter": "roleName eq 'stopper'"})[1]["value"]
    assert found[0]["properties"]["type"] == "CustomRole"
    who = {"properties": {"roleDefinitionId": found[0]["id"], "principalId": name}}
    path = f"providers/Microsoft.Authorization/roleAssignments/{name}"
    assert arm.call("PUT", path, who)[0] == 201
    assert arm.call("DELETE", f"{role}/{name}")[1]["code"] == "RoleDefinitionHasAssignments"
    assert arm.call("DELETE", path)[0] == 200
    assert arm.call("DELETE", f"{role}/{name}")[0] == 200
    built_in = f"{role}/{ROLES['Reader'].id}"
    assert arm.call("PUT", built_in, body)[1]["code"] == "RoleDefinitionNotModifiable"


def test_conditions_are_refused_rather_than_ignored(arm):
    arm.group()
    name = "55555555-5555-5555-5555-555555555555"
    condition = {"condition": "@Resource[x] StringEquals 'y'", "conditionVersion": "2.0"}
    wanted = {"roleDefinitionId": ROLES["Reader"].id, "principalId": name}
    path = f"{GROUP_ROLES}/{name}"
    status, error = arm.call("PUT", path, {"properties": wanted | condition})
    assert (status, error["code"], error["target"]) == (400, "NotSupported", "properties.condition")
    assert arm.call("GET", path)[0] == 404
    assert arm.call("PUT", path, {"properties": wanted | {"condition": None}})[0] == 201
    role = {"roleName": "mine", "permissions": [{"actions": ["*"]} | condition]}
    definitions = f"providers/Microsoft.Authorization/roleDefinitions/{name}"
    assert arm.call("PUT", definitions, {"properties": role})[1]["code"] == "NotSupported"
