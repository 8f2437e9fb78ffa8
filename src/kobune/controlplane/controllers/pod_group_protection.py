"""Groups of pods are not deleted before their pods have come to an end: a finalizer, set at admission, holds them."""

from collections.abc import Iterable
from contextlib import suppress
from typing import ClassVar

from kobune.api.errors import NotFound
from kobune.api.objects.lean import AnyObject, Pod
from kobune.api.objects.meta import GVK, Key
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps

FINALIZER = "scheduling.k8s.io/podgroup-protection"


class PodGroup(AnyObject):
    gvk: ClassVar[GVK] = GVK("scheduling.k8s.io", "v1alpha2", "PodGroup")


async def reconcile(key: Key, context: Context) -> None:
    """Let a group that is being deleted go once no live pod is of it."""
    group = context.informer(PodGroup).get(key)
    if group is None or not group.is_deleting or FINALIZER not in group.metadata.finalizers:
        return
    if any(not pod.is_finished for pod in context.informer(Pod).index("pod group", key)):
        return  # The end of the last one wakes us.
    left = [each for each in group.metadata.finalizers if each != FINALIZER]
    metadata = {"resourceVersion": group.metadata.resource_version, "finalizers": left or None}
    with suppress(NotFound):
        await context.client.patch(PodGroup, key, {"metadata": metadata})


def group_of(pod: Pod) -> list[Key]:
    """The group that the pod says it is of."""
    group = pod.spec.scheduling_group
    return [Key(pod.namespace, group.pod_group_name)] if group is not None and group.pod_group_name else []


def _left(_context: Context, old: Pod | None, new: Pod | None) -> Iterable[Key]:
    ended = new is None or new.is_finished
    return group_of(old) if old is not None and ended else ()


def _prepare(context: Context) -> None:
    context.informer(Pod).add_index("pod group", group_of)


CONTROLLER = Controller(
    "podgroup-protection-controller",
    (For(PodGroup, optional=True), Maps(Pod, _left)),
    reconcile,
    prepare=_prepare,
)
