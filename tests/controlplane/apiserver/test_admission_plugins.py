"""What the less common admission plugins change and refuse."""

import base64
import random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kobune.api.clock import SystemClock
from kobune.controlplane.apiserver.admission.tolerations import merged
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import User
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from tests.controlplane.apiserver.conftest import KEYS, Asker

PODS = "/api/v1/namespaces/default/pods"
CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
MERGE = "application/merge-patch+json"


def pod(name="a", **spec):
    containers = [{"name": "main", "image": "busybox"}]
    return {"metadata": {"name": name}, "spec": {"containers": containers, **spec}}


@pytest.fixture
async def sandboxed(ask):
    """A class with overhead, a node selector and a toleration."""
    scheduling = {"nodeSelector": {"sandbox": "yes"}, "tolerations": [{"key": "sandbox", "operator": "Exists"}]}
    overhead = {"podFixed": {"cpu": "250m", "memory": "64Mi"}}
    spec = {"metadata": {"name": "sandboxed"}, "handler": "kata", "overhead": overhead, "scheduling": scheduling}
    await ask.create(CLASSES, spec)


async def test_a_pod_gets_what_its_runtime_class_needs(ask, sandboxed):
    spec = (await ask.create(PODS, pod(runtimeClassName="sandboxed", nodeSelector={"disk": "ssd"})))["spec"]
    assert spec["overhead"] == {"cpu": "250m", "memory": "64Mi"}
    assert spec["nodeSelector"] == {"disk": "ssd", "sandbox": "yes"}
    assert {"key": "sandbox", "operator": "Exists"} in spec["tolerations"]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"runtimeClassName": "nix"}, 'pod rejected: RuntimeClass "nix" not found'),
        (
            {"overhead": {"cpu": "1"}},
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            {"runtimeClassName": "sandboxed", "overhead": {"cpu": "1"}},
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            {"runtimeClassName": "sandboxed", "nodeSelector": {"sandbox": "no"}},
            "conflict: runtimeClass.scheduling.nodeSelector[sandbox] = yes; pod.spec.nodeSelector[sandbox] = no",
        ),
    ],
)
async def test_what_contradicts_the_runtime_class_is_refused(ask, sandboxed, spec, why):
    answer = await ask("POST", PODS, pod(**spec), status=403)
    assert answer["message"] == f'pods "a" is forbidden: {why}'


async def test_the_same_overhead_may_be_written_otherwise(ask, sandboxed):
    await ask.create(PODS, pod(runtimeClassName="sandboxed", overhead={"cpu": "0.25", "memory": "65536Ki"}))


async def test_an_ingress_gets_the_newest_default_class(ask):
    classes, path = (
        "/apis/networking.k8s.io/v1/ingressclasses",
        "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
    )
    backend = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
    assert "ingressClassName" not in (await ask.create(path, {"metadata": {"name": "early"}, "spec": backend}))["spec"]
    for name, mark in (("b", "true"), ("a", "true"), ("c", "false")):
        annotations = {"ingressclass.kubernetes.io/is-default-class": mark}
        meta = {"name": name, "annotations": annotations}
        await ask.create(classes, {"metadata": meta, "spec": {"controller": "example.com/x"}})
    chosen = (await ask.create(path, {"metadata": {"name": "i"}, "spec": backend}))["spec"]["ingressClassName"]
    assert chosen in ("a", "b")
    old = {"name": "old", "annotations": {"kubernetes.io/ingress.class": "nginx"}}
    assert "ingressClassName" not in (await ask.create(path, {"metadata": old, "spec": backend}))["spec"]


@pytest.fixture
async def claim(ask):
    """Makes a bound claim of a class that can grow, or cannot."""

    async def make(name, expandable, phase="Bound"):
        storage = {"metadata": {"name": name}, "provisioner": "example.com/x", "allowVolumeExpansion": expandable}
        await ask.create("/apis/storage.k8s.io/v1/storageclasses", storage)
        spec = {
            "accessModes": ["ReadWriteOnce"], "storageClassName": name, "volumeName": "v",
            "resources": {"requests": {"storage": "1Gi"}},
        }  # fmt: skip
        await ask.create(CLAIMS, {"metadata": {"name": name}, "spec": spec})
        status = {"phase": phase, "capacity": {"storage": "1Gi"}}
        await ask("PATCH", f"{CLAIMS}/{name}/status", {"status": status}, content_type=MERGE)

    return make


async def grow(ask, name, *, status):
    patch = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    return await ask("PATCH", f"{CLAIMS}/{name}", patch, content_type=MERGE, status=status)


async def test_a_claim_grows_where_its_class_allows_it(ask, claim):
    await claim("grows", True)
    await grow(ask, "grows", status=200)
    await claim("stays", False)
    assert (await grow(ask, "stays", status=403))["message"] == (
        'persistentvolumeclaims "stays" is forbidden: only dynamically provisioned pvc can be resized and '
        "the storageclass that provisions the pvc must support resize"
    )


