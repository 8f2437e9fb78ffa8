"""The subresources of single kinds."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kobune.controlplane.apiserver.request import MASTER

PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = "application/merge-patch+json"


def pod(name="a", **spec):
    containers = [{"name": "main", "image": "busybox"}]
    meta = {"name": name, "labels": {"app": "a"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": containers, **spec}}


def deployment(replicas=2):
    template = {"metadata": {"labels": {"app": "a"}}, "spec": pod()["spec"]}
    return {
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "a"}}, "template": template},
    }


def binding(name="a", node="n1"):
    return {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": node}}


async def test_a_binding_puts_the_pod_on_its_node_once(ask):
    await ask.create(PODS, pod())
    await ask("POST", f"{PODS}/a/binding", binding(), status=201)
    bound = await ask("GET", f"{PODS}/a")
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["metadata"]["generation"] == 1  # It is wished for as before.
    assert [(one["type"], one["status"]) for one in bound["status"]["conditions"]] == [("PodScheduled", "True")]
    answer = await ask("POST", f"{PODS}/a/binding", binding(node="n2"), status=409)
    assert answer["message"] == (
        'Operation cannot be fulfilled on pods/binding "a": pod a is already assigned to node "n1"'
    )
    assert [
        one["metadata"]["name"] for one in (await ask("GET", f"{PODS}?fieldSelector=spec.nodeName=n1"))["items"]
    ] == ["a"]


async def test_a_scale_is_read_and_set(ask):
    await ask.create(DEPLOYMENTS, deployment())
    scale = await ask("GET", f"{DEPLOYMENTS}/web/scale")
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"]["selector"] == "app=a"
    scale["spec"]["replicas"] = 5
    assert (await ask("PUT", f"{DEPLOYMENTS}/web/scale", scale))["spec"] == {"replicas": 5}
    patched = await ask("PATCH", f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 1}}, content_type=MERGE)
    assert patched["spec"] == {"replicas": 1}
    whole = await ask("GET", f"{DEPLOYMENTS}/web")
    assert (whole["spec"]["replicas"], whole["metadata"]["generation"]) == (1, 3)


async def test_a_namespace_ends_when_it_is_finalized(ask):
    created = await ask.create("/api/v1/namespaces", {"metadata": {"name": "x"}})
    assert created["spec"]["finalizers"] == ["kubernetes"]
    ending = await ask("DELETE", "/api/v1/namespaces/x")
    assert ending["status"]["phase"] == "Terminating"
    assert ending["metadata"]["deletionTimestamp"]
    ending["spec"]["finalizers"] = []
    await ask("PUT", "/api/v1/namespaces/x/finalize", ending)
    await ask("GET", "/api/v1/namespaces/x", status=404)


async def test_a_pod_takes_ephemeral_containers_afterwards(ask):
    created = await ask.create(PODS, pod())
    created["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "busybox"}]
    created["spec"]["nodeName"] = "ignored"
    changed = await ask("PUT", f"{PODS}/a/ephemeralcontainers", created)
    assert [one["name"] for one in changed["spec"]["ephemeralContainers"]] == ["debug"]
    assert "nodeName" not in changed["spec"]


@pytest.fixture
async def account(ask):
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    await ask.create(accounts, {"metadata": {"name": "robot"}})
    return f"{accounts}/robot"


async def test_a_token_is_its_accounts_while_the_account_lives(ask, account):
    answer = await ask("POST", f"{account}/token", {"spec": {"expirationSeconds": 600}}, status=201)
    token = answer["status"]["token"]
    user = await ask.server.authenticator.by_token(token)
    assert user.name == "system:serviceaccount:default:robot"
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated")
    head, body, signature = token.split(".")
    assert await ask.server.authenticator.by_token(f"{head}.{body}.{signature[::-1]}") is None
    await ask("DELETE", account)
    assert await ask.server.authenticator.by_token(token) is None


async def test_a_token_bound_to_a_pod_ends_with_it(ask, account):
    await ask.create(PODS, pod(serviceAccountName="robot"))
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "a"}
    asked = {"spec": {"boundObjectRef": reference}}
    token = (await ask("POST", f"{account}/token", asked, status=201))["status"]["token"]
    user = await ask.server.authenticator.by_token(token)
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("a",)
    await ask("DELETE", f"{PODS}/a")
    assert await ask.server.authenticator.by_token(token) is None


async def test_a_token_that_lasts_too_short_is_refused(ask, account):
    answer = await ask("POST", f"{account}/token", {"spec": {"expirationSeconds": 60}}, status=422)
    assert "may not specify a duration less than 10 minutes" in answer["message"]


async def test_a_certificate_request_says_who_asked(ask):
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    signed = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    pem = base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": pem, "signerName": "example.com/s", "usages": ["client auth"], "username": "somebody else"}
    created = await ask.create(path, {"metadata": {"name": "c"}, "spec": spec})
    assert (created["spec"]["username"], created["spec"]["groups"]) == (MASTER.name, list(MASTER.groups))
    created["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "r"}], "certificate": "eA=="}
    approved = await ask("PUT", f"{path}/c/approval", created)
    assert approved["status"]["conditions"][0]["type"] == "Approved"
    assert "certificate" not in approved["status"]
    patch = {"metadata": {"annotations": {"by": "hand"}}, "spec": {"signerName": "example.com/other"}}
    answer = await ask("PATCH", f"{path}/c/approval", patch, content_type="application/merge-patch+json")
    assert answer["metadata"]["annotations"] == {"by": "hand"}
    assert answer["spec"]["signerName"] == "example.com/s"
