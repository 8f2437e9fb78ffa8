"""pods/binding: puts a pod on a node."""

from typing import TYPE_CHECKING

from kobune.api.catalogue import Kind
from kobune.api.errors import BadRequest, Conflict, Json, invalid
from kobune.api.field_errors import not_supported, required
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.update import change
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.resources import new_call
from kobune.controlplane.apiserver.routes import RequestInfo
from kobune.controlplane.apiserver.subresources.conditions import set_condition
from kobune.controlplane.apiserver.subresources.posted import SUCCESS, read_posted

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

    async def assign(old: Json) -> Json:
        problem = _problem(old)
        if problem:
            raise _conflict(call.name, problem)
        for field in ("uid", "resourceVersion"):
            if meta.get(field) and meta[field] != old["metadata"][field]:
                label = "UID" if field == "uid" else "ResourceVersion"
                raise _conflict(
                    call.name,
                    f"Precondition failed: {label} in precondition: {meta[field]}, "
                    f"{label} in object meta: {old['metadata'][field]}",
                )
        new: Json = {**old, "metadata": dict(old["metadata"]), "spec": dict(old["spec"]), "status": dict(old["status"])}
        new["spec"]["nodeName"] = target["name"]
        new["status"].pop("nominatedNodeName", None)
        for field in ("annotations", "labels"):
            if meta.get(field):
                new["metadata"][field] = {**(new["metadata"].get(field) or {}), **meta[field]}
        set_condition(new["status"], {"type": "PodScheduled", "status": "True", "lastProbeTime": None}, now)
        return new

    call.accounted = False
    await change(server.registry, call, assign, prepare=_uncounted, checks=False)
    return Response(201, SUCCESS)


def _uncounted(call: Call, new: Json, old: Json) -> Json:
    """To be given a node is not to be wished for differently: metadata.generation stays. Source: upstream assignPod."""
    return new


def _problem(pod: Json) -> str:
    name, spec = pod["metadata"]["name"], pod["spec"]
    if pod["metadata"].get("deletionTimestamp"):
        return f"pod {name} is being deleted, cannot be assigned to a host"
    if spec.get("nodeName"):
        return f'pod {name} is already assigned to node "{spec["nodeName"]}"'
    if spec.get("schedulingGates"):
        return f"pod {name} has non-empty .spec.schedulingGates"
    return ""


def _conflict(name: str, why: str) -> Conflict:
    message = f'Operation cannot be fulfilled on pods/binding "{name}": {why}'
    return Conflict(message, resource="pods/binding", name=name)
