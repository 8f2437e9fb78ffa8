"""ResourceClaims of pods: made from templates, released by pods that are done, and deallocated when nobody uses them.

The claim for a pod's extended resources is made by the scheduler; it is released and deleted like the others.

Source: Kubernetes documentation, Dynamic Resource Allocation; upstream's resourceclaim controller. Keys of pods have the
name alone; keys of claims begin with `claim:`, which no pod's name does.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec

from kobune.api.errors import ApiError, Json
from kobune.api.objects.core import AnyPod
from kobune.api.objects.lean import AnyObject, Pod
from kobune.api.objects.meta import GVK, Key, Object, View
from kobune.client.client import Patch
from kobune.controlplane.controllers.controller import Context, Controller, Maps

CLAIM = "claim:"
ANNOTATION = "resource.kubernetes.io/pod-claim-name"
FINALIZER = "resource.kubernetes.io/delete-protection"
LONGEST_BASE = 57  # Leaves room for a dash and five characters.


class TemplateSpec(View):
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    spec: dict[str, Any] = msgspec.field(default_factory=dict)


class ResourceClaimTemplate(Object):
    gvk: ClassVar[GVK] = GVK("resource.k8s.io", "v1", "ResourceClaimTemplate")
    spec: TemplateSpec = msgspec.field(default_factory=TemplateSpec)


class Consumer(View):
    api_group: str = ""
    resource: str = ""
    name: str = ""
    uid: str = ""


class ResourceClaimStatus(View):
    allocation: dict[str, Any] | None = None
    reserved_for: list[Consumer] = msgspec.field(default_factory=list)


class ResourceClaim(AnyObject):
    gvk: ClassVar[GVK] = GVK("resource.k8s.io", "v1", "ResourceClaim")
    spec: dict[str, Any] = msgspec.field(default_factory=dict)
    status: ResourceClaimStatus = msgspec.field(default_factory=ResourceClaimStatus)


async def reconcile(key: Key, context: Context) -> None:
    """One pod's claims, or one claim's users."""
    if key.name.startswith(CLAIM):
        claim = context.informer(ResourceClaim).get(Key(key.namespace, key.name.removeprefix(CLAIM)))
        if claim is not None:
            await _sync_claim(claim, context)
        return
    pod = context.informer(Pod).get(key)
    if pod is not None and not pod.is_deleting and not pod.is_finished:
        await _sync_pod(pod, context)


async def _sync_pod(pod: Pod, context: Context) -> None:
    """Make what is missing, then tell the pod's status of it."""
    known = {each.name: each.resource_claim_name for each in pod.status.resource_claim_statuses}
    made: dict[str, str] = {}
    for wanted in pod.spec.resource_claims:
        if wanted.resource_claim_template_name is None:
            continue
        name = known.get(wanted.name)
        claim = context.informer(ResourceClaim).get(Key(pod.namespace, name)) if name else None
        if claim is not None and is_for(claim, pod):
            continue
        claim = _made_before(pod, wanted.name, context)
        if claim is None:
            try:
                claim = await _make(pod, wanted.name, wanted.resource_claim_template_name, context)
            except ApiError as error:
                context.events.warning(pod, "FailedResourceClaimCreation", f"PodResourceClaim {wanted.name}: {error}")
                raise
        made[wanted.name] = claim.name
    if made:
        entries = [
            {"name": name, **({"resourceClaimName": claim_name} if claim_name else {})}
            for name, claim_name in {**known, **made}.items()
        ]
        await context.client.patch_status(Pod, pod.key, {"resourceClaimStatuses": entries}, how=Patch.STRATEGIC)


async def _make(pod: Pod, wanted: str, template_name: str, context: Context) -> ResourceClaim:
    template = context.informer(ResourceClaimTemplate).get(Key(pod.namespace, template_name))
    if template is None:
        missing = f'resourceclaimtemplate.resource.k8s.io "{template_name}" not found'
        raise ApiError(f'resource claim template "{template_name}": {missing}')
    given = template.spec.metadata
    metadata: Json = {
        "generateName": base_name(pod.name, wanted),
        "namespace": pod.namespace,
        "labels": given.get("labels") or {},
        "annotations": {**(given.get("annotations") or {}), ANNOTATION: wanted},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid, "controller": True}],
    }
    return await context.client.create(ResourceClaim, {"metadata": metadata, "spec": template.spec.spec})


def base_name(pod: str, claim: str) -> str:
    """`pod-claim-`; where that is too long, both are cut in proportion, so that something of each is left."""
    base = f"{pod}-{claim}-"
    if len(base) <= LONGEST_BASE:
        return base
    return f"{pod[: len(pod) * LONGEST_BASE // len(base)]}-{claim[: len(claim) * LONGEST_BASE // len(base)]}"


def _made_before(pod: Pod, wanted: str, context: Context) -> ResourceClaim | None:
    """The claim of an earlier pass that did not come to tell the pod's status."""
    claims = context.informer(ResourceClaim).index("owner", pod.uid)
    return next((each for each in claims if each.metadata.annotations.get(ANNOTATION) == wanted), None)


