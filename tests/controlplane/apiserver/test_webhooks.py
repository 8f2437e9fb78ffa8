"""Admission webhooks, served over TLS by the test."""

import base64
import random
import ssl
from datetime import UTC, datetime

import orjson
import pytest
from aiohttp import web

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.admission.configuration import read_admission
from kobune.controlplane.apiserver.admission.webhooks.users import read_webhook_users
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.pki import Authority
from tests.controlplane.apiserver.conftest import Asker

MAPS = "/api/v1/namespaces/default/configmaps"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"


class Hook:
    """A webhook that answers as it is told, and remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.shown = []  # Headers, and the subject of the client's certificate.
        self.response = {"allowed": True}
        self.url = ""
        self.bundle = ""

    async def handle(self, request):
        review = orjson.loads(await request.read())
        self.asked.append(review["request"])
        certificate = request.transport.get_extra_info("peercert") or {}
        self.shown.append((request.headers, dict(one for part in certificate.get("subject", ()) for one in part)))
        response = {"uid": review["request"]["uid"], **self.response}
        return web.json_response({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})

    def configuration(self, **options):
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
        webhook = {
            "name": "hook.example.com", "clientConfig": {"url": self.url, "caBundle": self.bundle}, "rules": [rule],
            "sideEffects": "None", "admissionReviewVersions": ["v1"], **options,
        }  # fmt: skip
        return {"metadata": {"name": "hook"}, "webhooks": [webhook]}

    def patch(self, *operations):
        encoded = base64.b64encode(orjson.dumps(operations)).decode()
        self.response = {"allowed": True, "patch": encoded, "patchType": "JSONPatch"}


@pytest.fixture
async def hook(tmp_path):
    now = datetime.now(UTC)
    authority = Authority.create("test", now)
    certificate, key = authority.issue_server("hook", ["127.0.0.1"], now).write(tmp_path, "hook")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    tls.verify_mode = ssl.CERT_OPTIONAL
    tls.load_verify_locations(cadata=authority.credential.certificate.decode())
    one = Hook()
    one.authority = authority
    runner = web.ServerRunner(web.Server(one.handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    one.url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    one.bundle = base64.b64encode(authority.credential.certificate).decode()
    yield one
    await runner.cleanup()


def config_map(name="a", **labels):
    return {"metadata": {"name": name, "labels": labels}, "data": {"k": "v"}}


async def test_a_mutating_webhook_changes_what_is_stored(ask, hook):
    await ask.create(f"{CONFIGURATIONS}/mutatingwebhookconfigurations", hook.configuration())
    hook.patch({"op": "add", "path": "/data/added", "value": "yes"})
    assert (await ask.create(MAPS, config_map()))["data"] == {"k": "v", "added": "yes"}
    asked = hook.asked[0]
    assert (asked["operation"], asked["namespace"], asked["resource"]["resource"]) == (
        "CREATE",
        "default",
        "configmaps",
    )
    assert asked["object"]["data"] == {"k": "v"}
    assert asked["oldObject"] is None


async def test_a_validating_webhook_refuses_with_its_own_words(ask, hook):
    await ask.create(f"{CONFIGURATIONS}/validatingwebhookconfigurations", hook.configuration())
    hook.response = {"allowed": False, "status": {"code": 403, "message": "not today"}}
    answer = await ask("POST", MAPS, config_map(), status=403)
    assert answer["message"] == 'admission webhook "hook.example.com" denied the request: not today'
    await ask("GET", f"{MAPS}/a", status=404)


async def test_warnings_reach_the_client(ask, hook):
    await ask.create(f"{CONFIGURATIONS}/validatingwebhookconfigurations", hook.configuration())
    hook.response = {"allowed": True, "warnings": ["old habits"]}
    response = await ask.raw("POST", MAPS, config_map())
    assert response.headers["Warning"] == '299 - "old habits"'


async def test_selectors_choose_who_is_asked(ask, hook):
    selector = {"matchLabels": {"judge": "me"}}
    configuration = hook.configuration(objectSelector=selector)
    await ask.create(f"{CONFIGURATIONS}/validatingwebhookconfigurations", configuration)
    await ask.create(MAPS, config_map("a"))
    await ask.create(MAPS, config_map("b", judge="me"))
    assert [asked["name"] for asked in hook.asked] == ["b"]


async def test_a_failing_webhook_stops_the_write_unless_it_may_fail(ask, hook):
    path = f"{CONFIGURATIONS}/validatingwebhookconfigurations"
    dead = hook.configuration(clientConfig={"url": "https://127.0.0.1:1/", "caBundle": hook.bundle})
    await ask.create(path, dead)
    answer = await ask("POST", MAPS, config_map(), status=500)
    assert 'failed calling webhook "hook.example.com": failed to call webhook' in answer["message"]
    assert 'Post "https://127.0.0.1:1/?timeout=10s": ' in answer["message"]
    await ask("DELETE", f"{path}/hook")
    dead["webhooks"][0]["failurePolicy"] = "Ignore"
    await ask.create(path, dead)
    await ask.create(MAPS, config_map())


async def test_a_dry_run_asks_only_webhooks_without_side_effects(ask, hook):
    await ask.create(
        f"{CONFIGURATIONS}/validatingwebhookconfigurations", hook.configuration(sideEffects="NoneOnDryRun")
    )
    await ask.create(f"{MAPS}?dryRun=All", config_map())
    assert hook.asked[0]["dryRun"] is True


async def test_an_answer_to_another_question_counts_as_failure(ask, hook):
    await ask.create(f"{CONFIGURATIONS}/validatingwebhookconfigurations", hook.configuration())
    hook.response = {"allowed": True, "uid": "other"}
    answer = await ask("POST", MAPS, config_map(), status=500)
    assert "expected response.uid=" in answer["message"]


async def test_match_conditions_choose_what_is_asked(ask, hook):
    conditions = [
        {"name": "named", "expression": "object.metadata.name.startsWith('b') && request.operation == 'CREATE'"}
    ]
    configuration = hook.configuration(matchConditions=conditions)
    await ask.create(f"{CONFIGURATIONS}/validatingwebhookconfigurations", configuration)
    await ask.create(MAPS, config_map("a"))
    await ask.create(MAPS, config_map("b"))
    assert [asked["name"] for asked in hook.asked] == ["b"]


async def test_a_condition_without_a_value_refuses(ask, hook):
    configuration = hook.configuration(matchConditions=[{"name": "odd", "expression": "object.nothing.x == 1"}])
    await ask.create(f"{CONFIGURATIONS}/validatingwebhookconfigurations", configuration)
    answer = await ask("POST", MAPS, config_map(), status=403)
    assert "resulted in error: no such key: nothing" in answer["message"]
    assert hook.asked == []


async def test_who_attaches_is_judged_by_the_options(ask, hook):
    """Source: upstream's conformance test of a webhook that denies attaching."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/attach"], "operations": ["CONNECT"]}
    await ask.create(f"{CONFIGURATIONS}/validatingwebhookconfigurations", hook.configuration(rules=[rule]))
    spec = {"containers": [{"name": "main", "image": "busybox"}]}
    await ask.create("/api/v1/namespaces/default/pods", {"metadata": {"name": "a"}, "spec": spec})
    hook.response = {"allowed": False, "status": {"message": "not this one"}}
    path = "/api/v1/namespaces/default/pods/a/attach?stdin=true&container=main"
    answer = await ask("POST", path, status=400)
    assert answer["message"] == 'admission webhook "hook.example.com" denied the request: not this one'
    asked = hook.asked[0]
    assert (asked["operation"], asked["name"], asked["kind"]["kind"]) == ("CONNECT", "a", "PodAttachOptions")
    assert asked["object"] == {"kind": "PodAttachOptions", "apiVersion": "v1", "stdin": True, "container": "main"}


