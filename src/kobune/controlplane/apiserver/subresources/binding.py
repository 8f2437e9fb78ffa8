"""pods/binding: puts a pod on a node."""

from collections.abc import Sequence
from sys import intern
from typing import TYPE_CHECKING

from msgspec import Raw

from kobune.api.catalogue import Kind
from kobune.api.errors import BadRequest, Conflict, Json, invalid
from kobune.api.field_errors import not_supported, required
from kobune.api.sharing import shared_map
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.update import settle
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.resources import new_call
from kobune.controlplane.apiserver.routes import RequestInfo
from kobune.controlplane.apiserver.subresources.conditions import set_condition
from kobune.controlplane.apiserver.subresources.posted import SUCCESS, read_posted
from kobune.controlplane.store.encoding import joined, member, members, set_member
from kobune.controlplane.store.facts import Facts, fields_after
from kobune.controlplane.store.selection import Item

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

BINDING = Kind("", "v1", "Binding", "bindings")


async def bind(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """Raises Conflict when the pod is on a node already, on its way out, or gated."""
    return await _bind(server, request, info, read_posted(server, request, info, BINDING))


async def bind_collection(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """The old way: a Binding posted as if it were kept."""
    binding = read_posted(server, request, info, BINDING)
    pods = server.registry.builtin("", "v1", "Pod")
    name = binding["metadata"].get("name") or ""
    return await _bind(server, request, info._replace(kind=pods, name=name, subresource="binding"), binding)


async def _bind(server: "ApiServer", request: Request, info: RequestInfo, binding: Json) -> Response:
    call = new_call(server, request, info)
    meta, target = binding["metadata"], binding.get("target") or {}
    if meta.get("name") != call.name:
        raise BadRequest("name in URL does not match name in Binding object")
    faults = []
    if target.get("kind") not in (None, "", "Node"):
        faults.append(not_supported("target.kind", target["kind"], ["Node", "<empty>"]))
    if not target.get("name"):
        faults.append(required("target.name"))
    if faults:
        raise invalid("Binding", call.name, *faults)
    attributes = Attributes("CREATE", call, binding, None)
    await server.registry.admission.admit(attributes)
    await server.registry.admission.validate(attributes)
    now = format_time(call.now)

    registry = server.registry
    cache = await registry.cache(call.kind)

    async def assign(item: Item) -> bytes:
        value, facts = bound(call, meta, target["name"], item, cache.selectable, now)
        if call.options.dry_run:
            return value
        stored = await cache.write_encoded(
            call.namespace, call.name, value, facts, expected=item.revision, durable=True, seconds=0.0
        )
        return stored.body

    await settle(registry, call, assign)
    return Response(201, SUCCESS)


def bound(call: Call, meta: Json, node: str, item: Item, selectable: Sequence[str], now: str) -> tuple[bytes, Facts]:
    """The pod on its node as it is to be stored, and its facts. What a binding leaves alone, which is nearly all, stays text.

    To be given a node is not to be wished for differently: metadata.generation stays, and so does the account of managed
    fields. Source: upstream assignPod, setPodNodeAndMetadata.

    Args:
        meta: the binding's.
    Raises:
        Conflict: the pod is not to be had.
    """
    pod = members(item.body)
    metadata, spec, status = members(pod["metadata"]), members(pod["spec"]), members(pod["status"])
    _check(call, meta, metadata, spec)
    del metadata["resourceVersion"]
    set_member(spec, "nodeName", node)
    status.pop("nominatedNodeName", None)
    for field in ("annotations", "labels"):
        if meta.get(field):
            set_member(metadata, field, {**(member(metadata, field) or {}), **meta[field]})
    conditions = {"conditions": member(status, "conditions")}
    set_condition(conditions, {"type": "PodScheduled", "status": "True", "lastProbeTime": None}, now)
    set_member(status, "conditions", conditions["conditions"])
    for name, part in (("metadata", metadata), ("spec", spec), ("status", status)):
        pod[name] = Raw(joined(part))
    changed = {"spec.nodeName": intern(node), "status.nominatedNodeName": ""}
    labels = shared_map({**item.labels, **meta["labels"]}) if meta.get("labels") else item.labels
    return joined(pod), Facts(labels, fields_after(selectable, item.fields, changed))


def _check(call: Call, meta: Json, metadata: dict[str, Raw], spec: dict[str, Raw]) -> None:
    problem = ""
    if member(metadata, "deletionTimestamp"):
        problem = f"pod {call.name} is being deleted, cannot be assigned to a host"
    elif current := member(spec, "nodeName"):
        problem = f'pod {call.name} is already assigned to node "{current}"'
    elif member(spec, "schedulingGates"):
        problem = f"pod {call.name} has non-empty .spec.schedulingGates"
    if problem:
        raise _conflict(call.name, problem)
    for field in ("uid", "resourceVersion"):
        given = meta.get(field)
        if given and given != (current := member(metadata, field)):
            label = "UID" if field == "uid" else "ResourceVersion"
            raise _conflict(
                call.name,
                f"Precondition failed: {label} in precondition: {given}, {label} in object meta: {current}",
            )


def _conflict(name: str, why: str) -> Conflict:
    message = f'Operation cannot be fulfilled on pods/binding "{name}": {why}'
    return Conflict(message, resource="pods/binding", name=name)
