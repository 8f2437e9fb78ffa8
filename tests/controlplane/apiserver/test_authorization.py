"""Who may do what: RBAC, nodes, reviews, impersonation, escalation."""

import base64
import random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.authorization.authorizer import Access, Decision, Verdict
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import Request, User
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from tests.controlplane.apiserver.conftest import Asker

RBAC = "/apis/rbac.authorization.k8s.io/v1"
PODS = "/api/v1/namespaces/default/pods"
BOB = User("bob", groups=("devs", "system:authenticated"))


@pytest.fixture
def bob(ask):
    return type(ask)(ask.server, BOB)


def role(*rules):
    return {"metadata": {"name": "r"}, "rules": list(rules)}


def binding(kind="Role", name="r", subject=None):
    subject = subject or {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "bob"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    return {"metadata": {"name": "b"}, "roleRef": reference, "subjects": [subject]}


async def allow(ask, *rules):
    await ask.create(f"{RBAC}/namespaces/default/roles", role(*rules))
    await ask.create(f"{RBAC}/namespaces/default/rolebindings", binding())


async def test_what_no_role_allows_is_forbidden_in_upstreams_words(bob):
    answer = await bob("GET", PODS, status=403)
    assert answer["message"] == (
        'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default"'
    )
    answer = await bob("GET", "/metrics", status=403)
    assert answer["message"] == 'forbidden: User "bob" cannot get path "/metrics"'


async def test_a_role_allows_what_it_says_where_it_is_bound(ask, bob):
    await allow(ask, {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]})
    await bob("GET", PODS)
    await bob("DELETE", f"{PODS}/a", status=403)
    await bob("GET", "/api/v1/namespaces/kube-system/pods", status=403)
    await bob("GET", f"{PODS}/a/log", status=403)


async def test_a_removed_binding_allows_nothing_more(ask, bob):
    await allow(ask, {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]})
    await bob("GET", PODS)
    await ask("DELETE", f"{RBAC}/namespaces/default/rolebindings/b")
    await bob("GET", PODS, status=403)


async def test_resource_names_limit_a_rule(ask, bob):
    await ask.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "mine"}})
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["get"]}
    await allow(ask, rule)
    await bob("GET", "/api/v1/namespaces/default/configmaps/mine")
    await bob("GET", "/api/v1/namespaces/default/configmaps/other", status=403)


async def test_a_decision_for_one_name_is_none_for_another_as_long_as_rules_name_objects(ask, bob):
    for name in ("mine", "other"):
        await ask.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": name}})
    named = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["get", "delete"]}
    any_name = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
    await allow(ask, named, any_name)
    await bob("DELETE", "/api/v1/namespaces/default/configmaps/other", status=403)
    for name in ("mine", "other", "mine"):
        await bob("GET", f"/api/v1/namespaces/default/configmaps/{name}")
    await bob("DELETE", "/api/v1/namespaces/default/configmaps/mine")
    assert await ask("DELETE", f"{RBAC}/namespaces/default/roles/r")
    await bob("GET", "/api/v1/namespaces/default/configmaps/other", status=403)


async def test_view_is_the_sum_of_what_is_labelled_for_it(ask, bob):
    await ask.create(f"{RBAC}/clusterrolebindings", binding("ClusterRole", "view"))
    await bob("GET", "/apis/apps/v1/deployments")
    await bob("GET", "/api/v1/secrets", status=403)
    await bob("GET", "/apis/node.k8s.io/v1/runtimeclasses", status=403)
    extra = role({"apiGroups": ["node.k8s.io"], "resources": ["runtimeclasses"], "verbs": ["list"]})
    extra["metadata"]["labels"] = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    await ask.create(f"{RBAC}/clusterroles", extra)
    await bob("GET", "/apis/node.k8s.io/v1/runtimeclasses")


async def test_nobody_grants_what_he_does_not_have(ask, bob):
    await allow(ask, {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["create"]})
    mine = {"metadata": {"name": "x"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}
    answer = await bob("POST", f"{RBAC}/namespaces/default/roles", mine, status=403)
    assert answer["message"] == (
        'roles.rbac.authorization.k8s.io "x" is forbidden: user "bob" (groups=["devs" "system:authenticated"]) is '
        'attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )


async def test_a_review_tells_what_a_user_may(ask, bob):
    await allow(ask, {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]})
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    attributes = {"namespace": "default", "verb": "list", "resource": "pods"}
    answer = await bob.create(path, {"spec": {"resourceAttributes": attributes}})
    assert answer["status"]["allowed"] is True
    answer = await bob.create(path, {"spec": {"resourceAttributes": {**attributes, "verb": "delete"}}})
    assert answer["status"] == {"allowed": False}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    answer = await ask.create(path, {"spec": {"user": "bob", "resourceAttributes": attributes}})
    assert answer["status"]["allowed"] is True
    answer = await ask.create(
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}
    )
    assert answer["status"]["resourceRules"][0]["verbs"] == ["*"]
    assert answer["status"]["incomplete"] is False


