"""Extended resources that a node has no device plugin for but a class of devices stands for: asked for in a claim of their own.

Source: Kubernetes documentation, Extended resource allocation by DRA; upstream extendeddynamicresources and
extendedresourcecache.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from kobune.api.errors import Json
from kobune.api.objects.meta import ObjectMeta
from kobune.api.objects.scheduling import PodContainer
from kobune.api.quantity import parse_quantity
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.views import DeviceClass, ResourceClaim

ANNOTATION = "resource.kubernetes.io/extended-resource-claim"
CLASS_PREFIX = "deviceclass.resource.kubernetes.io/"  # With a class's name: the resource that it always stands for.
IN_MEMORY = "<extended-resources>"  # The name of a claim that is not written yet; no claim can have it.


class Wanted(NamedTuple):
    """What a pod asks for of one node's devices: requests of a claim, and which container uses which."""

    requests: tuple[Json, ...]
    mappings: tuple[Json, ...]


class ExtendedResources:
    """Which class of devices stands for which resource; kept until a class changes."""

    def __init__(self, listers: Listers) -> None:
        self._listers = listers
        self._classes: dict[str, str] = {}
        self._version = -1

    def class_for(self, resource: str) -> str:
        """The name of the class that stands for an extended resource; empty when none does."""
        version = self._listers.changes["DeviceClass"]
        if version != self._version:
            self._classes, self._version = _by_resource(self._listers.device_classes.values()), version
        return self._classes.get(resource, "")

    def of(self, pod: PodInfo) -> dict[str, int]:
        """The resources that the pod asks for and a class stands for, with the amounts."""
        return {name: amount for name, amount in pod.shape.extended if self.class_for(name)}

    def wanted(self, pod: PodInfo, resources: Iterable[str]) -> Wanted:
        """The devices that the pod's containers need for these resources. Source: upstream createRequestsAndMappings."""
        containers = [*pod.pod.spec.init_containers, *pod.pod.spec.containers]
        first = len(pod.pod.spec.init_containers)
        requests: list[Json] = []
        mappings: list[Json] = []
        for resource in sorted(resources):
            lasting = {
                index: request
                for index, container in enumerate(containers)
                if (index >= first or container.restart_policy == "Always")
                and (request := self._request(index, container, resource, _amount(container, resource)))
            }
            mappings += [_mapping(containers[index], resource, one["name"]) for index, one in lasting.items()]
            passing, used = self._passing(containers[:first], resource, lasting)
            requests += [*([passing] if passing else ()), *lasting.values()]
            mappings += used
        return Wanted(tuple(sorted(requests, key=lambda one: str(one["name"]))), tuple(mappings))

    def _passing(
        self, containers: list[PodContainer], resource: str, lasting: Mapping[int, Json]
    ) -> tuple[Json | None, list[Json]]:
        """What init containers need beyond the devices of those that run after them: one request, the largest, for all."""
        largest: Json | None = None
        own: set[str] = set()
        used: list[tuple[PodContainer, str]] = []
        for index, container in enumerate(containers):
            missing = _amount(container, resource)
            if container.restart_policy == "Always" or not missing:
                continue
            for later in sorted(one for one in lasting if one >= index):
                used.append((container, lasting[later]["name"]))
                missing -= lasting[later]["exactly"]["count"]
                if missing <= 0:
                    break
            request = self._request(index, container, resource, missing)
            if request is not None:
                own.add(request["name"])
                used.append((container, request["name"]))
                if largest is None or largest["exactly"]["count"] < request["exactly"]["count"]:
                    largest = request
        name = largest["name"] if largest else ""
        return largest, [_mapping(one, resource, name if request in own else request) for one, request in used]

    def _request(self, index: int, container: PodContainer, resource: str, count: int) -> Json | None:
        """Named after the container's place and the resource's among what the container asks for."""
        if count <= 0:
            return None
        place = sorted(container.resources.requests or ()).index(resource)
        exactly = {"deviceClassName": self.class_for(resource), "allocationMode": "ExactCount", "count": count}
        return {"name": f"container-{index}-request-{place}", "exactly": exactly}

    def written_claim(self, pod: PodInfo) -> ResourceClaim | None:
        """The claim that an earlier attempt has left behind."""
        for claim in self._listers.resource_claims.values():
            if claim.metadata.annotations.get(ANNOTATION) == "true":
                owner = claim.metadata.controller
                if owner is not None and (owner.name, owner.uid) == (pod.name, pod.uid):
                    return claim
        return None


def new_claim(pod: PodInfo, requests: Iterable[Json]) -> ResourceClaim:
    """The claim as it is before it is written."""
    meta = ObjectMeta(name=IN_MEMORY, namespace=pod.key.namespace, uid=f"{pod.uid}/{IN_MEMORY}")
    return ResourceClaim(metadata=meta, spec={"devices": {"requests": list(requests)}})


def manifest(pod: PodInfo, claim: ResourceClaim) -> Json:
    """The claim as it is written: owned by its pod, under a name that the API server completes."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "generateName": f"{pod.name}-extended-resources-",
            "namespace": pod.key.namespace,
            "annotations": {ANNOTATION: "true"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid, "controller": True}
            ],
        },
        "spec": claim.spec,
    }


def _by_resource(classes: Iterable[DeviceClass]) -> dict[str, str]:
    """Of several classes for one resource the newest counts, then the one whose name comes first."""
    found: dict[str, str] = {}
    for one in sorted(classes, key=lambda one: (_age(one), one.name)):
        found[CLASS_PREFIX + one.name] = one.name
        resource = one.spec.get("extendedResourceName")
        if resource:
            found.setdefault(resource, one.name)
    return found


def _age(one: DeviceClass) -> float:
    created: datetime | None = one.metadata.creation_timestamp
    return -created.timestamp() if created is not None else 0.0


def _amount(container: PodContainer, resource: str) -> int:
    asked = (container.resources.requests or {}).get(resource)
    return int(parse_quantity(asked)) if asked is not None else 0


def _mapping(container: PodContainer, resource: str, request: str) -> Json:
    return {"containerName": container.name, "resourceName": resource, "requestName": request}
