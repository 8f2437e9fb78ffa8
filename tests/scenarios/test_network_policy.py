"""NetworkPolicies between real pods, on one node and across two."""

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

UP_OPTIONS = ("--network-policy", "azure")

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: kobune.local/busybox
    command: [sh, -c, "httpd -p 8080; httpd -p 9090; sleep 3600"]
    ports: [{{name: web, containerPort: 8080}}]
"""
DENY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: default}
spec: {podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress]}
"""
ALLOW = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - {podSelector: {matchLabels: {app: near}}}
    - {namespaceSelector: {matchLabels: {team: b}}}
    ports: [{port: web}]
"""
EGRESS = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: near, namespace: default}
spec:
  podSelector: {matchLabels: {app: near}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: far}}}]}]
"""
DNS = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: dns, namespace: default}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
  - to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchLabels: {k8s-app: kube-dns}}
    ports: [{port: 53, protocol: UDP}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: server, namespace: default}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: web}]}
"""


def reaches(cluster, who, address, port, namespace="default"):
    """Whether a pod gets an answer; httpd has no pages, and says so."""
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 3 nc {address} {port} || echo no answer"
    said = cluster.kubectl("exec", "-n", namespace, who, "--", "sh", "-c", ask)
    assert ("404" in said) != ("no answer" in said), said
    return "404" in said


def resolves(cluster, who, address):
    """Whether cluster DNS tells a pod the Service's address."""
    ask = "timeout 3 nslookup server.default.svc.cluster.local || true"
    return address in cluster.kubectl("exec", who, "--", "sh", "-c", ask)


def becomes(cluster, expected, *question):
    """Rules follow a moment after what they are made from."""
    cluster.eventually(lambda: reaches(cluster, *question) is expected, seconds=40)


def test_policies_decide_who_speaks_with_whom(real_cluster):
    cluster = real_cluster
    first, second = (node["metadata"]["name"] for node in cluster.get("nodes")["items"])
    cluster.kubectl("create", "namespace", "other")
    cluster.kubectl("label", "namespace", "other", "team=b")
    places = {"server": ("default", first), "near": ("default", first), "far": ("default", second)}
    for name, (namespace, node) in {**places, "guest": ("other", second)}.items():
        cluster.apply(POD.format(name=name, namespace=namespace, node=node))
    for namespace in ("default", "other"):
        cluster.kubectl("wait", "pods", "--all", "-n", namespace, "--for=condition=Ready", "--timeout=60s")
    cluster.apply(SERVICE)
    pods = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in cluster.get("pods")["items"]}
    web, admin = (pods["server"], 8080), (pods["server"], 9090)
    service = (cluster.get("service", "server")["spec"]["clusterIP"], 80)
    for who in ("near", "far"):
        becomes(cluster, True, who, *web)

    cluster.apply(DENY)
    for who in ("near", "far"):
        becomes(cluster, False, who, *web)
    assert reaches(cluster, "server", *web)  # Nobody is kept from itself.
    assert reaches(cluster, "server", pods["far"], 8080)  # Answers come in.

    cluster.apply(ALLOW)
    becomes(cluster, True, "near", *web)
    becomes(cluster, True, "guest", *web, "other")
    assert reaches(cluster, "near", *service)
    assert not reaches(cluster, "far", *service)
    assert not reaches(cluster, "near", *admin)

    cluster.apply(EGRESS)
    becomes(cluster, False, "near", *web)
    assert reaches(cluster, "near", pods["far"], 9090)
    assert resolves(cluster, "far", service[0])
    assert not resolves(cluster, "near", service[0])
    cluster.apply(DNS)
    cluster.eventually(lambda: resolves(cluster, "near", service[0]), seconds=40)
    assert not reaches(cluster, "near", *web)

    cluster.kubectl("delete", "networkpolicies", "--all")
    becomes(cluster, True, "near", *admin)
    becomes(cluster, True, "far", *admin)
