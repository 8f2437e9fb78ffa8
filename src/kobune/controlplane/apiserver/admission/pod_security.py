"""PodSecurity: a namespace's labels say which Pod Security Standard its pods are held to.

Source: upstream pod-security-admission, admission/admission.go.
"""

from collections.abc import Awaitable, Mapping, Sequence

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import FieldError, Json, invalid
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.pod_security_policy import (
    PREFIX,
    PodSecuritySettings,
    Policy,
    Standard,
    is_relaxed,
    policy_of,
)
from kobune.controlplane.apiserver.admission.pod_security_standards import Violation, violations
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.store.selection import Item, Selection

REMEMBERED = 4096  # Namespaces whose policy is kept; it is asked for with every pod.
MOST_CHECKED = 3000  # Of a namespace's pods, when its level changes.
# Where the pod template is in what makes pods; these are only warned about.
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "PodTemplate": ("template",),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(
        ("ReplicationController", "ReplicaSet", "Deployment", "DaemonSet", "StatefulSet", "Job"), ("spec", "template")
    ),
}


class PodSecurity:
    name = "PodSecurity"
    operations = ("CREATE", "UPDATE")
    resources = (
        "namespaces", "pods", "pods/ephemeralcontainers", "podtemplates", "replicationcontrollers",
        "replicasets", "deployments", "daemonsets", "statefulsets", "jobs", "cronjobs",
    )  # fmt: skip

    def __init__(self, registry: Registry, settings: PodSecuritySettings) -> None:
        self._registry = registry
        self._settings = settings
        self._namespaces = registry.builtin("", "v1", "Namespace")
        self._pods = registry.builtin("", "v1", "Pod")
        self._newest = int(registry.version.split(".")[1])
        self._policies: dict[str, tuple[Item, Policy, list[FieldError]]] = {}  # Of namespaces as they were last.

    def admit(self, attributes: Attributes) -> None:
        return None

    def rests_on(self, _: Attributes) -> Sequence[Kind] | None:
        return (self._namespaces,)

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        call, settings = attributes.call, self._settings
        if call.kind.name == "Namespace":
            return self._namespace(attributes)
        if call.namespace in settings.namespaces or call.user.name in settings.usernames:
            call.annotations[f"{PREFIX}exempt"] = "namespace" if call.namespace in settings.namespaces else "user"
            return None
        cache = self._registry.open_cache(self._namespaces)
        namespace = cache.get("", call.namespace) if cache is not None else None
        if namespace is None:
            return None
        policy, faults = self._policy_of(namespace)
        if faults:
            call.annotations[f"{PREFIX}error"] = f"Failed to parse policy: {'; '.join(map(str, faults))}"
        if not policy.is_privileged:
            self._judge(attributes, policy)
        return None

    def _policy_of(self, namespace: Item) -> tuple[Policy, list[FieldError]]:
        known = self._policies.get(namespace.name)
        if known is None or known[0] is not namespace:
            if len(self._policies) >= REMEMBERED:
                self._policies.clear()
            known = self._policies[namespace.name] = (namespace, *policy_of(namespace.labels, self._settings.defaults))
        return known[1:]

    def _judge(self, attributes: Attributes, policy: Policy) -> None:
        call, obj = attributes.call, attributes.object or {}
        is_pod = call.kind.name == "Pod"
        pod = obj if is_pod else _at(obj, TEMPLATES[call.kind.name])
        spec = pod.get("spec") or {}
        if not spec or (is_pod and attributes.operation == "UPDATE" and not _is_significant(attributes)):
            return
        if spec.get("runtimeClassName") in self._settings.runtime_classes:
            call.annotations[f"{PREFIX}exempt"] = "runtimeClass"
            return
        if is_pod:
            call.annotations[f"{PREFIX}enforce-policy"] = str(policy.enforce)
        audited = self._violations(pod, policy.audit)
        if audited:
            call.annotations[f"{PREFIX}audit-violations"] = (
                f'would violate PodSecurity "{policy.audit}": {", ".join(map(str, audited))}'
            )
        if is_pod and (found := self._violations(pod, policy.enforce)):
            raise refused(attributes, f'violates PodSecurity "{policy.enforce}": {", ".join(map(str, found))}')
        warned = self._violations(pod, policy.warn)
        if warned:
            call.warnings.append(f'would violate PodSecurity "{policy.warn}": {", ".join(map(str, warned))}')

    def _violations(self, pod: Json, standard: Standard) -> list[Violation]:
        annotations = (pod.get("metadata") or {}).get("annotations")
        minor = standard.minor(self._newest)
        return violations(pod.get("spec") or {}, standard.level, minor=minor, annotations=annotations)

    def _namespace(self, attributes: Attributes) -> Awaitable[None] | None:
        """Labels that mean nothing are refused; what a stricter level finds among the pods there are is told."""
        labels = ((attributes.object or {}).get("metadata") or {}).get("labels") or {}
        before = ((attributes.old_object or {}).get("metadata") or {}).get("labels") or {}
        if labels == before or not any(label.startswith(PREFIX) for label in (*labels, *before)):
            return None
        defaults, call = self._settings.defaults, attributes.call
        policy, faults = policy_of(labels, defaults)
        old, known_faults = policy_of(before, defaults)
        name = call.name or ((attributes.object or {}).get("metadata") or {}).get("name", "")
        if faults and (attributes.operation == "CREATE" or faults != known_faults):
            raise invalid("Namespace", name, *faults)
        is_update = attributes.operation == "UPDATE"
        if is_update and (policy.enforce == old.enforce or is_relaxed(policy.enforce, old.enforce)):
            return None
        if name in self._settings.namespaces:
            if not policy.is_privileged and policy != defaults:
                call.warnings.append(_ignored(name, policy, labels))
            return None
        return self._check_pods(attributes, name, policy.enforce) if is_update else None

    async def _check_pods(self, attributes: Attributes, namespace: str, standard: Standard) -> None:
        cache = await self._registry.cache(self._pods)
        pods = [orjson.loads(item.body) for item in cache.list(Selection(namespace=namespace))]
        chosen = _one_of_each(pods, self._settings.runtime_classes)
        offenders: dict[str, list[str]] = {}
        for pod in chosen[:MOST_CHECKED]:
            found = self._violations(pod, standard)
            if found:
                offenders.setdefault(", ".join(one.what for one in found), []).append(pod["metadata"]["name"])
        warnings = attributes.call.warnings
        if len(chosen) > MOST_CHECKED:
            warnings.append(
                f"new PodSecurity enforce level only checked against the first {MOST_CHECKED} of {len(chosen)} existing pods"
            )
        if offenders:
            warnings.append(
                f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{standard}"'
            )
        warnings.extend(sorted(_told(sorted(names), what) for what, names in offenders.items()))


