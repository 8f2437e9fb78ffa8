"""`kobune plan` and `kobune why` as a user calls them."""

import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from kubernetes import client

SHOP = Path(__file__).parents[2] / "examples" / "online_shop.yaml"


def kobune(*arguments):
    return subprocess.run([sys.executable, "-m", "kobune", *arguments], capture_output=True, text=True, timeout=60)


def test_a_plan_says_what_is_left_over_and_how_many_nodes_would_do():
    found = kobune(
        "plan", "-f", str(SHOP), "--pool", "size=Standard_D4s_v5,count=3,max-pods=30", "--size", "Standard_D8s_v5"
    )
    assert (found.returncode, found.stderr) == (2, "")
    assert found.stdout.startswith("2 of 24 pods do not fit: 22 pods on 3 of 3 nodes.")
    assert "left over: default/recommendations-0: 0/3 nodes are available: 3 Insufficient cpu" in found.stdout
    assert "with Standard_D8s_v5 alone: 3 nodes, 24 cores" in found.stdout


def test_a_plan_as_json_has_utilisation_after_reservations():
    found = kobune("plan", "-f", str(SHOP), "--pool", "size=Standard_D8s_v5,count=3", "-o", "json")
    answer = orjson.loads(found.stdout)
    assert (found.returncode, answer["fits"], answer["left"]) == (0, True, [])
    node = answer["nodes"][0]
    assert (node["capacity"]["cpu"], node["allocatable"]["cpu"]) == (8000, 7820)
    assert node["utilization"]["cpu"] == pytest.approx(node["requested"]["cpu"] / 7820, abs=0.001)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["-f", "/nowhere.yaml", "--pool", "count=1"], "cannot read /nowhere.yaml", id="no-such-file"),
        pytest.param(["-f", str(SHOP), "--pool", "cuont=1"], "'cuont=1' is not one of", id="misspelt"),
        pytest.param(["-f", str(SHOP), "--pool", "count=many"], "count must be a number", id="no-number"),
        pytest.param(
            ["-f", str(SHOP), "--size", "Standard_Huge"], "VM size 'Standard_Huge' is not known", id="no-such-size"
        ),
        pytest.param(["-f", str(SHOP)], "on which nodes?", id="no-nodes"),
        pytest.param(["-f", __file__, "--pool", "count=1"], "cannot read", id="no-manifest"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_status_1(arguments, sentence):
    found = kobune("plan", *arguments)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith("kobune: ")
    assert sentence in found.stderr
    assert "Traceback" not in found.stderr


def test_why_explains_a_pending_pod_of_a_running_cluster(kobune_cluster, kobune_namespace):
    with client.ApiClient(kobune_cluster.client_configuration()) as api:
        core = client.CoreV1Api(api)
        resources = client.V1ResourceRequirements(requests={"cpu": "60"})
        container = client.V1Container(name="c", image="example.org/app", resources=resources)
        pod = client.V1Pod(metadata=client.V1ObjectMeta(name="huge"), spec=client.V1PodSpec(containers=[container]))
        core.create_namespaced_pod(kobune_namespace, pod)
        deadline = time.monotonic() + 10
        while not core.read_namespaced_pod("huge", kobune_namespace).status.conditions:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        options = ["-n", kobune_namespace, "--kubeconfig", str(kobune_cluster.kubeconfig)]
        text = kobune("why", "huge", *options)
        assert text.returncode == 0, text.stderr
        assert text.stdout.startswith(f"{kobune_namespace}/huge fits on no pool as it is.")
        assert "a node pool of size Standard_D" in text.stdout
        answer = orjson.loads(kobune("why", "huge", "-o", "json", *options).stdout)
        assert answer["outcome"] == "never"
        assert answer["closest"][0]["lacks"][0]["resource"] == "cpu"
        nobody = kobune("why", "nobody", *options)
        assert (nobody.returncode, nobody.stderr) == (1, 'kobune: pods "nobody" not found\n')
