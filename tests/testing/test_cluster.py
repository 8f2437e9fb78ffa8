"""The cluster that tests get, from a user's side."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kubernetes import client, watch
from kubernetes.stream import stream

from kobune.api.objects.core import ConfigMap, Pod, ServiceAccount
from kobune.api.objects.meta import Key
from kobune.testing import Cluster

# Other people's clients leave sockets to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def cluster():
    with Cluster(nodes=2) as running:
        yield running


@pytest.fixture
def api(cluster):
    with client.ApiClient(cluster.client_configuration()) as connection:
        yield connection


def pod(name, **annotations):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "example.org/app:1"}]},
    }


def running(core, name, namespace="default"):
    deadline = time.monotonic() + 20
    while (found := core.read_namespaced_pod(name, namespace)).status.phase != "Running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_examples_run():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(EXAMPLES), "-p", "no:cacheprovider"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_kubernetes_client_creates_watches_patches_and_reads_logs(api):
    core = client.CoreV1Api(api)
    core.create_namespaced_pod("default", pod("talker"))
    seen = []
    for event in watch.Watch().stream(
        core.list_namespaced_pod, "default", field_selector="metadata.name=talker", timeout_seconds=20
    ):
        seen.append(event["type"])
        if event["object"].status.phase == "Running":
            break
    assert seen[0] == "ADDED"
    core.patch_namespaced_pod("talker", "default", {"metadata": {"labels": {"seen": "yes"}}})
    assert core.read_namespaced_pod("talker", "default").metadata.labels["seen"] == "yes"
    assert "simulated" in core.read_namespaced_pod_log("talker", "default")
    said = stream(core.connect_get_namespaced_pod_exec, "talker", "default", command=["echo", "hi"],
                  stderr=True, stdin=False, stdout=True, tty=False)  # fmt: skip
    assert said


@pytest.mark.filterwarnings("ignore:Kubernetes version")  # kr8s warns of versions younger than itself.
def test_kr8s_works_unmodified(cluster):
    import kr8s

    connection = kr8s.api(kubeconfig=str(cluster.kubeconfig))
    from kr8s.objects import Pod as Kr8sPod

    made = Kr8sPod(pod("from-kr8s"), api=connection)
    made.create()
    made.wait("condition=Ready", timeout=20)
    made.label({"team": "blue"})
    [found] = list(connection.get("pods", label_selector="team=blue"))
    assert found.name == "from-kr8s"
    made.delete()


async def test_in_the_tests_own_loop_the_client_needs_no_socket():
    async with Cluster(nodes=1) as cluster:
        await cluster.client.create(ConfigMap, {"metadata": {"name": "a", "namespace": "default"}, "data": {"x": "y"}})
        found = await cluster.client.get(ConfigMap, Key("default", "a"))
        assert found.data == {"x": "y"}


async def test_components_can_be_left_out():
    async with Cluster(nodes=1, scheduler=False, controllers="") as cluster:
        default = {"metadata": {"name": "default", "namespace": "default"}}
        await cluster.client.create(ServiceAccount, default)
        await cluster.client.create(Pod, pod("waits") | {"metadata": {"name": "waits", "namespace": "default"}})
        await asyncio.sleep(0.3)
        assert (await cluster.client.get(Pod, Key("default", "waits"))).spec.node_name == ""


def test_two_clusters_side_by_side_know_nothing_of_each_other(cluster):
    with Cluster(nodes=1) as other, client.ApiClient(other.client_configuration()) as elsewhere:
        client.CoreV1Api(elsewhere).create_namespaced_config_map("default", {"metadata": {"name": "only-there"}})
        with client.ApiClient(cluster.client_configuration()) as here:
            names = [item.metadata.name for item in client.CoreV1Api(here).list_namespaced_config_map("default").items]
        assert "only-there" not in names


def test_a_bad_option_is_a_clear_error():
    with pytest.raises(TypeError, match="noodles"):
        Cluster(noodles=3)


def test_namespaces_of_tests_are_emptied(cluster):
    from kobune.testing.namespaces import fresh_namespace

    with client.ApiClient(cluster.client_configuration()) as api:
        core = client.CoreV1Api(api)
        with fresh_namespace(cluster.kubeconfig) as name:
            core.create_namespaced_config_map(name, {"metadata": {"name": "left-behind"}})
        assert name not in [item.metadata.name for item in core.list_namespace().items]
