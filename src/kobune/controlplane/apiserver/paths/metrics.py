"""`/metrics`, in Prometheus' text form."""

from typing import TYPE_CHECKING

from kobune.controlplane.apiserver.request import Request, Response

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

TEXT = "text/plain; version=0.0.4; charset=utf-8"


async def metrics(server: "ApiServer", request: Request) -> Response:
    lines = server.metrics.lines()
    lines.append("# TYPE apiserver_resource_objects gauge")
    lines.append("# TYPE apiserver_longrunning_requests gauge")
    for kind in server.catalogue:
        cache = server.registry.open_cache(kind)
        if cache is not None and not kind.stored:
            labels = f'group="{kind.group}",resource="{kind.plural}"'
            lines.append(f"apiserver_resource_objects{{{labels}}} {len(cache)}")
            if watching := len(cache.watchers):
                lines.append(
                    f'apiserver_longrunning_requests{{{labels},verb="WATCH",version="{kind.version}"}} {watching}'
                )
    lines += [
        "# TYPE apiserver_storage_revision gauge",
        f"apiserver_storage_revision {server.feed.revision}",
    ]
    text = "\n".join(lines) + "\n" + "".join(neighbour() for neighbour in server.metrics.neighbours)
    return Response(200, text.encode(), TEXT)
