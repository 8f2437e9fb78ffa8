"""Processes are killed without warning, and nothing that was acknowledged is lost."""

import os
import signal

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def kill(cluster, process):
    """Kill one of the cluster's processes and return when another has taken its place."""
    [pid] = [row["pid"] for row in cluster.status()["processes"] if row["name"] == process]
    os.kill(pid, signal.SIGKILL)
    cluster.eventually(
        lambda: [row for row in cluster.status()["processes"] if row["name"] == process and row["pid"] not in (0, pid)]
    )


def containers(cluster, name):
    return [row["containerID"] for row in cluster.get("pod", name)["status"]["containerStatuses"]]


def test_killing_every_process_loses_no_write_and_no_container(real_cluster):
    kubectl = real_cluster.kubectl
    kubectl("run", "survivor", "--image=kobune.local/busybox", "--restart=Never", "--", "sleep", "3600")
    kubectl("wait", "--for=condition=Ready", "pod/survivor", "--timeout=60s")
    before = containers(real_cluster, "survivor")
    for number in range(20):
        kubectl("create", "configmap", f"write-{number}")
    kill(real_cluster, "control-plane")
    real_cluster.eventually(lambda: "ok" in kubectl("get", "--raw", "/readyz", check=False))
    names = {item["metadata"]["name"] for item in real_cluster.get("configmaps")["items"]}
    assert names >= {f"write-{number}" for number in range(20)}
    node = real_cluster.get("pod", "survivor")["spec"]["nodeName"]
    kill(real_cluster, node)
    real_cluster.eventually(lambda: "hello" in kubectl("exec", "survivor", "--", "echo", "hello", check=False))
    assert containers(real_cluster, "survivor") == before
    assert real_cluster.get("pod", "survivor")["status"]["containerStatuses"][0]["restartCount"] == 0
    # And the cluster goes on working.
    kubectl("create", "deployment", "after", "--image=kobune.local/busybox", "--", "sleep", "3600")
    kubectl("rollout", "status", "deployment/after", "--timeout=60s")


def test_killing_the_service_stops_nothing_and_the_next_one_adopts(real_cluster):
    pids = {row["name"]: row["pid"] for row in real_cluster.status()["processes"]}
    os.kill(int((real_cluster.state_dir / "serve.lock").read_text()), signal.SIGKILL)
    assert "ok" in real_cluster.kubectl("get", "--raw", "/readyz")
    real_cluster.kobune("up", "--cluster", real_cluster.name, "--nodes", "2", "--vm-size", "Standard_D2s_v3")
    assert {row["name"]: row["pid"] for row in real_cluster.status()["processes"]} == pids