def request_of(*groups):
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.COMMON_NAME, "jo")]
    names += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names)).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


def signing_request(name, *groups):
    spec = {
        "request": request_of(*groups), "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
    }  # fmt: skip
    return {"metadata": {"name": name}, "spec": spec}


async def test_nobody_becomes_an_administrator_by_certificate(ask):
    await ask.create(REQUESTS, signing_request("plain", "crew"))
    answer = await ask("POST", REQUESTS, signing_request("root", "system:masters"), status=403)
    assert answer["message"].endswith(
        "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    )


async def test_only_who_may_approves_and_signs_for_a_signer(ask, server):
    await ask.create(REQUESTS, signing_request("a"))
    roles = "/apis/rbac.authorization.k8s.io/v1"
    parts = [f"certificatesigningrequests{part}" for part in ("", "/approval", "/status")]
    rules = [{"apiGroups": ["certificates.k8s.io"], "resources": parts, "verbs": ["*"]}]
    await ask.create(f"{roles}/clusterroles", {"metadata": {"name": "clerk"}, "rules": rules})
    binding = {
        "metadata": {"name": "clerk"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "clerk"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jo"}],
    }
    await ask.create(f"{roles}/clusterrolebindings", binding)
    jo = Asker(server, User("jo", groups=("system:authenticated",)))
    condition = {"type": "Approved", "status": "True", "reason": "x", "message": "y"}
    approval = {"status": {"conditions": [condition]}}
    answer = await jo("PATCH", f"{REQUESTS}/a/approval", approval, content_type=MERGE, status=403)
    assert answer["message"].endswith(
        'user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"'
    )
    signers = {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": ["approve"]}
    rules.append({**signers, "resourceNames": ["kubernetes.io/*"]})
    await ask("PATCH", f"{roles}/clusterroles/clerk", {"rules": rules}, content_type=MERGE)
    approved = await jo("PATCH", f"{REQUESTS}/a/approval", approval, content_type=MERGE)
    failed = {"status": {"conditions": [*approved["status"]["conditions"], {**condition, "type": "Failed"}]}}
    answer = await jo("PATCH", f"{REQUESTS}/a/status", failed, content_type=MERGE, status=403)
    assert "user not permitted to sign requests" in answer["message"]


async def test_a_pod_carries_its_nodes_zone(ask):
    labels = {"topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r", "pool": "p"}
    await ask.create("/api/v1/nodes", {"metadata": {"name": "n", "labels": labels}})
    await ask.create(PODS, pod("a"))
    await ask("POST", f"{PODS}/a/binding", {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}})
    zone = {"topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r"}
    assert (await ask("GET", f"{PODS}/a"))["metadata"]["labels"] == zone
    assert (await ask.create(PODS, pod("b", nodeName="n")))["metadata"]["labels"] == zone


@pytest.fixture
async def strict():
    plugins = ("AlwaysPullImages", "DenyServiceExternalIPs", "ExtendedResourceToleration")
    config = ApiServerConfig(
        service_account_keys=KEYS, enabled_admission_plugins=plugins, disabled_admission_plugins=("ServiceAccount",)
    )
    async with ApiServer(config, MemoryStore(), clock=SystemClock(), source=random.Random(1)) as server:
        yield Asker(server)


async def test_plugins_that_are_off_can_be_switched_on(ask, strict):
    wanting = pod()
    wanting["spec"]["containers"][0] |= {
        "imagePullPolicy": "Never", "resources": {"limits": {"example.com/gpu": "1"}},
    }  # fmt: skip
    plain = (await ask.create(PODS, wanting))["spec"]
    made = (await strict.create(PODS, wanting))["spec"]
    assert [one["containers"][0]["imagePullPolicy"] for one in (plain, made)] == ["Never", "Always"]
    toleration = {"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert toleration in made["tolerations"]
    assert toleration not in plain["tolerations"]
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "externalIPs": ["8.8.8.8"]}}
    await ask.create("/api/v1/namespaces/default/services", service)
    answer = await strict("POST", "/api/v1/namespaces/default/services", service, status=403)
    assert answer["message"] == 'services "s" is forbidden: Use of external IPs is denied by admission control'


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([{"key": "a"}], [{"key": "a"}], [{"key": "a"}]),
        ([{"operator": "Exists"}], [{"key": "a"}], [{"operator": "Exists"}]),
        ([{"key": "a", "value": "1"}], [{"key": "a", "operator": "Exists"}], [{"key": "a", "operator": "Exists"}]),
        ([{"key": "a"}], [{"key": "b"}], [{"key": "a"}, {"key": "b"}]),
        (
            [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
            [{"key": "a", "operator": "Exists", "effect": "NoExecute"}],
            [{"key": "a", "operator": "Exists", "effect": "NoExecute"}],
        ),
    ],
)
def test_of_two_tolerations_the_wider_is_kept(first, second, expected):
    assert merged(first, second) == expected
