"""Fields of features that are switched off: dropped from what clients send, unless the stored object has them already.

Source: upstream pkg/api/pod, DropDisabledPodFields; the strategies of PodGroups and Workloads.
"""

from collections.abc import Iterator

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.api.features import GENERIC_WORKLOAD

# Where pods are described, by group and kind.
_POD, _TEMPLATE, _JOB = ("spec",), ("spec", "template", "spec"), ("spec", "jobTemplate", "spec", "template", "spec")
POD_SPECS = {
    ("", "Pod"): _POD,
    ("", "PodTemplate"): _TEMPLATE[1:],
    ("", "ReplicationController"): _TEMPLATE,
    **{("apps", name): _TEMPLATE for name in ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")},
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): _JOB,
}
# What these hang on (topology-aware scheduling, claims of groups, preemption by groups) is not there to be switched on.
GROUP_FIELDS = ("schedulingConstraints", "resourceClaims", "disruptionMode", "priorityClassName", "priority")


def drop_disabled(kind: Kind, new: Json, old: Json | None, features: frozenset[str]) -> None:
    """Take the fields of disabled features out of a new or changed object."""
    path = POD_SPECS.get((kind.group, kind.name))
    if path is not None:
        if GENERIC_WORKLOAD not in features:
            spec = _at(new, path)
            if "schedulingGroup" in spec and "schedulingGroup" not in _at(old or {}, path):
                del spec["schedulingGroup"]
    elif kind.group == "scheduling.k8s.io":
        for holder in _group_specs(kind, new):
            for field in GROUP_FIELDS:
                holder.pop(field, None)


def _group_specs(kind: Kind, obj: Json) -> Iterator[Json]:
    spec = obj.get("spec") or {}
    if kind.name == "PodGroup":
        yield spec
    elif kind.name == "Workload":
        yield from spec.get("podGroupTemplates") or ()


def _at(obj: Json, path: tuple[str, ...]) -> Json:
    for field in path:
        obj = obj.get(field) or {}
    return obj
