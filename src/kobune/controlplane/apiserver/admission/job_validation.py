"""JobValidation: the parallelism of a Job whose pods are scheduled as a gang stays as it is."""

from collections.abc import Awaitable

import orjson

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.store.selection import Selection


class JobValidation:
    """Source: upstream plugin/pkg/admission/job."""

    name = "JobValidation"
    operations = ("UPDATE",)
    resources = ("jobs",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def admit(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        new, old = attributes.object or {}, attributes.old_object or {}
        if new["spec"].get("parallelism") == old["spec"].get("parallelism"):
            return None
        return self._check(attributes, old)

    async def _check(self, attributes: Attributes, job: Json) -> None:
        kind = self._registry.catalogue.find_kind("scheduling.k8s.io", "v1alpha2", "PodGroup")
        if kind is None:
            return
        groups = (await self._registry.cache(kind)).list(Selection(attributes.call.namespace))
        named = (job["spec"]["template"]["spec"].get("schedulingGroup") or {}).get("podGroupName")
        for item in groups:
            group: Json = orjson.loads(item.body)
            is_of_job = item.name == named if named else _is_controlled(group, job)
            if is_of_job and "gang" in group["spec"]["schedulingPolicy"]:
                raise refused(
                    attributes, f'cannot change parallelism for a Job referencing gang-scheduled PodGroup "{item.name}"'
                )


def _is_controlled(group: Json, job: Json) -> bool:
    owners = group["metadata"].get("ownerReferences") or ()
    return any(one.get("controller") and one["uid"] == job["metadata"]["uid"] for one in owners)
