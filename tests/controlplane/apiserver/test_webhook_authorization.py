"""Servers outside the cluster that decide who may do what, and whose a token is."""

import random

import orjson
import pytest

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.authentication.webhook import TokenWebhook
from kobune.controlplane.apiserver.authorization.configuration import Webhook, read_configuration
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import Request, User
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from tests.controlplane.apiserver.conftest import KEYS, REVIEWER, Asker, Reviewing

PODS = "/api/v1/namespaces/default/pods"
BOB = User("bob", groups=("devs", "system:authenticated"), extra={"team": ("x",)})


class Clock(SystemClock):
    """Goes on when it is told to; whoever sleeps has slept."""

    def __init__(self):
        self.passed = 0.0

    def monotonic(self):
        return self.passed

    async def sleep(self, seconds):
        if seconds < 5:
            self.passed += seconds
        else:
            await super().sleep(seconds)


@pytest.fixture
def outside():
    return Reviewing({"allowed": False})


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def asker(outside, clock, request):
    stages = getattr(request, "param", (Webhook("hook", REVIEWER, version="v1"), "RBAC"))
    config = ApiServerConfig(
        service_account_keys=KEYS, authorization_mode=stages, open_kubeconfig=outside.open,
        token_webhook=TokenWebhook(REVIEWER), serve_bootstrap=False,
    )  # fmt: skip
    async with ApiServer(config, MemoryStore(), clock=clock, source=random.Random(1)) as server:
        yield Asker(server, BOB)


async def test_it_is_asked_with_everything_that_is_known(asker, outside):
    outside.status = {"allowed": True}
    await asker("GET", f"{PODS}?fieldSelector=spec.nodeName!=a&labelSelector=x")
    (review,) = outside.asked
    assert (review["apiVersion"], review["kind"]) == ("authorization.k8s.io/v1", "SubjectAccessReview")
    assert review["spec"] == {
        "user": "bob", "groups": ["devs", "system:authenticated"], "extra": {"team": ["x"]},
        "resourceAttributes": {
            "namespace": "default", "verb": "list", "version": "v1", "resource": "pods",
            "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "NotIn", "values": ["a"]}]},
            "labelSelector": {"requirements": [{"key": "x", "operator": "Exists"}]},
        },
    }  # fmt: skip
    await asker("GET", "/apis")
    assert outside.asked[1]["spec"]["nonResourceAttributes"] == {"path": "/apis", "verb": "get"}


async def test_answers_are_kept_as_long_as_they_may_be(asker, outside, clock):
    outside.status = {"allowed": True}
    await asker("GET", PODS)
    clock.passed += 299
    await asker("GET", PODS)
    assert len(outside.asked) == 1
    clock.passed += 2
    outside.status = {"allowed": False}
    await asker("GET", PODS, status=403)
    clock.passed += 29
    await asker("GET", PODS, status=403)
    assert len(outside.asked) == 2
    clock.passed += 2
    await asker("GET", PODS, status=403)
    assert len(outside.asked) == 3


async def test_a_denial_is_final_and_says_why(asker, outside):
    outside.status = {"allowed": False, "denied": True, "reason": "not on Mondays"}
    assert (await asker("GET", PODS, status=403))["message"].endswith('in the namespace "default": not on Mondays')


async def test_the_next_one_decides_when_it_has_no_opinion(asker, outside):
    viewer = User("ann", groups=("system:masters",))
    await Asker(asker.server, viewer)("GET", PODS)
    assert not outside.asked  # Nobody is asked about those who may do everything.


NAMES = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration"}
HOOK = {
    "timeout": "3s", "authorizedTTL": "1m", "unauthorizedTTL": "10s", "failurePolicy": "Deny",
    "subjectAccessReviewVersion": "v1beta1", "matchConditionSubjectAccessReviewVersion": "v1",
    "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": REVIEWER},
    "matchConditions": [{"expression": "has(request.resourceAttributes)"}, {"expression": "request.user != 'bob'"}],
}  # fmt: skip


def configured(**changes):
    webhook = {"type": "Webhook", "name": "w", "webhook": {**HOOK, **changes}}
    return {**NAMES, "authorizers": [webhook, {"type": "AlwaysAllow", "name": "rest"}]}