async def test_rules_that_only_the_authorizer_knows_are_said_to_be_missing(ask):
    async def status(one):
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        return (await one.create(path, {"spec": {"namespace": "default"}}))["status"]

    node = type(ask)(ask.server, User("system:node:n1", groups=("system:nodes", "system:authenticated")))
    found = await status(node)
    assert (found["incomplete"], found["evaluationError"]) == (
        True, "node authorizer does not support user rule resolution",
    )  # fmt: skip


class Elsewhere:
    """Decides over the network."""

    def authorize(self, access):
        return Decision(Verdict.NO_OPINION)


async def test_rules_beside_a_webhook_are_said_to_be_incomplete():
    config = ApiServerConfig(cluster_version="1.36", authorizers=(Elsewhere(),))
    async with ApiServer(config, MemoryStore(), clock=SystemClock(), source=random.Random(1)) as server:
        bob = Asker(server, User("bob", groups=("system:authenticated",)))
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        found = (await bob.create(path, {"spec": {"namespace": "default"}}))["status"]
        assert found["incomplete"] is True
        assert found["evaluationError"] == "webhook authorizer does not support user rule resolution"


async def test_what_a_node_may_is_told_without_waiting(ask):
    user = User("system:node:n1", groups=("system:nodes", "system:authenticated"))
    for access, allowed in (
        (Access(user, "get", "", "v1", "nodes", name="n1"), True),
        (Access(user, "get", "", "v1", "secrets", namespace="default", name="a"), False),
        (Access(user, "create", "resource.k8s.io", "v1", "resourceslices"), True),
    ):
        decision = ask.server.authorization.decide_now(access)
        assert (decision.verdict is Verdict.ALLOW, decision.error) == (allowed, "")


async def test_a_review_tells_who_asks(bob):
    answer = await bob.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert answer["status"]["userInfo"] == {"username": "bob", "groups": ["devs", "system:authenticated"]}


async def test_a_token_review_knows_the_servers_own_tokens(ask):
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    token = (await ask("POST", f"{accounts}/default/token", {}, status=201))["status"]["token"]
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    answer = await ask.create(path, {"spec": {"token": token}})
    assert answer["status"]["user"]["username"] == "system:serviceaccount:default:default"
    assert "authenticated" not in (await ask.create(path, {"spec": {"token": "nix"}}))["status"]


async def test_a_node_reads_only_what_its_pods_need(ask):
    node = type(ask)(ask.server, User("system:node:n1", groups=("system:nodes", "system:authenticated")))
    maps = "/api/v1/namespaces/default/configmaps"
    for name in ("mine", "other"):
        await ask.create(maps, {"metadata": {"name": name}})
    volumes = [{"name": "v", "configMap": {"name": "mine"}}]
    spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}], "volumes": volumes}
    await ask.create(PODS, {"metadata": {"name": "a"}, "spec": spec})
    await node("GET", f"{maps}/mine")
    answer = await node("GET", f"{maps}/other", status=403)
    assert "no relationship found between node 'n1' and this object" in answer["message"]
    await node("GET", maps, status=403)
    await node("GET", "/api/v1/nodes")
    await node.create("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", {"metadata": {"name": "n1"}})
    await node("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2", status=403)


