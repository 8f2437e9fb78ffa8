"""`kobune up`, `status`, `logs` and `down` with simulated nodes, which need neither root nor containerd."""

import os
import signal
import socket
import subprocess
import sys
import time

import orjson
import pytest

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory):
    """A state directory with a running cluster of 100 simulated nodes."""
    directory = tmp_path_factory.mktemp("state")
    try:
        up = kobune(directory, "up", "--nodes", "0", "--simulated-nodes", "100")
        assert up.returncode == 0, up.stderr
        yield directory
    finally:
        kobune(directory, "down", "--purge")


def kobune(state_dir, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "kobune", *arguments, "--state-dir", str(state_dir)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def kubectl(state_dir, *arguments):
    kubeconfig = kobune(state_dir, "kubeconfig").stdout.strip()
    done = subprocess.run(
        ["kubectl", "--kubeconfig", kubeconfig, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def row(state_dir):
    [found] = orjson.loads(kobune(state_dir, "status", "-o", "json").stdout)["clusters"]
    return found


def refused(done):
    """The one sentence of a command that ended with exit status 1."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = done.stderr.strip().splitlines()
    return line


def test_nodes_are_ready_and_pods_run_on_them(state_dir):
    assert kubectl(state_dir, "get", "nodes", "--no-headers").count(" Ready ") == 100
    kubectl(state_dir, "create", "deployment", "many", "--image=example.org/app:1", "--replicas=1000")
    kubectl(state_dir, "rollout", "status", "deployment/many", "--timeout=60s")
    used = set(kubectl(state_dir, "get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}").split())
    assert len(used) == 100


def test_status_and_kubeconfig_name_what_is_there(state_dir):
    found = row(state_dir)
    assert (found["state"], found["nodes"], found["simulatedNodes"]) == ("Running", 0, 100)
    assert os.stat(found["kubeconfig"]).st_mode & 0o077 == 0
    assert "control-plane runs as" in kobune(state_dir, "status").stdout


def test_only_spot_machines_are_taken_back(state_dir):
    [name, *_] = kubectl(state_dir, "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()
    assert "no spot machines" in refused(kobune(state_dir, "evict", name))
    assert "has no node" in refused(kobune(state_dir, "evict", "nobody"))


def test_a_second_up_is_refused_in_one_sentence(state_dir):
    assert "already runs" in refused(kobune(state_dir, "up", "--nodes", "0", "--simulated-nodes", "1"))


def test_two_services_on_one_state_directory_are_refused(state_dir):
    assert "another service" in refused(kobune(state_dir, "serve"))


def test_logs_are_found_by_category_time_and_text(state_dir):
    found = kobune(state_dir, "logs", "kube-controller-manager", "--since", "1h", "-o", "json").stdout.splitlines()
    assert found
    assert {orjson.loads(line)["category"] for line in found} == {"kube-controller-manager"}
    assert "nothing was logged" in refused(kobune(state_dir, "logs", "kube-nonsense"))
    assert "--since" in refused(kobune(state_dir, "logs", "kube-controller-manager", "--since", "soon"))


def test_a_killed_control_plane_loses_no_write(state_dir):
    for number in range(20):
        kubectl(state_dir, "create", "configmap", f"kept-{number}")
    [process] = row(state_dir)["processes"]
    os.kill(process["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while True:
        try:
            names = kubectl(state_dir, "get", "configmaps", "-o", "name").split()
            break
        except AssertionError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert {f"configmap/kept-{number}" for number in range(20)} <= set(names)


@pytest.mark.parametrize("arguments, said", [
    (["--vm-size", "Standard_Huge"], "Standard_Huge"),
    (["--kubernetes-version", "1.12"], "1.12"),
    (["--max-pods", "3"], "maxPods"),
    (["--cluster", "no spaces"], "no spaces"),
    (["--simulated-nodes", "100000"], "100000"),
    (["--tier", "standard", "--store", "sqlite"], "--store etcd is one"),
    (["--encryption-provider-config", "missing.yaml"], "missing.yaml"),
])  # fmt: skip
def test_bad_input_is_refused_and_leaves_nothing(tmp_path, arguments, said):
    assert said in refused(kobune(tmp_path, "up", "--nodes", "0", "--simulated-nodes", "1", *arguments))
    assert not (tmp_path / "clusters").exists()


def test_a_port_in_use_is_refused(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} is in use" in refused(kobune(tmp_path, "up", "--nodes", "0", "--api-port", port))


def test_commands_on_a_cluster_that_is_not_there_are_refused(tmp_path):
    for command in (["down"], ["kubeconfig"], ["logs", "kube-apiserver"], ["image", "ls"]):
        assert "there is no cluster" in refused(kobune(tmp_path, *command))
    assert "there is no cluster" in kobune(tmp_path, "status").stdout
