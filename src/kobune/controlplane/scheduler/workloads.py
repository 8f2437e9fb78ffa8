"""From manifests to the pods that they would make, without a cluster: for plans.

Controllers' names, owners and defaults are as the API server and the controllers would have them, as far as placement
goes. What makes no pods (ConfigMaps, Secrets, Ingresses, …) is passed over, and so are a StatefulSet's claim templates:
their volumes would be made wherever the pods go.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kobune.api.errors import Invalid, Json
from kobune.api.objects.meta import Key
from kobune.api.objects.scheduling import Pod
from kobune.controlplane.scheduler.listers import KINDS, Listers
from kobune.controlplane.scheduler.quotas import ResourceQuota

# What every DaemonSet's pod tolerates. Source: Kubernetes documentation, DaemonSet, Taints and tolerations.
DAEMON_TOLERATIONS = [
    {"key": f"node.kubernetes.io/{trouble}", "operator": "Exists", "effect": effect}
    for trouble, effect in (
        ("not-ready", "NoExecute"), ("unreachable", "NoExecute"), ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"), ("pid-pressure", "NoSchedule"), ("unschedulable", "NoSchedule"),
    )
]  # fmt: skip
SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_LISTER_OF = {view.gvk.kind: name for name, view in KINDS.items()}


@dataclass(slots=True)
class Workloads:
    """Everything of a set of manifests that bears on placement."""

    pods: list[Pod] = field(default_factory=list)
    daemons: list[Json] = field(default_factory=list)  # Pod manifests, one per DaemonSet, to be put on every node.
    listers: Listers = field(default_factory=Listers)
    quotas: list[ResourceQuota] = field(default_factory=list)


def workloads_of(manifests: Iterable[Json]) -> Workloads:
    """The pods that these manifests make. Lists are looked into.

    Raises:
        Invalid: a manifest lacks what its pods would be made from, or has it in another form.
    """
    documents = list(_flat(manifests))
    priorities = dict(SYSTEM_PRIORITIES)
    priorities |= {
        one["metadata"]["name"]: one.get("value", 0) for one in documents if one.get("kind") == "PriorityClass"
    }
    result = Workloads()
    objects: dict[str, dict[Key, Any]] = {name: {} for name in KINDS}
    for document in documents:
        try:
            _take(document, result, objects, priorities)
        except KeyError as missing:
            raise Invalid(f"{_title(document)} has no {missing.args[0]}") from missing
        except (AttributeError, TypeError, ValueError) as error:
            raise Invalid(f"{_title(document)} cannot be read: {error}") from error
    for name, found in objects.items():
        setattr(result.listers, name, found)
    return result


def _take(document: Json, result: Workloads, objects: dict[str, dict[Key, Any]], priorities: dict[str, int]) -> None:
    kind = document.get("kind", "")
    if kind == "ResourceQuota":
        result.quotas.append(msgspec.convert(_in_namespace(document), ResourceQuota, strict=False))
    lister = _LISTER_OF.get(kind)
    if lister is not None:
        one = msgspec.convert(_in_namespace(document), KINDS[lister], strict=False)
        objects[lister][one.key] = one
    for pod in _pods_of(kind, document):
        _finish(pod, priorities)
        if kind == "DaemonSet":
            result.daemons.append(pod)
        else:
            result.pods.append(msgspec.convert(pod, Pod, strict=False))


def _title(document: Json) -> str:
    metadata = document.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, dict) else ""
    return f'{document.get("kind", "a manifest")} "{name}"'


def daemon_pod(manifest: Json, node_name: str) -> Pod:
    """A DaemonSet's pod for one node."""
    pod: Json = msgspec.json.decode(msgspec.json.encode(manifest))
    meta, spec = pod["metadata"], pod["spec"]
    meta["name"] = meta["uid"] = f"{meta['name']}-{node_name}"
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *DAEMON_TOLERATIONS]
    only = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node_name]}]}
    node_affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = [{**term, **only} for term in required.get("nodeSelectorTerms") or [{}]]
    node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    return msgspec.convert(pod, Pod, strict=False)


def _flat(manifests: Iterable[Json]) -> Iterator[Json]:
    for manifest in manifests:
        if not manifest:
            continue
        if str(manifest.get("kind", "")).endswith("List") and "items" in manifest:
            yield from _flat(manifest["items"])
        else:
            yield manifest


def _in_namespace(document: Json) -> Json:
    kind = document.get("kind", "")
    if kind in ("Namespace", "StorageClass", "PersistentVolume", "CSINode", "CSIDriver", "VolumeAttachment"):
        return document
    metadata = document.get("metadata") or {}
    return {**document, "metadata": {"namespace": "default", **metadata}}


def _pods_of(kind: str, document: Json) -> Iterator[Json]:
    spec = document.get("spec") or {}
    match kind:
        case "Pod":
            yield _pod(document, document, str((document.get("metadata") or {}).get("name", "")), owner=None)
        case "Deployment" | "ReplicaSet" | "ReplicationController" | "StatefulSet":
            owner = "ReplicaSet" if kind == "Deployment" else kind
            for number in range(_number(spec.get("replicas"))):
                yield _pod(document, spec["template"], f"{document['metadata']['name']}-{number}", owner=owner)
        case "Job":
            for number in range(min(_number(spec.get("parallelism")), _number(spec.get("completions")))):
                yield _pod(document, spec["template"], f"{document['metadata']['name']}-{number}", owner="Job")
        case "CronJob":
            job = {"metadata": document["metadata"], "spec": spec["jobTemplate"]["spec"]}
            yield from _pods_of("Job", job)
        case "DaemonSet":
            yield _pod(document, spec["template"], str(document["metadata"]["name"]), owner="DaemonSet")


def _number(value: int | None) -> int:
    return 1 if value is None else value


def _pod(document: Json, template: Json, name: str, *, owner: str | None) -> Json:
    meta = template.get("metadata") or {}
    namespace = (document.get("metadata") or {}).get("namespace", "default")
    metadata: Json = {**meta, "name": name, "namespace": namespace, "uid": f"{namespace}/{name}"}
    if owner is not None:
        group = "batch/v1" if owner == "Job" else "v1" if owner == "ReplicationController" else "apps/v1"
        by = str(document["metadata"]["name"])
        metadata["ownerReferences"] = [
            {"apiVersion": group, "kind": owner, "name": by, "uid": f"{namespace}/{by}", "controller": True}
        ]
    spec: Json = msgspec.json.decode(msgspec.json.encode(template.get("spec") or {}))
    return {"metadata": metadata, "spec": spec}


def _finish(pod: Json, priorities: dict[str, int]) -> None:
    """What admission and defaulting would add."""
    spec = pod["spec"]
    if "priority" not in spec:
        spec["priority"] = priorities.get(spec.get("priorityClassName", ""), 0)
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        resources = container.setdefault("resources", {})
        limits = resources.get("limits") or {}
        resources["requests"] = {**limits, **(resources.get("requests") or {})}
