"""What the audit log says of a request, by policy."""

import random

import orjson
import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.audit.policy import Level, Policy
from kobune.controlplane.apiserver.authorization.authorizer import Access
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER, Request, User
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore

MAPS = "/api/v1/namespaces/default/configmaps"
BODY = b'{"metadata":{"name":"a"},"data":{"k":"v"}}'


def policy(*rules, **options):
    return {"kind": "Policy", "apiVersion": "audit.k8s.io/v1", "rules": list(rules), **options}


async def audited(policy_, *requests):
    lines = []
    config = ApiServerConfig(audit_policy=policy_, audit_sink=lines.append)
    async with ApiServer(config, MemoryStore(), clock=SystemClock(), source=random.Random(1)) as server:
        for request in requests:
            await server.handle(request)
    return [orjson.loads(line) for line in lines]


def post(user=MASTER):
    return Request("POST", MAPS, {}, {"user-agent": "test/1"}, BODY, user, remote="10.0.0.9")


async def test_a_request_has_an_event_for_each_stage():
    received, complete = await audited(policy({"level": "Metadata"}), post())
    assert (received["stage"], complete["stage"]) == ("RequestReceived", "ResponseComplete")
    assert received["auditID"] == complete["auditID"]
    assert complete["verb"] == "create"
    assert complete["user"]["username"] == MASTER.name
    assert complete["objectRef"] == {
        "resource": "configmaps", "namespace": "default", "apiVersion": "v1",
    }  # fmt: skip
    assert complete["responseStatus"]["code"] == 201
    assert (complete["sourceIPs"], complete["userAgent"]) == (["10.0.0.9"], "test/1")
    assert "requestObject" not in complete


async def test_reads_that_are_not_logged_keep_the_shortest_way():
    rules = {"level": "None", "resources": [{"resources": ["configmaps"]}]}, {"level": "Metadata"}
    lines = []
    config = ApiServerConfig(audit_policy=policy(*rules), audit_sink=lines.append)
    async with ApiServer(config, MemoryStore(), clock=SystemClock(), source=random.Random(1)) as server:
        namespace = "/api/v1/namespaces/default"
        for path in (MAPS, f"{namespace}/secrets"):
            await server.handle(Request("POST", path, {}, {}, b'{"metadata":{"name":"a"}}', MASTER))
            await server.handle(Request("GET", f"{path}/a", user=MASTER))
        written = len(lines)
        found = server.read_now(MASTER, f"{MAPS}/a")
        assert found is not None
        assert orjson.loads(found[1])["metadata"]["name"] == "a"
        assert server.read_now(MASTER, f"{namespace}/secrets/a") is None, "what is logged takes the longer way"
        assert len(lines) == written


async def test_deeper_levels_hold_the_objects():
    rule = {"level": "RequestResponse", "omitStages": ["RequestReceived"]}
    (event,) = await audited(policy(rule), post())
    assert event["requestObject"]["data"] == {"k": "v"}
    assert event["responseObject"]["metadata"]["uid"]


async def test_a_refusal_is_marked():
    events = await audited(policy({"level": "Metadata", "omitStages": ["RequestReceived"]}), post(User("bob")))
    assert events[0]["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert events[0]["responseStatus"]["reason"] == "Forbidden"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"users": ["bob"]}, Level.METADATA),
        ({"users": ["eve"]}, Level.NONE),
        ({"verbs": ["get"]}, Level.NONE),
        ({"resources": [{"group": "", "resources": ["pods/log"]}]}, Level.METADATA),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, Level.NONE),
        ({"resources": [{"group": "", "resources": ["pods/*"]}]}, Level.METADATA),
        ({"namespaces": ["kube-system"]}, Level.NONE),
        ({"nonResourceURLs": ["/metrics"]}, Level.NONE),
    ],
)
def test_the_first_matching_rule_decides(rule, expected):
    access = Access(User("bob"), "create", "", "v1", "pods", "log", "default", "a")
    assert Policy(policy({"level": "Metadata", **rule})).depth(access).level is expected


def test_a_policy_that_is_none_is_refused():
    with pytest.raises(ValueError, match="level"):
        Policy(policy({"level": "All"}))


async def test_what_a_policy_only_audits_is_in_the_event():
    root = "/apis/admissionregistration.k8s.io/v1"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "true"}, {"expression": "object.data.k == 'w'", "message": "wrong k"}],
        "auditAnnotations": [
            {"key": "had", "valueExpression": "'k=' + object.data.k"}, {"key": "none", "valueExpression": "null"},
        ],
    }  # fmt: skip
    binding = {"policyName": "p", "validationActions": ["Audit"]}
    setup = (
        (f"{root}/validatingadmissionpolicies", {"metadata": {"name": "p"}, "spec": spec}),
        (f"{root}/validatingadmissionpolicybindings", {"metadata": {"name": "b"}, "spec": binding}),
    )
    made = [Request("POST", path, {}, {}, orjson.dumps(obj), MASTER) for path, obj in setup]
    only = {
        "level": "Metadata",
        "omitStages": ["RequestReceived"],
        "resources": [{"group": "", "resources": ["configmaps"]}],
    }
    events = await audited(policy(only, {"level": "None"}), *made, post())
    found = next(one for one in events if one["user"]["username"] == MASTER.name and one["verb"] == "create")
    assert found["responseStatus"]["code"] == 201, "what is only audited passes"
    assert found["annotations"]["p/had"] == "k=v"
    assert "p/none" not in found["annotations"]
    (failure,) = orjson.loads(found["annotations"]["validation.policy.admission.k8s.io/validation_failure"])
    assert failure == {
        "message": "wrong k", "policy": "p", "binding": "b", "expressionIndex": 1, "validationActions": ["Audit"],
    }  # fmt: skip
