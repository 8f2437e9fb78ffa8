"""Which container of which pod on which node a request is about."""

from typing import TYPE_CHECKING

from kobune.api.errors import ApiError, BadRequest, Json
from kobune.controlplane.apiserver.registry.call import Call

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer


async def find_pod(server: "ApiServer", call: Call) -> Json:
    """Raises NotFound."""
    pod = await server.registry.find(call.kind, call.namespace, call.name)
    if pod is None:
        raise call.not_found()
    return pod


async def find_node(server: "ApiServer", pod: Json) -> Json:
    """The node the pod is on. Raises BadRequest when it is on none, ApiError when the node is gone."""
    name = (pod.get("spec") or {}).get("nodeName")
    if not name:
        raise BadRequest(f"pod {pod['metadata']['name']} does not have a host assigned")
    node = await server.registry.find(server.registry.builtin("", "v1", "Node"), "", name)
    if node is None:
        raise ApiError(f'nodes "{name}" not found')
    return node


def choose_container(pod: Json, wanted: str) -> str:
    """The container asked for, or the only one. Raises BadRequest. Source: upstream podutil and pod.LogLocation."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    groups = {field: [one["name"] for one in spec.get(field) or ()]
              for field in ("containers", "initContainers", "ephemeralContainers")}  # fmt: skip
    if not wanted:
        if len(groups["containers"]) == 1 and not groups["initContainers"] and not groups["ephemeralContainers"]:
            return str(groups["containers"][0])
        text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(groups['containers'])}]"
        if groups["initContainers"]:
            text += f" or one of the init containers: [{' '.join(groups['initContainers'])}]"
        if groups["ephemeralContainers"]:
            text += f" or one of the ephemeral containers: [{' '.join(groups['ephemeralContainers'])}]"
        raise BadRequest(text)
    if not any(wanted in names for names in groups.values()):
        raise BadRequest(f"container {wanted} is not valid for pod {name}")
    return wanted