@pytest.mark.parametrize("asker", [tuple(read_configuration(configured()))], indirect=True)
async def test_conditions_say_what_it_is_asked_about(asker, outside):
    await asker("GET", PODS)
    await asker("GET", "/apis")
    assert not outside.asked
    await Asker(asker.server, User("ann", groups=("a",)))("GET", PODS)
    assert outside.asked[0]["spec"]["group"] == ["a"]  # The old version's name.
    text = (await asker.raw("GET", "/metrics")).body.decode()
    assert 'apiserver_authorization_match_condition_exclusions_total{name="w",type="Webhook"}' in text
    assert 'apiserver_authorization_webhook_evaluations_total{name="w",result="success"} 1' in text
    assert 'apiserver_authorization_decisions_total{decision="allowed",name="rest",type="AlwaysAllow"} ' in text
    assert 'decision="denied"' not in text


@pytest.mark.parametrize("asker", [tuple(read_configuration(configured(matchConditions=[])))], indirect=True)
async def test_a_server_that_fails_is_asked_again_and_then_its_policy_decides(asker, outside):
    outside.code = 500
    await asker("GET", PODS, status=403)
    assert len(outside.asked) == 5
    told = asker.server.authorization.metrics([("Webhook", "w"), ("AlwaysAllow", "rest")])
    assert 'apiserver_authorization_decisions_total{decision="denied",name="w",type="Webhook"} 1' in told
    outside.code = 404
    await asker("GET", f"{PODS}/a", status=403)
    assert len(outside.asked) == 6


@pytest.mark.parametrize(
    "asker", [tuple(read_configuration(configured(matchConditions=[], failurePolicy="NoOpinion")))], indirect=True
)
async def test_a_failure_that_is_no_opinion_lets_the_next_one_decide(asker, outside):
    outside.code = 404
    await asker("GET", PODS)
    text = (await asker.raw("GET", "/metrics")).body.decode()
    assert 'apiserver_authorization_webhook_evaluations_fail_open_total{name="w",result="error"}' in text


@pytest.mark.parametrize("configuration, complaint", [
    ({**NAMES, "kind": "X"}, "not an AuthorizationConfiguration"),
    ({**NAMES}, "authorizers: Required value"),
    ({**NAMES, "authorizers": [{"type": "X", "name": "a"}]}, r'authorizers\[0\].type: Unsupported value: "X"'),
    ({**NAMES, "authorizers": [{"type": "RBAC", "name": "a"}] * 2}, r'authorizers\[1\].type: Duplicate value: "RBAC"'),
    ({**NAMES, "authorizers": [{"type": "RBAC"}]}, r"authorizers\[0\].name: Required value"),
    ({**NAMES, "authorizers": [{"type": "Webhook", "name": "a"}]}, "required when type=Webhook"),
    (configured(timeout="31s"), "must be > 0s and <= 30s"),
    (configured(failurePolicy="Fail"), "failurePolicy"),
    (configured(matchConditions=[{"expression": "request."}]), "compilation failed"),
    (configured(connectionInfo={"type": "KubeConfigFile", "kubeConfigFile": "hook"}), "must be an absolute path"),
])  # fmt: skip
def test_a_configuration_that_cannot_be_is_refused(configuration, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_configuration(configuration)


async def test_tokens_of_nobody_else_are_shown_to_it(asker, outside):
    outside.status = {
        "authenticated": True,
        "allowed": True,
        "user": {"username": "carol", "uid": "7", "groups": ["g"]},
    }
    review = {"metadata": {}}
    headers = {"authorization": "Bearer abc", "content-type": "application/json"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    for _ in range(2):
        answer = await asker.server.handle(Request("POST", path, {}, headers, orjson.dumps(review)))
        assert orjson.loads(answer.body)["status"]["userInfo"] == {
            "username": "carol", "uid": "7", "groups": ["g", "system:authenticated"]
        }  # fmt: skip
    shown = [one for one in outside.asked if one["kind"] == "TokenReview"]
    assert [one["spec"]["token"] for one in shown] == ["abc"]  # Once: the answer is kept.
    outside.status = {"authenticated": False}
    other = Request("GET", PODS, {}, {"authorization": "Bearer other"})
    assert (await asker.server.handle(other)).status == 401