VERSIONED = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration"}


def admission_of(kubeconfig, plugin="ValidatingAdmissionWebhook"):
    """The settings of a kubeconfig for the webhooks of one plugin."""
    told = {**VERSIONED, "kubeConfigFile": "/etc/webhooks"}
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": [{"name": plugin, "configuration": told}],
    }  # fmt: skip
    return read_admission(document, {"/etc/webhooks": kubeconfig}.__getitem__)


async def test_webhooks_are_asked_as_the_kubeconfig_says(hook):
    issued = hook.authority.issue_client("the-api-server", [], datetime.now(UTC))
    inline = {
        "client-certificate-data": base64.b64encode(issued.certificate).decode(),
        "client-key-data": base64.b64encode(issued.key).decode(),
    }
    impersonated = {"as": "jo", "as-groups": ["crew", "deck"]}
    users = [{"name": "*.0.1:" + hook.url.split(":")[-1].strip("/"), "user": {"token": "t", **inline, **impersonated}}]
    config = ApiServerConfig(admission=admission_of({"users": users}), disabled_admission_plugins=("ServiceAccount",))
    async with ApiServer(config, MemoryStore(), clock=SystemClock(), source=random.Random(1)) as server:
        ask = Asker(server)
        await ask.create(f"{CONFIGURATIONS}/validatingwebhookconfigurations", hook.configuration())
        await ask.create(f"{CONFIGURATIONS}/mutatingwebhookconfigurations", hook.configuration())
        await ask.create(MAPS, config_map())
    (nobody, none), (headers, subject) = hook.shown
    assert ("Authorization" in nobody, none) == (False, {})
    assert (headers["Authorization"], headers["User-Agent"]) == ("Bearer t", "kube-apiserver-admission")
    assert (headers["Impersonate-User"], headers.getall("Impersonate-Group")) == ("jo", ["crew", "deck"])
    assert subject["commonName"] == "the-api-server"


