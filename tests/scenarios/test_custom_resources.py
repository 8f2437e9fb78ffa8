"""Custom resources as an operator's author meets them: with the official client's dynamic part, in a whole cluster."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import kubernetes.client
import kubernetes.dynamic
import pytest
from kubernetes.dynamic.exceptions import NotFoundError, UnprocessibleEntityError

from kobune.testing import Cluster

DEFINITION: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "boats.harbour.example"},
    "spec": {
        "group": "harbour.example",
        "scope": "Namespaced",
        "names": {"kind": "Boat", "plural": "boats"},
        "versions": [
            {
                "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": {"type": "object", "properties": {"length": {"type": "integer"}}}},
                    }
                },
            }
        ],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=0) as one:
        yield one


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[kubernetes.dynamic.DynamicClient]:
    with kubernetes.client.ApiClient(cluster.client_configuration()) as api:
        yield kubernetes.dynamic.DynamicClient(api)


@pytest.fixture(scope="module")
def boats(client: kubernetes.dynamic.DynamicClient) -> Any:
    definitions = client.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    definitions.create(body=DEFINITION)
    until(
        lambda: any(
            one["type"] == "Established" and one["status"] == "True"
            for one in definitions.get(name="boats.harbour.example").to_dict()["status"].get("conditions") or ()
        )
    )
    return client.resources.get(api_version="harbour.example/v1", kind="Boat")


def boat(name: str, owner: Any = None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if owner is not None:
        reference = {"apiVersion": "harbour.example/v1", "kind": "Boat"}
        metadata["ownerReferences"] = [{**reference, "name": owner.metadata.name, "uid": owner.metadata.uid}]
    return {"apiVersion": "harbour.example/v1", "kind": "Boat", "metadata": metadata, "spec": {"length": 7}}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_gone(resource: Any, name: str, namespace: str | None = "default") -> bool:
    try:
        resource.get(name=name, namespace=namespace)
    except NotFoundError:
        return True
    return False


def test_the_schema_is_enforced(boats: Any) -> None:
    with pytest.raises(UnprocessibleEntityError, match="must be of type integer"):
        boats.create(namespace="default", body={**boat("wrong"), "spec": {"length": "long"}})


def test_what_a_custom_object_owns_goes_with_it(client: kubernetes.dynamic.DynamicClient, boats: Any) -> None:
    owner = boats.create(namespace="default", body=boat("owner"))
    boats.create(namespace="default", body=boat("owned", owner))
    maps = client.resources.get(api_version="v1", kind="ConfigMap")
    maps.create(namespace="default", body={**boat("owned", owner), "apiVersion": "v1", "kind": "ConfigMap"})
    boats.delete(name="owner", namespace="default")
    until(lambda: is_gone(boats, "owned") and is_gone(maps, "owned"))


def test_a_namespace_ends_with_the_custom_objects_in_it(client: kubernetes.dynamic.DynamicClient, boats: Any) -> None:
    namespaces = client.resources.get(api_version="v1", kind="Namespace")
    namespaces.create(body={"metadata": {"name": "dock"}})
    boats.create(namespace="dock", body=boat("one"))
    namespaces.delete(name="dock")
    until(lambda: is_gone(namespaces, "dock", None))
    assert is_gone(boats, "one", "dock")
