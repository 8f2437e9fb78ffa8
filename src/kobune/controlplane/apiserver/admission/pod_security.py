"""PodSecurity: a namespace's labels say which Pod Security Standard its pods are held to."""

from collections.abc import Awaitable, Mapping

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.pod_security_standards import LEVELS, violations
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.registry.registry import Registry

PREFIX = "pod-security.kubernetes.io/"
# Where the pod spec is in what makes pods; these are only warned about.
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "PodTemplate": ("template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    **dict.fromkeys(
        ("ReplicationController", "ReplicaSet", "Deployment", "DaemonSet", "StatefulSet", "Job"),
        ("spec", "template", "spec"),
    ),
}


class PodSecurity:
    name = "PodSecurity"
    operations = ("CREATE", "UPDATE")
    resources = (
        "pods", "pods/ephemeralcontainers", "podtemplates", "replicationcontrollers", "replicasets", "deployments",
        "daemonsets", "statefulsets", "jobs", "cronjobs",
    )  # fmt: skip

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kind = registry.builtin("", "v1", "Namespace")

    def admit(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        cache = self._registry.open_cache(self._kind)
        namespace = cache.get("", attributes.call.namespace) if cache is not None else None
        if namespace is not None:
            labels = namespace.labels
            if any(label.startswith(PREFIX) for label in labels):
                self._judge(attributes, labels)
        return None

    def _judge(self, attributes: Attributes, labels: Mapping[str, str]) -> None:
        obj = attributes.object or {}
        is_pod = attributes.call.kind.name == "Pod"
        spec = obj.get("spec") or {} if is_pod else _template(obj, TEMPLATES[attributes.call.kind.name])
        if not spec:
            return
        if attributes.operation == "UPDATE" and attributes.old_object is not None and is_pod:
            old = attributes.old_object.get("spec") or {}
            if not attributes.call.subresource and _without_images(spec) == _without_images(old):
                return  # Nothing that the standards judge has changed.
        if is_pod:
            level, version = _level(labels, "enforce")
            found = violations(spec, level)
            if found:
                raise refused(attributes, f'violates PodSecurity "{level}:{version}": {", ".join(map(str, found))}')
        level, version = _level(labels, "warn")
        found = violations(spec, level)
        if found:
            text = f'would violate PodSecurity "{level}:{version}": {", ".join(map(str, found))}'
            attributes.call.warnings.append(text)


def _level(labels: Mapping[str, str], mode: str) -> tuple[str, str]:
    """The level and version of a mode; a level that is none counts as the strictest, as upstream has it."""
    level = labels.get(PREFIX + mode, "privileged")
    return (level if level in LEVELS else "restricted"), labels.get(f"{PREFIX}{mode}-version", "latest")


def _template(obj: Json, path: tuple[str, ...]) -> Json:
    value = obj
    for name in path:
        value = value.get(name) or {}
    return value


def _without_images(spec: Json) -> Json:
    """What the standards may judge: everything but images, tolerations and the deadline."""
    kept = {field: value for field, value in spec.items() if field not in ("tolerations", "activeDeadlineSeconds")}
    for field in ("containers", "initContainers"):
        if field in kept:
            kept[field] = [{name: value for name, value in one.items() if name != "image"} for one in kept[field]]
    return kept
