"""PodNodeSelector: the pods of a namespace go to the nodes that its annotation, or the configuration, chooses."""

from collections.abc import Mapping

from kobune.api import names
from kobune.api.errors import ApiError, Json
from kobune.api.field_errors import invalid
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import plain_failure, refused
from kobune.controlplane.apiserver.registry.registry import Registry

ANNOTATION = "scheduler.alpha.kubernetes.io/node-selector"
DEFAULT = "clusterDefaultNodeSelector"


class PodNodeSelector:
    """Source: upstream plugin/pkg/admission/podnodeselector.

    Args:
        selectors: by namespace the labels that its pods may choose nodes by; under `DEFAULT` those that pods get in
            namespaces without the annotation.
    """

    name = "PodNodeSelector"
    operations = ("CREATE",)
    resources = ("pods",)

    def __init__(self, registry: Registry, selectors: Mapping[str, str]) -> None:
        self._registry = registry
        self._selectors = selectors
        self._kind = registry.builtin("", "v1", "Namespace")

    async def admit(self, attributes: Attributes) -> None:
        spec = (attributes.object or {}).setdefault("spec", {})
        merged = {**await self._of_namespace(attributes, spec), **(spec.get("nodeSelector") or {})}
        if merged:
            spec["nodeSelector"] = merged
        self._check_allowed(attributes, spec)

    async def validate(self, attributes: Attributes) -> None:
        spec = (attributes.object or {}).get("spec") or {}
        await self._of_namespace(attributes, spec)
        self._check_allowed(attributes, spec)

    async def _of_namespace(self, attributes: Attributes, spec: Json) -> dict[str, str]:
        """What the namespace asks for. Raises Forbidden where the pod asks for something else."""
        name = attributes.call.namespace
        namespace = await self._registry.find(self._kind, "", name)
        if namespace is None:
            raise ApiError(f"Internal error occurred: namespace {name} does not exist")
        annotations = namespace["metadata"].get("annotations") or {}
        wanted = _labels(annotations.get(ANNOTATION, self._selectors.get(DEFAULT, "")))
        chosen = spec.get("nodeSelector") or {}
        if any(chosen.get(key, value) != value for key, value in wanted.items()):
            raise refused(attributes, "pod node label selector conflicts with its namespace node label selector")
        return wanted

    def _check_allowed(self, attributes: Attributes, spec: Json) -> None:
        allowed = _labels(self._selectors.get(attributes.call.namespace, ""))
        if allowed and not (spec.get("nodeSelector") or {}).items() <= allowed.items():
            raise refused(attributes, "pod node label selector labels conflict with its namespace whitelist")


def read_node_selectors(configuration: Json) -> Mapping[str, str]:
    """What a configuration of the plugin says; it has neither kind nor version."""
    selectors: Mapping[str, str] = configuration.get("podNodeSelectorPluginConfig") or {}
    return selectors


def _labels(text: str) -> dict[str, str]:
    """`disk=ssd,zone=a`. Source: upstream labels.ConvertSelectorToLabelsMap."""
    labels: dict[str, str] = {}
    for part in text.split(",") if text else ():
        pair = part.split("=")
        if len(pair) != 2:
            raise plain_failure(f"invalid selector: [{' '.join(pair)}]")
        key, value = (word.strip() for word in pair)
        if wrong := names.is_qualified_name(key):
            raise plain_failure(f"<nil>: {invalid('', key, '; '.join(wrong)).message}")
        if wrong := names.is_label_value(value):
            raise plain_failure(f"[{key}]: {invalid('', value, '; '.join(wrong)).message}")
        labels[key] = value
    return labels
