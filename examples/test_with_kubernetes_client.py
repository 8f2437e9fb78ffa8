"""A test against a true Kubernetes API, in this process: run it with pytest, nothing else is needed.

`kobune_cluster` and `kobune_namespace` are fixtures that come with Kobune.
"""

import time

from kubernetes import client


def test_a_deployment_gets_its_pods(kobune_cluster, kobune_namespace):
    with client.ApiClient(kobune_cluster.client_configuration()) as api:
        apps, core = client.AppsV1Api(api), client.CoreV1Api(api)
        labels = {"app": "web"}
        container = client.V1Container(name="web", image="example.org/web:1.0")
        template = client.V1PodTemplateSpec(
            metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
        )
        spec = client.V1DeploymentSpec(
            replicas=2, selector=client.V1LabelSelector(match_labels=labels), template=template
        )
        deployment = client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec)
        apps.create_namespaced_deployment(kobune_namespace, deployment)

        deadline = time.monotonic() + 10
        while (apps.read_namespaced_deployment_status("web", kobune_namespace).status.ready_replicas or 0) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)

        pods = core.list_namespaced_pod(kobune_namespace, label_selector="app=web").items
        assert {pod.status.phase for pod in pods} == {"Running"}
        assert all(pod.spec.node_name for pod in pods)
