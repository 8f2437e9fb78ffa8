"""ComponentStatus: how the store, the scheduler and the controller manager feel; out of use upstream since 1.19.

Source: upstream registry/core/componentstatus, and the addresses that it asks.
"""

from typing import TYPE_CHECKING

import orjson

from kobune.api.errors import Json, MethodNotAllowed, not_found
from kobune.controlplane.apiserver.negotiation import accepted
from kobune.controlplane.apiserver.paths.health import store_problem
from kobune.controlplane.apiserver.registry.reading import Results
from kobune.controlplane.apiserver.rendering import render_list, render_object
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.routes import RequestInfo

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

STORE = "etcd-0"
# Those of processes of their own are asked where they listen.
PORTS = {"controller-manager": 10257, "scheduler": 10259}
NAMES = tuple(sorted((STORE, *PORTS)))
PROBE_SECONDS = 2.0
DEPRECATED = "v1 ComponentStatus is deprecated in v1.19+"


async def component_statuses(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    assert info.kind is not None
    request.warnings.append(DEPRECATED)
    form = accepted(request.headers.get("accept") or "")
    if info.verb == "list":
        found = [orjson.dumps(await _status(server, name)) for name in NAMES]
        return render_list(server, info.kind, Results(found, 0, "", 0), form, request.query)
    if info.verb != "get":
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    if info.name not in NAMES:
        raise not_found("componentstatus", info.name)
    return render_object(server, info.kind, orjson.dumps(await _status(server, info.name)), form, request.query)


async def _status(server: "ApiServer", name: str) -> Json:
    if name == STORE:
        problem = await store_problem(server)
    else:
        problem = "" if name in server.companions else await _probe(PORTS[name])
    condition = {"type": "Healthy", "status": "False" if problem else "True", "message": problem or "ok"}
    return {"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name}, "conditions": [condition]}


async def _probe(port: int) -> str:
    """What is wrong with a component that listens on this machine; "" when it says that it is well."""
    import aiohttp  # Late: hardly anybody asks.

    url = f"https://127.0.0.1:{port}/healthz"
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, ssl=False) as answer:
            return "" if answer.status == 200 else f"unexpected status code {answer.status} from {url}"
    except aiohttp.ClientConnectorError:
        return f'Get "{url}": dial tcp 127.0.0.1:{port}: connect: connection refused'
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return f'Get "{url}": {error or type(error).__name__}'
