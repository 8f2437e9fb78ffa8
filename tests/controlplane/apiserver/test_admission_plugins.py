"""What the less common admission plugins change and refuse."""

import base64
import random
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kobune.api.clock import SystemClock
from kobune.api.errors import Forbidden
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.configuration import AdmissionSettings
from kobune.controlplane.apiserver.admission.event_rate_limit import EventLimit
from kobune.controlplane.apiserver.admission.plugins import OFF_BY_DEFAULT, make_plugins
from kobune.controlplane.apiserver.admission.pod_node_validators import NodeDeclaredFeatureValidator, needed_features
from kobune.controlplane.apiserver.admission.tolerations import merged
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.request import MASTER, User
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from tests.controlplane.apiserver.conftest import KEYS, Asker

PODS = "/api/v1/namespaces/default/pods"
CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


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


NODE = {
    "metadata": {"name": "n", "labels": {"kubernetes.io/os": "linux"}},
    "status": {"allocatable": {"cpu": "1900m", "memory": "1Gi", "pods": "10"}},
}


def sized(cpu):
    resources = {"requests": {"cpu": cpu, "memory": "64Mi"}}
    once = {"name": "init", "image": "busybox", "resources": {"requests": {"cpu": "100m"}}}
    return pod(
        nodeName="n", initContainers=[once], containers=[{"name": "main", "image": "busybox", "resources": resources}]
    )


async def resized(ask, spec, status=0):
    return await ask("PATCH", f"{PODS}/a/resize", {"spec": spec}, content_type=STRATEGIC, status=status)


async def test_a_pod_does_not_grow_beyond_its_node(ask):
    await ask.create("/api/v1/nodes", NODE)
    await ask.create(PODS, sized("1"))
    wanted = {"containers": [{"name": "main", "resources": {"requests": {"cpu": "2", "memory": "2Gi"}}}]}
    answer = await resized(ask, wanted, status=403)
    assert answer["message"] == (
        'pods "a" is forbidden: node didn\'t have enough allocatable resources: '
        "cpu, requested: 2000, allocatable: 1900; memory, requested: 2147483648, allocatable: 1073741824"
    )
    assert answer["details"]["causes"] == [{"reason": "NodeCapacity"}]
    wanted["containers"][0]["resources"]["requests"] = {"cpu": "1500m", "memory": "1Gi"}
    await resized(ask, wanted)


async def test_only_linux_resizes(ask):
    await ask.create("/api/v1/nodes", {**NODE, "metadata": {"name": "n", "labels": {"kubernetes.io/os": "windows"}}})
    await ask.create(PODS, sized("1"))
    wanted = {"containers": [{"name": "main", "resources": {"requests": {"cpu": "1500m"}}}]}
    answer = await resized(ask, wanted, status=403)
    assert answer["message"].endswith('pod resize is only supported on linux nodes, node "n" is "windows"')
    assert answer["details"]["causes"] == [{"reason": "UnsupportedPlatform"}]


def asking(cpu, **container):
    return {"initContainers": [{"name": "init", "resources": {"requests": {"cpu": cpu}}, **container}]}


@pytest.mark.parametrize(
    ("new", "old", "features"),
    [
        ({"resources": {"requests": {"cpu": "1"}}}, {}, ["InPlacePodLevelResourcesVerticalScaling"]),
        (asking("2"), asking("1"), ["InPlacePodVerticalScalingInitContainers"]),
        (asking("2", restartPolicy="Always"), asking("1", restartPolicy="Always"), []),
        (asking("1", image="b"), asking("1", image="a"), []),
    ],
)
def test_what_only_some_kubelets_can_change_is_a_feature(new, old, features):
    assert list(needed_features(new, old)) == features


