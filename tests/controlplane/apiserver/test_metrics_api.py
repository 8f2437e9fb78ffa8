"""metrics.k8s.io: what nodes and pods use."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from kobune.api.errors import ServiceUnavailable
from kobune.controlplane.apiserver.usage.sampler import UsageSampler

API = "/apis/metrics.k8s.io/v1beta1"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
SECOND = 1_000_000_000


class LeapingClock:
    """Sleepers wake at once, the time having passed."""

    passed = 100.0

    def now(self):
        return datetime(2026, 1, 5, 8, 0, tzinfo=UTC) + timedelta(seconds=self.passed)

    def monotonic(self):
        return self.passed

    async def sleep(self, seconds):
        self.passed += seconds


class Kubelets:
    """Kubelets whose one container per pod takes half a core."""

    def __init__(self, clock):
        self.clock = clock
        self.looks = []
        self.down = set()

    async def get(self, node, path, query):
        name = node["metadata"]["name"]
        assert path == "/stats/summary"
        self.looks.append(name)
        if name in self.down:
            raise ServiceUnavailable("connection refused")
        spent = int(self.clock.monotonic() * SECOND)
        cpu = {"usageCoreNanoSeconds": spent // 2, "usageNanoCores": 7}
        memory = {"workingSetBytes": 10 * 2**20}
        pods = [
            {
                "podRef": {"name": f"{name}-pod", "namespace": "default", "uid": "1"},
                "containers": [{"name": "main", "cpu": cpu, "memory": memory}],
            }
        ]
        own = {"nodeName": name, "cpu": {"usageCoreNanoSeconds": spent}, "memory": {"workingSetBytes": 2**30}}
        summary = {"pods": pods} if name == "simulated" else {"node": own, "pods": pods}
        if name == "simulated":
            for pod in pods:
                pod["containers"][0]["cpu"] = {"usageNanoCores": 250_000_000}

        async def pieces():
            yield orjson.dumps(summary)

        return pieces()


@pytest.fixture
async def kubelets(server, ask):
    for name in ("one", "two", "simulated"):
        labels = {"pool": name}
        await ask.create("/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
        status = {"addresses": [{"type": "InternalIP", "address": f"10.0.0.{len(name)}{ord(name[0])}"}]}
        await ask(
            "PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, content_type="application/merge-patch+json"
        )
        spec = {"nodeName": name, "containers": [{"name": "main", "image": "busybox"}]}
        meta = {"name": f"{name}-pod", "labels": {"app": name}}
        await ask.create("/api/v1/namespaces/default/pods", {"metadata": meta, "spec": spec})
    clock = LeapingClock()
    found = Kubelets(clock)
    server.usage = UsageSampler(found, clock)
    return found


async def test_nodes_show_what_they_use(ask, kubelets):
    answer = await ask("GET", f"{API}/nodes")
    assert (answer["kind"], answer["apiVersion"]) == ("NodeMetricsList", "metrics.k8s.io/v1beta1")
    usage = {one["metadata"]["name"]: one["usage"] for one in answer["items"]}
    assert usage["one"] == usage["two"] == {"cpu": f"{SECOND}n", "memory": f"{2**20}Ki"}
    assert answer["items"][0]["window"] == "1s"


async def test_a_node_whose_kubelet_speaks_of_pods_only_uses_what_they_use(ask, kubelets):
    answer = await ask("GET", f"{API}/nodes/simulated")
    assert answer["usage"] == {"cpu": "250000000n", "memory": "10240Ki"}


async def test_pods_are_selected_by_namespace_and_labels(ask, kubelets):
    answer = await ask("GET", f"{API}/namespaces/default/pods?labelSelector=app=one")
    assert [one["metadata"]["name"] for one in answer["items"]] == ["one-pod"]
    assert answer["items"][0]["metadata"]["labels"] == {"app": "one"}
    usage = {"cpu": f"{SECOND // 2}n", "memory": "10240Ki"}
    assert answer["items"][0]["containers"] == [{"name": "main", "usage": usage}]
    assert set(kubelets.looks) == {"one"}, "only the nodes of these pods are asked"
    assert (await ask("GET", f"{API}/namespaces/kube-system/pods"))["items"] == []
    assert len((await ask("GET", f"{API}/pods"))["items"]) == 3


async def test_kubelets_are_not_asked_again_at_once(ask, kubelets):
    for _ in range(3):
        await ask("GET", f"{API}/nodes/one")
    assert kubelets.looks == ["one", "one"]
    kubelets.clock.passed += 20
    answer = await ask("GET", f"{API}/nodes/one")
    assert kubelets.looks == ["one"] * 3
    assert answer["window"] == "20s"
    kubelets.clock.passed += 3600
    assert (await ask("GET", f"{API}/nodes/one"))["window"] == "1s", "an hour's mean is not what is used now"


async def test_what_is_not_there_and_what_says_nothing_is_not_found(ask, kubelets):
    answer = await ask("GET", f"{API}/namespaces/default/pods/nix", status=404)
    assert answer["message"] == 'pods "default/nix" not found'
    kubelets.down.add("two")
    answer = await ask("GET", f"{API}/namespaces/default/pods/two-pod", status=404)
    assert answer["message"] == 'podmetrics.metrics.k8s.io "default/two-pod" not found'
    assert len((await ask("GET", f"{API}/nodes"))["items"]) == 2


async def test_usage_as_a_table(ask, kubelets):
    answer = orjson.loads((await ask.raw("GET", f"{API}/namespaces/default/pods", accept=TABLE)).body)
    assert [one["name"] for one in answer["columnDefinitions"]] == ["Name", "cpu", "memory", "Window"]
    assert ["one-pod", "500m", "10Mi", "1s"] in [row["cells"] for row in answer["rows"]]


async def test_the_api_is_discovered_and_described(ask):
    resources = (await ask("GET", API))["resources"]
    assert [(one["name"], one["kind"], one["verbs"]) for one in resources] == [
        ("nodes", "NodeMetrics", ["get", "list"]), ("pods", "PodMetrics", ["get", "list"]),
    ]  # fmt: skip
    schemas = (await ask("GET", f"/openapi/v3{API}"))["components"]["schemas"]
    assert "io.k8s.metrics.v1beta1.PodMetrics" in schemas
    await ask("POST", f"{API}/nodes", {}, status=405)
