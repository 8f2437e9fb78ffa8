"""The cluster autoscaler with real nodes: a pod that fits nowhere gets a machine, which goes again when it is empty."""

from dataclasses import replace

import pytest
import yaml

from kobune.aks.clusters import AutoscalerProfile
from kobune.host.spec import OperationState

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

PROFILE = AutoscalerProfile(
    scan_interval="2s",
    scale_down_delay_after_add="5s",
    scale_down_unneeded_time="10s",
    scale_down_utilization_threshold=0.3,
)
WORK = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: work}
spec:
  replicas: 3
  selector: {matchLabels: {app: work}}
  template:
    metadata: {labels: {app: work}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: work
        image: kobune.local/busybox
        command: [sleep, "3600"]
        resources: {requests: {cpu: "1500m"}}
"""


def autoscaled(cluster):
    [pool] = cluster.pools
    pool = replace(pool, autoscaling=True, min_count=2, max_count=3)
    return replace(cluster, autoscaler=PROFILE, pools=(pool,))


def test_a_real_node_comes_for_a_pod_and_goes_after_it(real_cluster):
    assert real_cluster.wish("update", autoscaled).state is OperationState.SUCCEEDED
    before = {node["metadata"]["name"] for node in real_cluster.get("nodes")["items"]}
    real_cluster.apply(WORK)
    real_cluster.kubectl("rollout", "status", "deployment/work", "--timeout=200s")
    placed = {pod["spec"]["nodeName"] for pod in real_cluster.get("pods", "-l", "app=work")["items"]}
    [new] = placed - before
    assert "kobune.local/simulated" not in real_cluster.get("node", new)["metadata"]["labels"]
    real_cluster.eventually(lambda: "TriggeredScaleUp" in _reasons(real_cluster))
    real_cluster.eventually(lambda: _target(real_cluster) == 3)

    real_cluster.kubectl("scale", "deployment/work", "--replicas=0")
    real_cluster.eventually(lambda: len(real_cluster.get("nodes")["items"]) == 2, seconds=200)
    real_cluster.eventually(lambda: {"ScaleDownEmpty", "ScaleDown"} <= _reasons(real_cluster))


def _reasons(cluster):
    return {event["reason"] for event in cluster.get("events", "-A")["items"]}


def _target(cluster):
    """How many nodes the autoscaler says it wants."""
    config_map = cluster.get("configmap", "cluster-autoscaler-status", "-n", "kube-system")
    return yaml.safe_load(config_map["data"]["status"])["nodeGroups"][0]["health"]["cloudProviderTarget"]
