from typing import Any

import pytest
from judge import changed, faults, kind_of, made, update_faults

RBAC, FLOW, ADMISSION = "rbac.authorization.k8s.io", "flowcontrol.apiserver.k8s.io", "admissionregistration.k8s.io"
ROLE, BINDING = kind_of("Role", RBAC), kind_of("RoleBinding", RBAC)
CLUSTER_ROLE, CLUSTER_BINDING, SCHEMA, LEVEL, HOOKS, POLICY, POLICY_BINDING, PRIORITY = (
    kind_of(name, group, namespaced=False)
    for name, group in (
        ("ClusterRole", RBAC), ("ClusterRoleBinding", RBAC), ("FlowSchema", FLOW), ("PriorityLevelConfiguration", FLOW),
        ("ValidatingWebhookConfiguration", ADMISSION), ("ValidatingAdmissionPolicy", ADMISSION),
        ("ValidatingAdmissionPolicyBinding", ADMISSION), ("PriorityClass", "scheduling.k8s.io"),
    )
)  # fmt: skip
BUDGET, SCALER, QUOTA, RANGE = (
    kind_of("PodDisruptionBudget", "policy"), kind_of("HorizontalPodAutoscaler", "autoscaling", "v2"),
    kind_of("ResourceQuota"), kind_of("LimitRange"),
)  # fmt: skip
RULE = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
ACCOUNT = {"kind": "ServiceAccount", "name": "a", "namespace": "b"}
FINE = {
    ROLE: made(ROLE, {"rules": [RULE]}, name="system:a"),
    CLUSTER_ROLE: made(CLUSTER_ROLE, {"rules": [RULE, {"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]}),
    BINDING: made(BINDING, {"subjects": [ACCOUNT], "roleRef": {"kind": "Role", "name": "r"}}),
    CLUSTER_BINDING: made(CLUSTER_BINDING, {"subjects": [ACCOUNT], "roleRef": {"kind": "ClusterRole", "name": "r"}}),
    BUDGET: made(BUDGET, {"spec": {"minAvailable": 1, "selector": {}}}),
    SCALER: made(SCALER, {"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}}),
    QUOTA: made(QUOTA, {"spec": {"hard": {"pods": "3"}}}),
    RANGE: made(RANGE, {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "500m"}}]}}),
    SCHEMA: made(SCHEMA, {"spec": {"matchingPrecedence": 5, "priorityLevelConfiguration": {"name": "l"}, "rules": [
        {"subjects": [{"kind": "User", "user": {"name": "u"}}], "resourceRules": [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]}}),
    LEVEL: made(LEVEL, {"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}}),
    HOOKS: made(HOOKS, {"webhooks": [{"name": "a.b.c", "clientConfig": {"url": "https://x/y"}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "rules": [
            {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}),
    POLICY: made(POLICY, {"spec": {"matchConstraints": {"resourceRules": [
        {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]},
        "validations": [{"expression": "true"}]}}),
    POLICY_BINDING: made(POLICY_BINDING, {"spec": {"policyName": "p", "validationActions": ["Deny"]}}),
    PRIORITY: made(PRIORITY, {"value": 10}),
}  # fmt: skip


def name_of(value: Any) -> str | None:
    return value.name if hasattr(value, "plural") else None


@pytest.mark.parametrize("kind", FINE, ids=name_of)
def test_sound_objects_have_no_fault(kind: Any):
    assert faults(kind, FINE[kind]) == []
    assert update_faults(kind, FINE[kind], FINE[kind]) == []


@pytest.mark.parametrize("kind, change, expected", [
    (ROLE, {"rules__0__verbs": []}, ["rules[0].verbs: Required value: verbs must contain at least one value"]),
    (ROLE, {"rules__0": {"verbs": ["get"], "nonResourceURLs": ["/a"]}},
     ['rules[0].nonResourceURLs: Invalid value: ["/a"]: namespaced rules cannot apply to non-resource URLs']),
    (CLUSTER_ROLE, {"rules__0__nonResourceURLs": ["/a"]},
     ['rules[0].nonResourceURLs: Invalid value: ["/a"]: rules cannot apply to both regular resources and non-resource URLs']),
    (CLUSTER_ROLE, {"aggregationRule": {}},
     ["aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"]),
    (BINDING, {"roleRef__kind": "Rule"}, ['roleRef.kind: Unsupported value: "Rule": supported values: "Role", "ClusterRole"']),
    (BINDING, {"subjects__0__kind": "Team"}, ['subjects[0].kind: Unsupported value: "Team": supported values: "ServiceAccount", "User", "Group"']),
    (CLUSTER_BINDING, {"subjects__0__namespace": None}, ["subjects[0].namespace: Required value"]),
    (CLUSTER_BINDING, {"roleRef__kind": "Role"}, ['roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"']),
    (BUDGET, {"spec__maxUnavailable": 1},
     ['spec: Invalid value: {"minAvailable":1,"selector":{},"maxUnavailable":1}: minAvailable and maxUnavailable cannot be both set']),
    (BUDGET, {"spec__minAvailable": "101%"}, ['spec.minAvailable: Invalid value: "101%": must not be greater than 100%']),
    (SCALER, {"spec__maxReplicas": 0},
     ["spec.maxReplicas: Required value: must be set and greater than 0", "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`"]),
    (SCALER, {"spec__scaleTargetRef__name": ""}, ["spec.scaleTargetRef.name: Required value"]),
    (SCALER, {"spec__metrics": [{"type": "Resource"}]},
     ["spec.metrics[0].resource: Required value: must populate information for the given metric source"]),
    (QUOTA, {"spec__hard": {"pods": "1500m"}}, ['spec.hard[pods]: Invalid value: "1500m": must be an integer']),
    (RANGE, {"spec__limits__0__default": {"cpu": "2"}},
     ['spec.limits[0].default[cpu]: Invalid value: "1": default value 2 is greater than max value 1']),
    (SCHEMA, {"spec__matchingPrecedence": 1},
     ["spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"]),
    (SCHEMA, {"spec__rules__0__resourceRules__0__verbs": ["fly"]},
     ['spec.rules[0].resourceRules[0].verbs: Unsupported value: ["fly"]: supported values: "create", "delete",'
      ' "deletecollection", "get", "list", "patch", "proxy", "update", "watch"']),
    (LEVEL, {"spec__limited__limitResponse__queuing__handSize": 65},
     ["spec.limited.limitResponse.queuing.handSize: Invalid value: 65: should not be greater than queues (64)"]),
    (HOOKS, {"webhooks__0__name": "a.b"}, ['webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots']),
    (HOOKS, {"webhooks__0__clientConfig": {"url": "http://x"}},
     ["webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]"]),
    (HOOKS, {"webhooks__0__sideEffects": "Some"},
     ['webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"']),
    (HOOKS, {"webhooks__0__rules__0__resources": ["*", "pods"]},
     ["webhooks[0].rules[0].resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources"]),
    (HOOKS, {"webhooks__0__timeoutSeconds": 31}, ["webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"]),
    (POLICY, {"spec__validations": []},
     ["spec.validations: Required value: validations or auditAnnotations must contain at least one item",
      "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item"]),
    (POLICY, {"spec__variables": [{"name": "in", "expression": "1"}]},
     ['spec.variables[0].name: Invalid value: "in": must be a valid CEL identifier']),
    (POLICY, {"spec__validations": [{"expression": "1"}]},
     ['spec.validations[0].expression: Invalid value: "1": must evaluate to bool but got int']),
    (POLICY, {"spec__validations": [{"expression": "true", "messageExpression": "1 + 1"}]},
     ['spec.validations[0].messageExpression: Invalid value: "1 + 1": must evaluate to string but got int']),
    (POLICY, {"spec__variables": [{"name": "v", "expression": "object.spec.x"}],
              "spec__validations": [{"expression": "variables.v == 1 && authorizer.group('').resource('pods').check('get').allowed()"}]}, []),
    (POLICY_BINDING, {"spec__policyName": ""}, ["spec.policyName: Required value"]),
    (POLICY_BINDING, {"spec__validationActions": ["Deny", "Deny"]}, ['spec.validationActions[1]: Duplicate value: "Deny"']),
    (PRIORITY, {"value": 2_000_000_000}, ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]),
    (PRIORITY, {"metadata__name": "system-mine"},
     ["metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine is not a"
      " known system priority class"]),
], ids=name_of)  # fmt: skip
def test_faults_of_new_objects(kind: Any, change: dict[str, Any], expected: list[str]):
    assert faults(kind, changed(FINE[kind], **change)) == expected


@pytest.mark.parametrize("kind, change, expected", [
    (BINDING, {"roleRef__name": "other"},
     ['roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"Role","Name":"other"}: cannot change roleRef']),
    (PRIORITY, {"value": 11}, ["value: Forbidden: may not be changed in an update."]),
    (QUOTA, {"spec__scopes": ["Terminating"]}, ['spec.scopes: Invalid value: ["Terminating"]: field is immutable']),
], ids=name_of)  # fmt: skip
def test_faults_of_changes(kind: Any, change: dict[str, Any], expected: list[str]):
    assert update_faults(kind, changed(FINE[kind], **change), FINE[kind]) == expected


def test_expressions_that_do_not_compile():
    condition = {"name": "a", "expression": "object.metadata.name == params.x"}
    for kind, change, path in (
        (HOOKS, {"webhooks__0__matchConditions": [condition]}, "webhooks[0].matchConditions[0].expression"),
        (POLICY, {"spec__matchConditions": [condition]}, "spec.matchConditions[0].expression"),
        (POLICY, {"spec__validations": [condition]}, "spec.validations[0].expression"),
        (POLICY, {"spec__variables": [condition]}, "spec.variables[0].expression"),
    ):
        (fault,) = faults(kind, changed(FINE[kind], **change))
        start = f'{path}: Invalid value: "object.metadata.name == params.x": compilation failed: ERROR: <input>:1:'
        assert fault.startswith(start), fault
    given = {"apiVersion": "v1", "kind": "ConfigMap"}
    assert faults(POLICY, changed(FINE[POLICY], spec__matchConditions=[condition], spec__paramKind=given)) == []


def test_the_flow_schemas_that_must_be_there_stay_as_they_are():
    body = {"spec": {"matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "catch-all"}, "rules": []}}
    found = faults(SCHEMA, made(SCHEMA, body, name="catch-all"))
    assert [fault.rpartition(": ")[2] for fault in found] == ["spec of 'catch-all' must equal the fixed value"]
