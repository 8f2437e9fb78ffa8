"""PodResizeValidator and NodeDeclaredFeatureValidator: a pod on a node may only become what its node can carry."""

from collections.abc import Iterator

import orjson

from kobune.api.errors import FieldError, Json
from kobune.api.quantity import cpu_millicores, parse_quantity, to_bytes
from kobune.api.quota.pods import requested
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.registry.registry import Registry

OS = "kubernetes.io/os"
INIT_CONTAINER_RESIZE = "InPlacePodVerticalScalingInitContainers"
POD_LEVEL_RESIZE = "InPlacePodLevelResourcesVerticalScaling"


class PodResizeValidator:
    """Nothing grows beyond all that its node has to give, and only Linux resizes."""

    name = "PodResizeValidator"
    operations = ("UPDATE",)
    resources = ("pods/resize",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def admit(self, attributes: Attributes) -> None:
        return None

    async def validate(self, attributes: Attributes) -> None:
        if not _is_changed_on_node(attributes):
            return
        pod = attributes.object or {}
        node = await _node_of(self._registry, attributes, pod)
        system = (node["metadata"].get("labels") or {}).get(OS, "linux")
        if system != "linux":
            name = node["metadata"]["name"]
            words = f'pod resize is only supported on linux nodes, node "{name}" is "{system}"'
            raise refused(attributes, words, FieldError("", "UnsupportedPlatform", ""))
        excess = list(_excess(pod["spec"], (node.get("status") or {}).get("allocatable") or {}))
        if excess:
            words = f"node didn't have enough allocatable resources: {'; '.join(excess)}"
            raise refused(attributes, words, FieldError("", "NodeCapacity", ""))


class NodeDeclaredFeatureValidator:
    """What only some kubelets can do is asked only of those that have declared it."""

    name = "NodeDeclaredFeatureValidator"
    operations = ("UPDATE",)
    resources = ("pods", "pods/resize")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def admit(self, attributes: Attributes) -> None:
        return None

    async def validate(self, attributes: Attributes) -> None:
        if not _is_changed_on_node(attributes):
            return
        new, old = attributes.object or {}, attributes.old_object or {}
        needed = list(needed_features(new["spec"], old["spec"]))
        if not needed:
            return
        node = await _node_of(self._registry, attributes, new)
        declared = (node.get("status") or {}).get("declaredFeatures") or ()
        missing = [feature for feature in needed if feature not in declared]
        if missing:
            name = node["metadata"]["name"]
            words = f'pod update requires features {", ".join(missing)} which are not available on node "{name}"'
            raise refused(attributes, words)


def needed_features(new: Json, old: Json) -> Iterator[str]:
    """What a kubelet must be able to do to follow a pod's spec. Source: upstream InferForUpdate of each feature."""
    if (new.get("resources") or {}) != (old.get("resources") or {}):
        yield POD_LEVEL_RESIZE
    wanted = {one["name"]: one.get("resources") or {} for one in new.get("initContainers") or ()}
    for container in old.get("initContainers") or ():
        resources = container.get("resources") or {}
        if container.get("restartPolicy") != "Always" and wanted.get(container["name"], resources) != resources:
            yield INIT_CONTAINER_RESIZE
            return


def _is_changed_on_node(attributes: Attributes) -> bool:
    new, old = attributes.object or {}, attributes.old_object or {}
    if not (new.get("spec") or {}).get("nodeName"):
        return False
    return bool(new["metadata"].get("generation") != old["metadata"].get("generation"))


async def _node_of(registry: Registry, attributes: Attributes, pod: Json) -> Json:
    name = pod["spec"]["nodeName"]
    item = await registry.find_item(registry.builtin("", "v1", "Node"), "", name)
    if item is None:
        raise refused(attributes, f'node "{name}" not found')
    node: Json = orjson.loads(item.body)
    return node


def _excess(spec: Json, allocatable: Json) -> Iterator[str]:
    wanted = requested(spec)
    for name, amount in (("cpu", cpu_millicores), ("memory", to_bytes)):
        asked, room = wanted.get(name, "0"), allocatable.get(name, "0")
        if parse_quantity(asked) > parse_quantity(room):
            yield f"{name}, requested: {amount(asked)}, allocatable: {amount(room)}"