def is_for(claim: ResourceClaim, pod: AnyPod) -> bool:
    """It was made for the pod."""
    owner = claim.metadata.controller
    return owner is not None and owner.uid == pod.uid


async def _sync_claim(claim: ResourceClaim, context: Context) -> None:
    """Take out users that are gone; without users the claim is free again, or goes with its pod."""
    left = [each for each in claim.status.reserved_for if await _still_uses(each, claim, context)]
    if len(left) < len(claim.status.reserved_for):
        entries = [
            {
                **({"apiGroup": each.api_group} if each.api_group else {}),
                "resource": each.resource,
                "name": each.name,
                "uid": each.uid,
            }
            for each in left
        ]
        status: Json = {"reservedFor": entries or None}
        if not left and FINALIZER in claim.metadata.finalizers:
            status["allocation"] = None
        claim = await _set_status(claim, status, context)
        if not left:
            claim = await _let_go(claim, context)
    elif not left and claim.is_deleting and FINALIZER in claim.metadata.finalizers:
        if claim.status.allocation is not None:
            claim = await _set_status(claim, {"allocation": None}, context)
        claim = await _let_go(claim, context)
    owner = claim.metadata.controller
    if not left and owner is not None and (owner.api_version, owner.kind) == ("v1", "Pod"):
        pod = context.informer(Pod).get(Key(claim.namespace, owner.name))
        if pod is not None and (pod.uid != owner.uid or is_done(pod)) and not claim.is_deleting:
            await context.client.delete(ResourceClaim, claim.key, uid=claim.uid)


async def _set_status(claim: ResourceClaim, status: Json, context: Context) -> ResourceClaim:
    metadata = {"resourceVersion": claim.metadata.resource_version}
    return await context.client.patch(
        ResourceClaim, claim.key, {"metadata": metadata, "status": status}, subresource="status"
    )


async def _let_go(claim: ResourceClaim, context: Context) -> ResourceClaim:
    if FINALIZER not in claim.metadata.finalizers or claim.status.allocation is not None:
        return claim
    finalizers = [each for each in claim.metadata.finalizers if each != FINALIZER]
    metadata = {"resourceVersion": claim.metadata.resource_version, "finalizers": finalizers or None}
    return await context.client.patch(ResourceClaim, claim.key, {"metadata": metadata})


async def _still_uses(consumer: Consumer, claim: ResourceClaim, context: Context) -> bool:
    if consumer.api_group or consumer.resource != "pods":
        return True  # Somebody else's business.
    key = Key(claim.namespace, consumer.name)
    pod = context.informer(Pod).get(key)
    if pod is None:
        pod = await context.client.find(Pod, key)  # The scheduler may know a pod that we have not seen yet.
    return pod is not None and pod.uid == consumer.uid and not is_done(pod)


def is_done(pod: Pod) -> bool:
    """It runs no more, or is being deleted and never was scheduled."""
    return pod.is_finished or (pod.is_deleting and not pod.spec.node_name)


def _pod_changed(context: Context, old: Pod | None, new: Pod | None) -> Iterable[Key]:
    pod = new or old
    extended = pod.status.extended_resource_claim_status if pod is not None else None
    if pod is None or not (pod.spec.resource_claims or pod.status.resource_claim_statuses or extended):
        return ()
    if new is not None and not is_done(new):
        return (new.key,)
    names = {each.resource_claim_name for each in pod.status.resource_claim_statuses}
    names |= {each.resource_claim_name for each in pod.spec.resource_claims}
    if extended is not None:
        names.add(extended.resource_claim_name)
    return [Key(pod.namespace, f"{CLAIM}{name}") for name in names if name]


def _claim_changed(_context: Context, old: ResourceClaim | None, new: ResourceClaim | None) -> Iterable[Key]:
    if new is not None:
        return (Key(new.namespace, f"{CLAIM}{new.name}"),)
    owner = old.metadata.controller if old is not None else None
    # A claim deleted under its pod is made again.
    return (Key(old.namespace, owner.name),) if old is not None and owner is not None and owner.kind == "Pod" else ()


def _template_changed(
    context: Context, old: ResourceClaimTemplate | None, new: ResourceClaimTemplate | None
) -> Iterable[Key]:
    if new is None or old is not None:
        return ()
    return [pod.key for pod in context.informer(Pod).index("claim template", new.key)]


def _templates_of(pod: Pod) -> list[Key]:
    names = (each.resource_claim_template_name for each in pod.spec.resource_claims)
    return [Key(pod.namespace, name) for name in names if name]


def _owner_of(claim: ResourceClaim) -> tuple[str, ...]:
    owner = claim.metadata.controller
    return (owner.uid,) if owner is not None else ()


def _prepare(context: Context) -> None:
    context.informer(Pod).add_index("claim template", _templates_of)
    context.informer(ResourceClaim).add_index("owner", _owner_of)


CONTROLLER = Controller(
    "resourceclaim-controller",
    (
        Maps(Pod, _pod_changed),
        Maps(ResourceClaim, _claim_changed),
        Maps(ResourceClaimTemplate, _template_changed),
    ),
    reconcile,
    prepare=_prepare,
    component="resource_claim",
)
