"""The documentation's page of what the API server does: `python -m kobune.controlplane.apiserver.coverage`.

Nothing here is read off discovery: every verb of every kind and subresource is asked of a running server, and what it
does not refuse as unknown is on the page.
"""

import asyncio
import random
import sys
from collections.abc import Iterable, Iterator, Sequence

import orjson

from kobune.api.catalogue import Kind
from kobune.api.clock import SystemClock
from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.configuration import AdmissionSettings
from kobune.controlplane.apiserver.admission.event_rate_limit import EventLimit
from kobune.controlplane.apiserver.admission.plugins import OFF_BY_DEFAULT, make_plugins
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER, Request
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore

VERSION = "1.36"
NAME = "a"  # Of an object that is not there: to be missed by name is an answer.
METHODS = {
    "get": ("GET", True), "list": ("GET", False), "watch": ("GET", False), "create": ("POST", False),
    "update": ("PUT", True), "patch": ("PATCH", True), "delete": ("DELETE", True),
    "deletecollection": ("DELETE", False),
}  # fmt: skip
UNKNOWN = b"the server could not find the requested resource"
_DIFFERENCES = """\
## Answers that differ from upstream's

About 360 requests, most of them wrong in some way, were sent to this server and to upstream's. What is told differently, and why:

- Messages that list media types name no protobuf for answers: bodies may be protobuf, answers are JSON or YAML. Whoever
  accepts protobuf alone gets discovery in JSON.
- `/readyz?verbose` and its kin list this server's own checks; upstream's are named after parts that are not here.
- Descriptions of columns in Tables are ours.
- Where YAML cannot be read the place is told in the words of our reader; so is a `continue` token that is none.
- Where upstream answers 500 for what the client did wrong (a binding without a target, an unknown `$patch`, an applied
  field that there is not), the answer is 400 or 422. `resourceVersion` in a dry run's create is refused as without it.
- A value shown in a message has its members as the client wrote them: in the order of the object, under the API's names.
- Anonymous requests are allowed on health paths and the version alone, so elsewhere they get 401, not 403.
- `/debug/pprof` and `/logs` are not served.
- A proxied page is redirected to its folder before its endpoint is looked for.
- A watch from a `resourceVersion` of before the server's start ends with 410: changes are kept in memory, not asked of the store.
- Levels of Priority and Fairness borrow seats at the moment they want them, as long as their lender does not use them;
  upstream reckons every ten seconds, by what was wanted before, how many each level may have. The bounds
  (`lendablePercent`, `borrowingLimitPercent`) are the same.
"""
_GATED = "PodGroupProtection, PodGroupWorkloadExists and JobValidation are there with `--feature-gates GenericWorkload=true`.\n"
_INTRODUCTION = """\
# The API server

What a {version} server answers, found out by asking it: `python -m kobune.controlplane.apiserver.coverage > docs/api-server.md`.

Discovery was compared with the lists that upstream publishes for {version} (`api/discovery`): group by group, resource by
resource, the names, verbs, short names, categories and storage hashes of all that is served are the same.
Upstream's lists also have the alpha and beta versions that an upstream server has switched off by default; they are not
served: admissionregistration.k8s.io v1alpha1 and v1beta1, certificates.k8s.io v1alpha1 and v1beta1, coordination.k8s.io
v1alpha2 and v1beta1, internal.apiserver.k8s.io v1alpha1, networking.k8s.io v1beta1, resource.k8s.io v1alpha3, v1beta1 and
v1beta2, storage.k8s.io v1beta1, storagemigration.k8s.io v1beta1. scheduling.k8s.io v1alpha2 (PodGroup, Workload) is served
once `--feature-gates GenericWorkload=true --runtime-config scheduling.k8s.io/v1alpha2=true` ask for it.
One group is served that is upstream's only with metrics-server: metrics.k8s.io v1beta1.
"""


async def render() -> str:
    """The page, in Markdown."""
    config = ApiServerConfig(cluster_version=VERSION, serve_bootstrap=False)
    async with ApiServer(config, MemoryStore(), clock=SystemClock(), source=random.Random(1)) as server:
        kinds = sorted(server.catalogue, key=lambda kind: (kind.group, kind.version, kind.name))
        rows = [await _row(server, kind) for kind in kinds]
        table = _table(("Kind", "Version", "Verbs", "Subresources"), rows)
        plugins = _table(("Plug-in", "On", "Operations", "Resources"), _plugins(server))
    parts = [_INTRODUCTION.format(version=VERSION), "## Kinds, verbs and subresources\n", table]
    return "\n".join([*parts, "## Admission plug-ins, in their order\n", plugins, _GATED, _DIFFERENCES])


async def _row(server: ApiServer, kind: Kind) -> tuple[str, ...]:
    namespace = "default" if kind.namespaced else ""
    verbs = []
    for verb, (method, named) in METHODS.items():
        path = kind.resource.path(namespace, NAME if named else "")
        if await _answers(server, method, path, watch=verb == "watch"):
            verbs.append(verb)
    parts = []
    for name in sorted(kind.subresources):
        path = kind.resource.path(namespace, NAME, name)
        wanted = ("get", "create", "update", "patch", "delete")
        methods = {verb: METHODS[verb][0] for verb in wanted}
        found = [verb for verb, method in methods.items() if await _answers(server, method, path)]
        parts.append(f"{name} ({', '.join(found)})")
    shown = "all" if len(verbs) == len(METHODS) else ", ".join(verbs)
    return kind.name, kind.api_version, shown, "; ".join(parts) or "–"


async def _answers(server: ApiServer, method: str, path: str, *, watch: bool = False) -> bool:
    """Whether the server knows what is meant."""
    types = {"PATCH": "application/merge-patch+json"}
    headers = {"content-type": types.get(method, "application/json"), "accept": "application/json"}
    query = {"watch": "1", "timeoutSeconds": "0"} if watch else {}
    body = b"{}" if method in ("POST", "PUT", "PATCH") else b""
    request = Request(method, path, query, headers, body, MASTER, repeated=tuple(query.items()))
    response = await server.handle(request)
    if not isinstance(response.body, bytes):
        await response.body.aclose()  # type: ignore[attr-defined]
        return True
    if response.status != 404:
        return response.status != 405
    return UNKNOWN not in orjson.loads(response.body)["message"].encode()


def _plugins(server: ApiServer) -> Iterator[tuple[str, ...]]:
    async def unasked(review: Json) -> Json:
        return review

    settings = AdmissionSettings(event_limits=(EventLimit("Server", 1, 1),))
    every = make_plugins(
        server.registry, server.webhooks, server.authorization,
        enabled=OFF_BY_DEFAULT, settings=settings, image_review=unasked,
    )  # fmt: skip
    for plugin in every:
        on = "if asked for" if plugin.name in OFF_BY_DEFAULT else "yes"
        resources = ", ".join(f"`{one}`" for one in plugin.resources)
        yield plugin.name, on, ", ".join(plugin.operations), resources


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---" for _ in head], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(render()))
