"""metrics.k8s.io: what nodes and pods use. Forms and refusals as metrics-server's."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson

from kobune.api.errors import Json, MethodNotAllowed, not_found
from kobune.api.objects.meta import Key
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver.negotiation import accepted
from kobune.controlplane.apiserver.options import list_options
from kobune.controlplane.apiserver.registry.reading import Results, selection
from kobune.controlplane.apiserver.rendering import render_list, render_object
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.routes import RequestInfo
from kobune.controlplane.apiserver.usage.samples import Usage, Window
from kobune.controlplane.store.selection import Item, Selection

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

NODE_NAME = "spec.nodeName"


async def node_metrics(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    chosen = await _chosen(server, request, info, "Node")
    nodes: list[Json] = [orjson.loads(item.body) for item in chosen]
    windows = await server.usage.windows(nodes)
    pods = await server.registry.cache(server.registry.builtin("", "v1", "Pod"))
    of_node: dict[str, list[Item]] = {}
    silent = {name for name, window in windows.items() if name not in window.last.nodes}
    if silent:  # Their kubelets speak of pods only.
        column = pods.selectable.index(NODE_NAME)
        for item in pods.list():
            if item.fields[column] in silent:
                of_node.setdefault(item.fields[column], []).append(item)
    found: list[Json] = []
    for item, node in zip(chosen, nodes, strict=True):
        name = node["metadata"]["name"]
        window = windows.get(name)
        if window is None:
            continue
        usage = _of_pods(window, of_node.get(name, ())) if name in silent else window.node(name)
        if usage is not None:
            found.append({**_head("NodeMetrics", item, window), "usage": _written(usage)})
    return _answer(server, request, info, found, info.name)


async def pod_metrics(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    chosen = await _chosen(server, request, info, "Pod")
    registry = server.registry
    column = (await registry.cache(registry.builtin("", "v1", "Pod"))).selectable.index(NODE_NAME)
    kind = registry.builtin("", "v1", "Node")
    names = {item.fields[column] for item in chosen} - {""}
    nodes = [node for name in names if (node := await registry.find(kind, "", name)) is not None]
    windows = await server.usage.windows(nodes)
    found: list[Json] = []
    for item in chosen:
        window = windows.get(item.fields[column])
        usage = window.pod(Key(item.namespace, item.name)) if window is not None else {}
        if window is not None and usage:
            containers = [{"name": name, "usage": _written(one)} for name, one in usage.items()]
            found.append({**_head("PodMetrics", item, window), "containers": containers})
    return _answer(server, request, info, found, f"{info.namespace}/{info.name}")


async def _chosen(server: "ApiServer", request: Request, info: RequestInfo, name: str) -> Sequence[Item]:
    """The nodes or pods that are asked about. Raises NotFound when it is one that is not there."""
    if info.verb not in ("get", "list"):
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    await server.registry.refresh()
    kind = server.registry.builtin("", "v1", name)
    cache = await server.registry.cache(kind)
    if info.verb == "list":
        return cache.list(selection(cache, kind, info.namespace, list_options(request.query)))
    found = cache.list(Selection(info.namespace, info.name))
    if not found:
        raise not_found(kind.plural, f"{info.namespace}/{info.name}" if info.namespace else info.name)
    return found


def _answer(server: "ApiServer", request: Request, info: RequestInfo, found: list[Json], name: str) -> Response:
    assert info.kind is not None
    form = accepted(request.headers.get("accept") or "")
    bodies = [orjson.dumps(one) for one in found]
    if info.verb == "list":
        return render_list(server, info.kind, Results(bodies, 0, "", 0), form, request.query)
    if not bodies:
        raise not_found(f"{info.kind.plural.removesuffix('s')}metrics", name, group=info.group)
    return render_object(server, info.kind, bodies[0], form, request.query)


def _head(kind: str, item: Item, window: Window) -> Json:
    at = format_time(window.last.at)
    meta: Json = {"name": item.name, "creationTimestamp": at}
    if item.namespace:
        meta["namespace"] = item.namespace
    if item.labels:
        meta["labels"] = dict(item.labels)
    return {
        "kind": kind,
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": meta,
        "timestamp": at,
        "window": f"{max(1, round(window.seconds))}s",
    }


def _of_pods(window: Window, items: Sequence[Item]) -> Usage:
    total = Usage(0, 0)
    for item in items:
        for usage in window.pod(Key(item.namespace, item.name)).values():
            total = total + usage
    return total


def _written(usage: Usage) -> Json:
    return {"cpu": f"{usage.nanocores}n", "memory": f"{-(-usage.memory_bytes // 1024)}Ki"}