@pytest.mark.parametrize(("host", "port", "token"), [
    ("a.b.svc", 443, "exact"), ("x.b.svc", 443, "star"), ("x.y.svc", 443, "service"), ("x.y.svc", 8443, "any"),
    ("example.com", 8443, "port"), ("example.com", 443, "any"),
])  # fmt: skip
def test_the_most_special_user_asks(host, port, token):
    names = {
        "a.b.svc": "exact", "*.b.svc": "star", "*.svc": "service", "example.com:8443": "port", "*": "any", "c": "current",
    }  # fmt: skip
    users = [{"name": name, "user": {"token": one}} for name, one in names.items()]
    found = admission_of({"users": users}).validating_users.identity(host, port)
    assert found.headers == (("Authorization", f"Bearer {token}"),)


def test_without_a_name_the_current_context_s_user_asks(tmp_path):
    (tmp_path / "t").write_text("secret\n")
    users = [{"name": "c", "user": {"tokenFile": str(tmp_path / "t")}}, {"name": "d", "user": {"username": "u"}}]
    contexts = [{"name": "now", "context": {"user": "c"}}]
    config = {"users": users, "contexts": contexts, "current-context": "now"}
    headers = admission_of(config).validating_users.identity("h", 443).headers
    assert headers == (("Authorization", "Bearer secret"),)
    assert admission_of({"users": users}).validating_users.identity("h", 443).headers == ()


@pytest.mark.parametrize(("told", "why"), [
    ({**VERSIONED, "kubeConfigFile": "a/b"}, 'kubeConfigFile: Invalid value: "a/b": must be an absolute file path'),
    ({**VERSIONED, "staticManifestsDir": "/a"}, "staticManifestsDir: Forbidden"),
    ({"kind": "WebhookAdmission"}, "not a WebhookAdmissionConfiguration of apiserver.config.k8s.io/v1"),
])  # fmt: skip
def test_what_is_no_configuration_of_webhooks_is_refused(told, why):
    with pytest.raises(ValueError, match=why):
        read_webhook_users(told, {}.__getitem__)