async def test_a_feature_is_asked_only_of_nodes_that_declare_it(server, ask):
    feature = "InPlacePodLevelResourcesVerticalScaling"
    await ask.create("/api/v1/nodes", NODE)
    old = await ask.create(PODS, sized("1"))
    new = {**old, "metadata": {**old["metadata"], "generation": 2}}
    new["spec"] = {**old["spec"], "resources": {"requests": {"cpu": "1"}}}
    registry = server.registry
    call = Call(registry.builtin("", "v1", "Pod"), "default", "a", MASTER, SystemClock().now(), subresource="resize")
    attributes = Attributes("UPDATE", call, new, old)
    with pytest.raises(Forbidden, match=f'requires features {feature} which are not available on node "n"'):
        await NodeDeclaredFeatureValidator(registry).validate(attributes)
    declared = {"status": {"declaredFeatures": [feature]}}
    await ask("PATCH", "/api/v1/nodes/n/status", declared, content_type=MERGE)
    await NodeDeclaredFeatureValidator(registry).validate(attributes)


async def test_upstreams_plugins_have_their_names_here(server):
    def names(**which):
        return {one.name for one in make_plugins(server.registry, server.webhooks, server.authorization, **which)}

    limited = AdmissionSettings(event_limits=(EventLimit("Server", 1, 1),))
    every = names(enabled=OFF_BY_DEFAULT, settings=limited, image_review=lambda _review: None)
    assert every - names() == set(OFF_BY_DEFAULT)
    with pytest.raises(ValueError, match="EventRateLimit: limits: Invalid value: null: must not be empty"):
        names(enabled=["EventRateLimit"])
    with pytest.raises(ValueError, match="ImagePolicyWebhook: no config specified"):
        names(enabled=["ImagePolicyWebhook"])
    with pytest.raises(ValueError, match="no such admission plugin: Nix"):
        names(enabled=["Nix"])


async def test_plugins_that_are_off_by_default_can_be_asked_for():
    config = ApiServerConfig(
        cluster_version="1.36",
        enabled_admission_plugins=("NamespaceExists", "LimitPodHardAntiAffinityTopology", "AlwaysAdmit"),
        disabled_admission_plugins=("ServiceAccount", "NamespaceLifecycle"),
    )  # fmt: skip
    async with ApiServer(config, MemoryStore(), clock=SystemClock(), source=random.Random(1)) as server:
        ask = Asker(server)
        answer = await ask("POST", "/api/v1/namespaces/nowhere/configmaps", {"metadata": {"name": "a"}}, status=404)
        assert answer["message"] == 'namespaces "nowhere" not found'
        term = {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": {"matchLabels": {"app": "a"}}}
        apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        answer = await ask("POST", PODS, pod(affinity=apart), status=403)
        assert "but only key kubernetes.io/hostname is allowed" in answer["message"]


def authority():
    """A self-signed CA's certificate in PEM."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mine")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    made = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


async def test_only_who_may_attests_for_a_signer():
    config = ApiServerConfig(cluster_version="1.37")
    path = "/apis/certificates.k8s.io/v1/clustertrustbundles"
    async with ApiServer(config, MemoryStore(), clock=SystemClock(), source=random.Random(1)) as server:
        ask, roles = Asker(server), "/apis/rbac.authorization.k8s.io/v1"
        rules = [{"apiGroups": ["certificates.k8s.io"], "resources": ["clustertrustbundles"], "verbs": ["*"]}]
        await ask.create(f"{roles}/clusterroles", {"metadata": {"name": "clerk"}, "rules": rules})
        binding = {
            "metadata": {"name": "clerk"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "clerk"},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jo"}],
        }
        await ask.create(f"{roles}/clusterrolebindings", binding)
        jo = Asker(server, User("jo", groups=("system:authenticated",)))
        bundle = {
            "metadata": {"name": "example.com:mine:a"},
            "spec": {"signerName": "example.com/mine", "trustBundle": authority()},
        }
        answer = await jo("POST", path, bundle, status=403)
        assert answer["message"].endswith('user not permitted to attest for signerName "example.com/mine"')
        await ask.create(path, bundle)
        finalizers = {"metadata": {"finalizers": ["example.com/kept"]}}
        await jo("PATCH", f"{path}/example.com:mine:a", finalizers, content_type=MERGE)