async def test_a_node_gets_tokens_of_its_pods_for_the_audiences_they_name(ask):
    node = type(ask)(ask.server, User("system:node:n1", groups=("system:nodes", "system:authenticated")))
    tokens = "/api/v1/namespaces/default/serviceaccounts/default/token"
    await ask.create("/apis/storage.k8s.io/v1/csidrivers", {
        "metadata": {"name": "csi.example.com"}, "spec": {"tokenRequests": [{"audience": "vault"}]},
    })  # fmt: skip
    sources = [{"serviceAccountToken": {"path": "t", "audience": "bank"}}]
    volumes = [{"name": "p", "projected": {"sources": sources}}, {"name": "c", "csi": {"driver": "csi.example.com"}}]
    pods = {}
    for on in ("n1", "n2"):
        spec = {"nodeName": on, "containers": [{"name": "c", "image": "i"}], "volumes": volumes}
        pods[on] = await ask.create(PODS, {"metadata": {"name": f"on-{on}"}, "spec": spec})

    def asked(on="n1", *audiences, **more):
        meta = pods[on]["metadata"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"], **more}
        return {"spec": {"audiences": list(audiences), "boundObjectRef": bound}}

    for audiences in ((), ("bank",), ("vault",)):
        await node("POST", tokens, asked("n1", *audiences), status=201)
    for request, why in (
        ({}, "node requested token not bound to a pod"),
        (asked(uid=""), "node requested token with a pod binding without a uid"),
        (asked(uid="other"), "The object might have been deleted and then recreated"),
        (asked("n2"), "node requested token bound to a pod scheduled on a different node"),
        (asked("n1", "bank", "vault"), "node may only request 0 or 1 audiences"),
        (asked("n1", "mint"), 'audience "mint" not found in pod spec volume, system:node:n1 is not authorized to request '
                              "tokens for this audience"),
    ):  # fmt: skip
        answer = await node("POST", tokens, request, status=403)
        assert answer["message"].startswith('serviceaccounts "default" is forbidden: ')
        assert answer["message"].endswith(why)
    rule = {"apiGroups": [""], "resources": ["mint"], "verbs": ["request-serviceaccounts-token-audience"]}
    await ask.create(f"{RBAC}/clusterroles", role(rule))
    subject = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:nodes"}
    await ask.create(f"{RBAC}/clusterrolebindings", binding("ClusterRole", "r", subject))
    await node("POST", tokens, asked("n1", "mint"), status=201)


async def test_a_node_offers_its_own_devices_only(ask):
    node = type(ask)(ask.server, User("system:node:n1", groups=("system:nodes", "system:authenticated")))
    path = "/apis/resource.k8s.io/v1/resourceslices"

    def offered(on):
        pool = {"name": on, "generation": 1, "resourceSliceCount": 1}
        return {"metadata": {"name": on}, "spec": {"driver": "d.example.com", "nodeName": on, "pool": pool}}

    await node.create(path, offered("n1"))
    answer = await node("POST", path, offered("n2"), status=403)
    assert "can only create ResourceSlice with the same NodeName as the requesting node" in answer["message"]
    await ask.create(path, offered("n2"))
    own = await node("GET", f"{path}?fieldSelector=spec.nodeName=n1")
    assert [one["metadata"]["name"] for one in own["items"]] == ["n1"]
    answer = await node("GET", path, status=403)
    assert "can only list/watch/deletecollection resourceslices with nodeName field selector" in answer["message"]
    answer = await node("DELETE", f"{path}/n2", status=403)
    assert "no relationship found between node 'n1' and this object" in answer["message"]
    await node("DELETE", f"{path}/n1")


async def test_a_node_reports_how_its_claims_grow_and_nothing_else_of_them(ask):
    node = type(ask)(ask.server, User("system:node:n1", groups=("system:nodes", "system:authenticated")))
    claims, merge = "/api/v1/namespaces/default/persistentvolumeclaims", "application/merge-patch+json"
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "v"}
    await ask.create(claims, {"metadata": {"name": "a"}, "spec": spec})
    path = f"{claims}/a/status"
    await node("PATCH", path, {"status": {"capacity": {"storage": "2Gi"}}}, content_type=merge)
    answer = await node("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, content_type=merge, status=403)
    assert "is not allowed to update fields other than status.quantity and status.conditions" in answer["message"]


async def test_whoever_may_impersonate_acts_as_the_other(ask):
    token = await ask("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {}, status=201)
    headers = {"authorization": f"Bearer {token['status']['token']}", "impersonate-user": "bob"}
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

    async def who():
        return await ask.server.handle(Request("POST", review, {}, headers, b"{}"))

    assert (await who()).status == 403
    rule = {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}
    await ask.create(f"{RBAC}/clusterroles", role(rule))
    subject = {"kind": "ServiceAccount", "namespace": "default", "name": "default"}
    await ask.create(f"{RBAC}/clusterrolebindings", binding("ClusterRole", "r", subject))
    assert b'"username":"bob"' in (await who()).body


async def test_a_node_reads_only_the_pods_on_it(ask):
    node = type(ask)(ask.server, User("system:node:n1", groups=("system:nodes", "system:authenticated")))
    for name in ("n1", "n2"):
        spec = {"nodeName": name, "containers": [{"name": "c", "image": "i"}]}
        await ask.create(PODS, {"metadata": {"name": f"on-{name}"}, "spec": spec})
    await node("GET", f"{PODS}/on-n1")
    await node("GET", f"{PODS}/on-n2", status=403)
    found = await node("GET", "/api/v1/pods?fieldSelector=spec.nodeName=n1")
    assert [one["metadata"]["name"] for one in found["items"]] == ["on-n1"]
    answer = await node("GET", "/api/v1/pods", status=403)
    assert "can only list/watch pods with spec.nodeName field selector" in answer["message"]
    await node("GET", "/api/v1/pods?fieldSelector=spec.nodeName=n2", status=403)
    await node("GET", "/api/v1/pods?fieldSelector=spec.nodeName!=n1", status=403)


async def test_a_node_writes_only_what_is_its_own(ask):
    node = type(ask)(ask.server, User("system:node:n1", groups=("system:nodes", "system:authenticated")))
    for name in ("n1", "n2"):
        await ask.create("/api/v1/nodes", {"metadata": {"name": name}})
    merge = "application/merge-patch+json"
    path = "/api/v1/nodes"
    await node("PATCH", f"{path}/n1/status", {"status": {"phase": "Running"}}, content_type=merge)
    answer = await node("PATCH", f"{path}/n2/status", {"status": {}}, content_type=merge, status=403)
    assert answer["message"] == 'nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"'
    answer = await node("PATCH", f"{path}/n1", {"spec": {"taints": None}}, content_type=merge, status=403)
    assert 'node "n1" is not allowed to modify taints' in answer["message"]
    label = {"metadata": {"labels": {"node-restriction.kubernetes.io/secret": "yes"}}}
    answer = await node("PATCH", f"{path}/n1", label, content_type=merge, status=403)
    assert "is not allowed to modify labels: node-restriction.kubernetes.io/secret" in answer["message"]
    answer = await node("POST", PODS, {"metadata": {"name": "a"}, "spec": {
        "containers": [{"name": "c", "image": "i"}]}}, status=403)  # fmt: skip
    assert 'node "n1" can only create mirror pods' in answer["message"]
    for name in ("n1", "n2"):
        spec = {"nodeName": name, "containers": [{"name": "c", "image": "i"}]}
        await ask.create(PODS, {"metadata": {"name": f"on-{name}"}, "spec": spec})
    status = {"status": {"phase": "Running"}}
    await node("PATCH", f"{PODS}/on-n1/status", status, content_type=merge)
    await node("PATCH", f"{PODS}/on-n2/status", status, content_type=merge, status=403)
    await node("DELETE", f"{PODS}/on-n2", status=403)


async def test_a_review_is_no_table(ask):
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    review = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    assert (await ask.raw("POST", path, review, accept=table)).status == 406
    assert (await ask.raw("POST", path, review, accept=f"{table},application/json")).status == 201


async def test_who_may_see_one_object_may_list_it(ask, bob):
    """Extension API servers read the configuration of authentication so."""
    await allow(ask, {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"], "resourceNames": ["a"]})
    await bob("GET", f"{PODS}?fieldSelector=metadata.name=a")
    await bob("GET", f"{PODS}?fieldSelector=metadata.name=b", status=403)
    await bob("GET", f"{PODS}?fieldSelector=metadata.name!=a", status=403)
    await bob("GET", PODS, status=403)


async def test_a_node_asks_for_certificates_in_its_own_name_only(ask):
    key = ec.generate_private_key(ec.SECP256R1())

    def asked(name, node):
        subject = x509.Name([
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"),
        ])  # fmt: skip
        made = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
        request = base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()
        signer = "kubernetes.io/kube-apiserver-client-kubelet"
        return {
            "metadata": {"name": name},
            "spec": {"request": request, "signerName": signer, "usages": ["client auth", "digital signature"]},
        }

    node = Asker(ask.server, User("system:node:n1", groups=("system:nodes", "system:authenticated")))
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    await node.create(path, asked("own", "n1"))
    answer = await node("POST", path, asked("other", "n2"), status=403)
    assert answer["message"].endswith("can only create a node CSR with CN=system:node:n1")
