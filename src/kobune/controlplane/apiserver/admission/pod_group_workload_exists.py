"""PodGroupWorkloadExists: a group that says which template of which Workload it was made from tells the truth."""

from collections.abc import Awaitable

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.registry.registry import Registry


class PodGroupWorkloadExists:
    name = "PodGroupWorkloadExists"
    operations = ("CREATE",)
    resources = ("podgroups",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def admit(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        spec = (attributes.object or {}).get("spec") or {}
        reference: Json | None = (spec.get("podGroupTemplateRef") or {}).get("workload")
        return None if reference is None else self._check(attributes, reference)

    async def _check(self, attributes: Attributes, reference: Json) -> None:
        name, template = reference.get("workloadName") or "", reference.get("podGroupTemplateName") or ""
        kind = self._registry.builtin("scheduling.k8s.io", "v1alpha2", "Workload")
        workload = await self._registry.find(kind, attributes.call.namespace, name)
        if workload is None:
            raise refused(attributes, f'PodGroup rejected: Workload "{name}" not found')
        if workload["metadata"].get("deletionTimestamp"):
            raise refused(attributes, f'PodGroup rejected: Workload "{name}" is being deleted')
        templates = (workload.get("spec") or {}).get("podGroupTemplates") or ()
        if not any(one.get("name") == template for one in templates):
            raise refused(
                attributes, f'PodGroup rejected: PodGroupTemplate "{template}" not found in Workload "{name}"'
            )
