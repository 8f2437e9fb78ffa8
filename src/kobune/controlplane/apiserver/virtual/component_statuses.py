"""ComponentStatus: how each member of the store, the scheduler and the controller manager feel; out of use upstream since 1.19.

Source: upstream registry/core/componentstatus, and the addresses that it asks.
"""

from typing import TYPE_CHECKING

import orjson

from kobune.api.errors import MethodNotAllowed, not_found
from kobune.controlplane.apiserver.negotiation import accepted
from kobune.controlplane.apiserver.registry.reading import Results
from kobune.controlplane.apiserver.rendering import render_list, render_object
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.routes import RequestInfo

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

MEMBER = "etcd-"  # And its number.
# Those of processes of their own are asked where they listen.
PORTS = {"controller-manager": 10257, "scheduler": 10259}
PROBE_SECONDS = 2.0
DEPRECATED = "v1 ComponentStatus is deprecated in v1.19+"


async def component_statuses(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    assert info.kind is not None
    request.warnings.append(DEPRECATED)
    form = accepted(request.headers.get("accept") or "")
    if info.verb == "list":
        problems = await _members(server) | {name: await _problem(server, name) for name in PORTS}
        found = [_status(name, problem) for name, problem in sorted(problems.items())]
        return render_list(server, info.kind, Results(found, 0, "", 0), form, request.query)
    if info.verb != "get":
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    if info.name in PORTS:
        problem = await _problem(server, info.name)
    else:
        members = await _members(server)
        if info.name not in members:
            raise not_found("componentstatus", info.name)
        problem = members[info.name]
    return render_object(server, info.kind, _status(info.name, problem), form, request.query)


def _status(name: str, problem: str) -> bytes:
    condition = {"type": "Healthy", "status": "False" if problem else "True", "message": problem or "ok"}
    return orjson.dumps(
        {"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name}, "conditions": [condition]}
    )


async def _members(server: "ApiServer") -> dict[str, str]:
    """By name, what is wrong with each member of the store."""
    return {f"{MEMBER}{number}": problem for number, problem in enumerate(await server.store.members())}


async def _problem(server: "ApiServer", name: str) -> str:
    return "" if name in server.companions else await _probe(PORTS[name])


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
