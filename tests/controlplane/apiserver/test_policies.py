"""ValidatingAdmissionPolicies. Source: Kubernetes documentation, Validating Admission Policy."""

import asyncio
from typing import Any

import orjson
import pytest

from kobune.controlplane.apiserver.request import User

ROOT = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"


def policy(*validations: dict[str, Any], **more: Any) -> dict[str, Any]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}
    return {
        "metadata": {"name": "small"},
        "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": list(validations), **more},
    }


def binding(*actions: str, **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "here"},
        "spec": {"policyName": "small", "validationActions": list(actions or ("Deny",)), **more},
    }


def config_map(name: str = "one", **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


async def bind(ask: Any, one: dict[str, Any], two: dict[str, Any]) -> None:
    await ask.create(f"{ROOT}/validatingadmissionpolicies", one)
    await ask.create(f"{ROOT}/validatingadmissionpolicybindings", two)


async def test_a_bound_policy_refuses_what_fails_its_expression(ask: Any) -> None:
    await ask.create(f"{ROOT}/validatingadmissionpolicies", policy({"expression": "object.data.size() <= 1"}))
    await ask.create(MAPS, config_map("before", a="1", b="2"))
    await ask.create(f"{ROOT}/validatingadmissionpolicybindings", binding())
    await ask.create(MAPS, config_map(a="1"))
    refused = await ask("POST", MAPS, config_map("two", a="1", b="2"), status=422)
    told = "ValidatingAdmissionPolicy 'small' with binding 'here' denied request: failed expression: object.data.size() <= 1"
    assert refused["message"] == f'configmaps "two" is forbidden: {told}'
    assert (refused["reason"], refused["details"]["causes"][0]["message"]) == ("Invalid", told)
    await ask.create("/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}})


async def test_messages_reasons_and_variables_are_the_authors(ask: Any) -> None:
    validation = {
        "expression": "variables.count < 2", "reason": "Forbidden",
        "messageExpression": "'too many: ' + string(variables.count) + ' by ' + request.userInfo.username",
    }  # fmt: skip
    variables = [{"name": "count", "expression": "has(object.data) ? object.data.size() : 0"}]
    await bind(ask, policy(validation, variables=variables), binding())
    refused = await ask("POST", MAPS, config_map(a="1", b="2"), status=403)
    assert refused["message"].endswith("denied request: too many: 2 by system:apiserver")


async def test_old_object_and_namespace_are_seen(ask: Any) -> None:
    expression = "oldObject == null || oldObject.data == object.data || namespaceObject.metadata.name != 'default'"
    await bind(ask, policy({"expression": expression, "message": "fixed"}), binding())
    made = await ask.create(MAPS, config_map(a="1"))
    made["data"] = {"a": "2"}
    assert (await ask("PUT", f"{MAPS}/one", made, status=422))["message"].endswith("denied request: fixed")


async def test_a_binding_may_only_warn(ask: Any) -> None:
    await bind(ask, policy({"expression": "false", "message": "no"}), binding("Warn"))
    response = await ask.raw("POST", MAPS, config_map())
    assert response.status == 201
    assert response.headers["Warning"] == (
        "299 - \"Validation failed for ValidatingAdmissionPolicy 'small' with binding 'here': no\""
    )


async def test_parameters_come_from_objects(ask: Any) -> None:
    await ask.create(MAPS, config_map("limits", most="1"))
    spec = policy(
        {"expression": "object.data.size() <= int(params.data.most)"},
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        matchConditions=[{"name": "others", "expression": "object.metadata.name != 'limits'"}],
    )
    reference = {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}
    await bind(ask, spec, binding(paramRef=reference))
    await ask.create(MAPS, config_map(a="1"))
    await ask("POST", MAPS, config_map("two", a="1", b="2"), status=422)
    await ask("PATCH", f"{MAPS}/limits", {"data": {"most": "2"}}, content_type="application/merge-patch+json")
    await ask.create(MAPS, config_map("two", a="1", b="2"))
    await ask("DELETE", f"{MAPS}/limits")
    refused = await ask("POST", MAPS, config_map("three"), status=422)
    assert "no params found for policy binding with `Deny` parameterNotFoundAction" in refused["message"]


@pytest.mark.parametrize("failure_policy, status", [("Fail", 422), ("Ignore", 201)])
async def test_an_expression_without_a_value_counts_as_the_policy_says(
    ask: Any, failure_policy: str, status: int
) -> None:
    await bind(ask, policy({"expression": "object.nothing.here == 1"}, failurePolicy=failure_policy), binding())
    answer = await ask("POST", MAPS, config_map(), status=status)
    if status == 422:
        assert "expression 'object.nothing.here == 1' resulted in error: no such key: nothing" in answer["message"]


async def test_a_binding_narrows_its_policy_down(ask: Any) -> None:
    selector = {"matchResources": {"objectSelector": {"matchLabels": {"strict": "yes"}}}}
    await bind(ask, policy({"expression": "false"}), binding(**selector))
    await ask.create(MAPS, config_map())
    labelled = config_map("two")
    labelled["metadata"]["labels"] = {"strict": "yes"}
    await ask("POST", MAPS, labelled, status=422)


async def test_dry_run_is_judged_too(ask: Any) -> None:
    await bind(ask, policy({"expression": "!request.dryRun"}), binding())
    response = await ask.raw("POST", f"{MAPS}?dryRun=All", config_map())
    assert response.status == 422, orjson.loads(response.body)


async def checked(ask: Any, one: dict[str, Any]) -> dict[str, Any]:
    """What the policy's status says of its types."""
    made = await ask.create(f"{ROOT}/validatingadmissionpolicies", one)
    path = f"{ROOT}/validatingadmissionpolicies/{made['metadata']['name']}"
    async with asyncio.timeout(30):
        while (found := (await ask("GET", path)).get("status", {})).get("observedGeneration") != 1:
            await asyncio.sleep(0.05)
    result: dict[str, Any] = found["typeChecking"]
    return result


def of_deployments(*validations: dict[str, Any]) -> dict[str, Any]:
    found = policy(*validations)
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}
    found["spec"]["matchConstraints"]["resourceRules"] = [rule]
    return found


async def test_expressions_that_do_not_fit_the_kinds_are_told(ask: Any) -> None:
    wrong = {"expression": "object.spec.replicas > '1'", "messageExpression": "'got ' + object.spec.replicas"}
    unknown = {"expression": "object.spec.maxReplicas < 5"}
    found = (await checked(ask, of_deployments(wrong, unknown)))["expressionWarnings"]
    assert [one["fieldRef"] for one in found] == [
        "spec.validations[0].expression", "spec.validations[0].messageExpression", "spec.validations[1].expression",
    ]  # fmt: skip
    assert all(one["warning"].startswith("apps/v1, Kind=Deployment: compilation failed: ERROR: ") for one in found)
    assert "found no matching overload" in found[0]["warning"]
    assert "undefined field 'maxReplicas'" in found[2]["warning"]


async def test_expressions_that_fit_leave_nothing_to_say(ask: Any) -> None:
    fine = {
        "expression": "object.spec.replicas <= 5 && object.spec.template.spec.containers.all(c, c.image.startsWith('a'))",
        "messageExpression": "'got ' + string(object.spec.replicas) + object.metadata.name",
    }
    assert await checked(ask, of_deployments(fine)) == {}


@pytest.mark.parametrize(
    ("expression", "status"),
    [
        ("authorizer.group('').resource('secrets').namespace('default').name('x').check('get').allowed()", 201),
        ("authorizer.group('').resource('secrets').namespace('kube-system').check('get').allowed()", 422),
        ("authorizer.group('').resource('pods').subresource('log').namespace('default').check('get').allowed()", 422),
        ("authorizer.path('/version').check('get').allowed()", 201),
        ("authorizer.path('/metrics').check('get').allowed()", 422),
        ("authorizer.requestResource.check('create').allowed()", 201),
        ("authorizer.requestResource.check('delete').allowed()", 422),
        ("!authorizer.serviceAccount('default', 'x').group('').resource('secrets').check('get').allowed()", 201),
        ("authorizer.path(' ').check('get').allowed()", 422),
    ],
)
async def test_expressions_ask_what_the_user_may(ask: Any, expression: str, status: int) -> None:
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    rules = [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
    ]
    await ask.create(f"{roles}/roles", {"metadata": {"name": "r"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    subjects = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jo"}]
    await ask.create(f"{roles}/rolebindings", {"metadata": {"name": "r"}, "roleRef": reference, "subjects": subjects})
    await bind(ask, policy({"expression": expression}), binding())
    jo = type(ask)(ask.server, User("jo", groups=("system:authenticated",)))
    await jo("POST", MAPS, config_map(), status=status)