def _told(names: Sequence[str], what: str) -> str:
    others = len(names) - 1
    more = f" (and {others} other pod{'s' if others > 1 else ''})" if others else ""
    return f"{names[0]}{more}: {what}"


def _one_of_each(pods: Sequence[Json], exempt: frozenset[str]) -> list[Json]:
    """Pods that are judged, the first of each controller before its others."""
    first, rest, seen = list[Json](), list[Json](), set[str]()
    for pod in pods:
        if (pod.get("spec") or {}).get("runtimeClassName") in exempt:
            continue
        owners = pod["metadata"].get("ownerReferences") or ()
        controller = next((one["uid"] for one in owners if one.get("controller")), None)
        (rest if controller in seen else first).append(pod)
        if controller is not None:
            seen.add(controller)
    return first + rest


def _ignored(name: str, policy: Policy, labels: Mapping[str, str]) -> str:
    shown = ", ".join(
        f"{mode}={standard}"
        for mode, standard in policy._asdict().items()
        if standard.level != "privileged" and (PREFIX + mode in labels or f"{PREFIX}{mode}-version" in labels)
    )
    return f'namespace "{name}" is exempt from Pod Security, and the policy ({shown}) will be ignored'


def _at(obj: Json, path: tuple[str, ...]) -> Json:
    value = obj
    for name in path:
        value = value.get(name) or {}
    return value


def _is_significant(attributes: Attributes) -> bool:
    """Whether an update adds a container or changes an image; nothing else that is judged can change."""
    new, old = ((pod or {}).get("spec") or {} for pod in (attributes.object, attributes.old_object))
    for field in ("containers", "initContainers", "ephemeralContainers"):
        images = {one.get("name"): one.get("image") for one in old.get(field) or ()}
        those = new.get(field) or ()
        if any(one.get("name") not in images or images[one["name"]] != one.get("image") for one in those):
            return True
    return False
