"""An unmodified kopf operator against a cluster in this process."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes.client
import pytest
from kubernetes.client.exceptions import ApiException

from kobune.testing import Cluster

OPERATOR = Path(__file__).parents[2] / "examples" / "harbour_operator.py"
WHERE = {"group": "harbour.example", "version": "v1", "namespace": "default", "plural": "boats"}
# kopf keeps its own notes in the status, so the schema leaves that open.
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "properties": {"length": {"type": "integer"}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


@pytest.fixture
def api() -> Iterator[kubernetes.client.ApiClient]:
    with Cluster(nodes=0) as cluster, kubernetes.client.ApiClient(cluster.client_configuration()) as api:
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}}
        names = {"kind": "Boat", "plural": "boats"}
        spec = {"group": "harbour.example", "scope": "Namespaced", "names": names, "versions": [version]}
        definition = {"metadata": {"name": "boats.harbour.example"}, "spec": spec}
        kubernetes.client.ApiextensionsV1Api(api).create_custom_resource_definition(definition)
        environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
        command = [sys.executable, "-m", "kopf", "run", "--namespace", "default", str(OPERATOR)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as operator:
            try:
                yield api
            finally:
                operator.terminate()


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 40
    while True:
        try:
            if found := condition():
                return found
        except ApiException as error:
            if error.status != 404:
                raise
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_gone(read: Callable[[], Any]) -> bool:
    try:
        read()
    except ApiException as error:
        return bool(error.status == 404)
    return False


@pytest.mark.slow
def test_an_operator_keeps_what_its_objects_ask_for(api: kubernetes.client.ApiClient) -> None:
    boats, core = kubernetes.client.CustomObjectsApi(api), kubernetes.client.CoreV1Api(api)
    boat = {"apiVersion": "harbour.example/v1", "kind": "Boat", "metadata": {"name": "mary"}, "spec": {"length": 7}}
    until(lambda: boats.list_namespaced_custom_object(**WHERE))
    boats.create_namespaced_custom_object(**WHERE, body=boat)
    log = until(lambda: core.read_namespaced_config_map("mary-log", "default"))
    assert (log.data, log.metadata.owner_references[0].kind) == ({"length": "7"}, "Boat")
    until(lambda: boats.get_namespaced_custom_object(**WHERE, name="mary").get("status", {}).get("launch"))
    boats.patch_namespaced_custom_object(**WHERE, name="mary", body={"spec": {"length": 9}})
    until(lambda: core.read_namespaced_config_map("mary-log", "default").data == {"length": "9"})
    assert boats.get_namespaced_custom_object(**WHERE, name="mary")["metadata"]["finalizers"]
    boats.delete_namespaced_custom_object(**WHERE, name="mary")
    until(lambda: is_gone(lambda: boats.get_namespaced_custom_object(**WHERE, name="mary")))
    until(lambda: is_gone(lambda: core.read_namespaced_config_map("mary-log", "default")))
