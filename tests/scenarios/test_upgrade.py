"""An upgrade replaces every node under a running workload, and no request to it is lost."""

import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace

import pytest

from kobune.host.spec import OperationState

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

# The server ignores TERM and so goes on answering for its grace period, until every node knows that it is leaving.
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway,
         labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: kobune.local/busybox
        command: [httpd, -f, -p, "8080"]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
"""


class Requests(threading.Thread):
    """A client that asks again and again, each time over a new connection; a page that is not there is an answer too."""

    def __init__(self, url):
        super().__init__(name="client")
        self.url, self.answered, self.failures = url, 0, []
        self._ended = threading.Event()

    def run(self):
        while not self._ended.is_set():
            try:
                self.ask()
                self.answered += 1
            except OSError as error:
                self.failures.append(f"{time.strftime('%X')}: {error!r}")
            time.sleep(0.02)

    def ask(self):
        try:
            urllib.request.urlopen(self.url, timeout=10).close()
        except urllib.error.HTTPError as error:
            error.close()

    def is_answered(self):
        """Whether the nodes' proxies know of the pods by now."""
        try:
            self.ask()
        except OSError:
            return False
        return True

    def stop(self):
        self._ended.set()
        self.join()


def test_an_upgrade_loses_no_request_to_a_running_workload(real_cluster):
    real_cluster.apply(WEB)
    real_cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    address = real_cluster.get("service", "web")["spec"]["clusterIP"]
    client = Requests(f"http://{address}/")
    real_cluster.eventually(client.is_answered)
    client.start()
    try:
        outcome = real_cluster.wish("upgrade", lambda cluster: replace(cluster, kubernetes_version="1.37.0"))
    finally:
        client.stop()
    assert outcome.state is OperationState.SUCCEEDED, outcome
    assert client.failures == []
    assert client.answered > 100
    nodes = real_cluster.get("nodes")["items"]
    assert {node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes} == {"v1.37.0"}
    assert len(nodes) == 2
    assert '"gitVersion":"v1.37.0' in real_cluster.kubectl("get", "--raw", "/version")
    reasons = {event["reason"] for event in real_cluster.get("events", "-A")["items"]}
    assert {"Surge", "Drain", "Upgrade"} <= reasons
