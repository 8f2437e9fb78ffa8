"""What the built-in admission plugins change and refuse."""

import pytest

PODS = "/api/v1/namespaces/default/pods"
MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def pod(name="a", **spec):
    containers = [{"name": "main", "image": "busybox"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers, **spec}}


async def test_a_pod_gets_its_accounts_token(ask):
    created = await ask.create(PODS, pod())
    spec = created["spec"]
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
    volume = spec["volumes"][0]
    assert volume["name"].startswith("kube-api-access-")
    assert volume["projected"]["sources"][0] == {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    assert spec["containers"][0]["volumeMounts"] == [{"name": volume["name"], "readOnly": True, "mountPath": MOUNT}]


async def test_a_pod_that_wants_no_token_gets_none(ask):
    created = await ask.create(PODS, pod(automountServiceAccountToken=False))
    assert "volumes" not in created["spec"]


async def test_a_missing_account_is_named(ask):
    answer = await ask("POST", PODS, pod(serviceAccountName="nix"), status=403)
    assert answer["message"] == (
        'pods "a" is forbidden: error looking up service account default/nix: serviceaccount "nix" not found'
    )


async def test_a_missing_namespace_is_not_found(ask):
    answer = await ask("POST", "/api/v1/namespaces/nix/configmaps", {"metadata": {"name": "a"}}, status=404)
    assert answer["message"] == 'namespaces "nix" not found'


async def test_an_ending_namespace_takes_nothing_new(ask):
    await ask.create("/api/v1/namespaces", {"metadata": {"name": "x"}})
    await ask("DELETE", "/api/v1/namespaces/x")
    answer = await ask("POST", "/api/v1/namespaces/x/configmaps", {"metadata": {"name": "a"}}, status=403)
    assert answer["message"] == (
        'configmaps "a" is forbidden: unable to create new content in namespace x because it is being terminated'
    )
    assert answer["details"]["causes"][0]["reason"] == "NamespaceTerminating"


async def test_some_namespaces_never_end(ask):
    answer = await ask("DELETE", "/api/v1/namespaces/default", status=403)
    assert answer["message"] == 'namespaces "default" is forbidden: this namespace may not be deleted'


async def test_pods_tolerate_a_lost_node_for_five_minutes(ask):
    created = await ask.create(PODS, pod())
    assert [(one["key"], one["tolerationSeconds"]) for one in created["spec"]["tolerations"]] == [
        ("node.kubernetes.io/not-ready", 300),
        ("node.kubernetes.io/unreachable", 300),
    ]


async def test_a_priority_class_becomes_a_number(ask):
    created = await ask.create(PODS, pod(priorityClassName="system-node-critical"))
    assert created["spec"]["priority"] == 2_000_001_000
    assert (await ask.create(PODS, pod("b")))["spec"]["priority"] == 0
    answer = await ask("POST", PODS, pod("c", priorityClassName="nix"), status=403)
    assert answer["message"] == 'pods "c" is forbidden: no PriorityClass with name nix was found'


async def test_a_new_node_is_tainted_until_it_is_ready(ask):
    created = await ask.create("/api/v1/nodes", {"metadata": {"name": "n"}})
    assert created["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public", "kube-node-lease"])
async def test_every_cluster_has_its_namespaces(ask, name):
    assert (await ask("GET", f"/api/v1/namespaces/{name}"))["status"]["phase"] == "Active"


RUNTIME = {
    "metadata": {"name": "heavy"},
    "handler": "kata",
    "overhead": {"podFixed": {"cpu": "10m"}},
    "scheduling": {"nodeSelector": {"kind": "big"}, "tolerations": [{"key": "kata", "operator": "Exists"}]},
}


async def test_a_pod_takes_over_what_its_runtime_class_says(ask):
    await ask.create("/apis/node.k8s.io/v1/runtimeclasses", RUNTIME)
    spec = (await ask.create(PODS, pod(runtimeClassName="heavy", nodeSelector={"zone": "1"})))["spec"]
    assert spec["overhead"] == {"cpu": "10m"}
    assert spec["nodeSelector"] == {"zone": "1", "kind": "big"}
    assert {"key": "kata", "operator": "Exists"} in spec["tolerations"]


@pytest.mark.parametrize("spec, why", [
    pytest.param({"runtimeClassName": "nix"}, 'pod rejected: RuntimeClass "nix" not found', id="no-such-class"),
    pytest.param(
        {"runtimeClassName": "heavy", "overhead": {"cpu": "1"}},
        "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead", id="another-overhead",
    ),
    pytest.param(
        {"overhead": {"cpu": "1"}},
        "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead", id="overhead-of-its-own",
    ),
    pytest.param(
        {"runtimeClassName": "heavy", "nodeSelector": {"kind": "small"}},
        "conflict: runtimeClass.scheduling.nodeSelector[kind] = big; pod.spec.nodeSelector[kind] = small",
        id="another-node",
    ),
])  # fmt: skip
async def test_a_pod_that_contradicts_its_runtime_class_is_refused(ask, spec, why):
    await ask.create("/apis/node.k8s.io/v1/runtimeclasses", RUNTIME)
    answer = await ask("POST", PODS, pod(**spec), status=403)
    assert answer["message"] == f'pods "a" is forbidden: {why}'
