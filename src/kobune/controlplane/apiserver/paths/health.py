"""`/healthz`, `/livez` and `/readyz`: the verdict, each check with `?verbose`, and single checks by path."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kobune.controlplane.apiserver.answers import page_not_found
from kobune.controlplane.apiserver.request import Request, Response

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

TEXT = "text/plain; charset=utf-8"
STARTED = "poststarthook/bootstrap-controller"


async def health(server: "ApiServer", request: Request) -> Response:
    parts = request.path.rstrip("/").split("/")
    endpoint, wanted = parts[1], "/".join(parts[2:])
    excluded = {value for name, value in request.repeated if name == "exclude"}
    checks = [one for one in await _checks(server, endpoint) if one[0] not in excluded]
    if wanted:
        found = [one for one in checks if one[0] == wanted]
        if not found:
            return page_not_found()
        checks = found
    failed = [name for name, problem in checks if problem]
    if not failed and "verbose" not in request.query:
        return Response(200, b"ok", TEXT)
    lines = [f"[-]{name} failed: {problem}" if problem else f"[+]{name} ok" for name, problem in checks]
    lines.append(f"{endpoint} check {'failed' if failed else 'passed'}")
    return Response(500 if failed else 200, ("\n".join(lines) + "\n").encode(), TEXT)


async def _checks(server: "ApiServer", endpoint: str) -> Sequence[tuple[str, str]]:
    """Name and problem of each check; an empty problem passes."""
    checks = [("ping", ""), ("log", ""), ("etcd", await store_problem(server))]
    checks.append((STARTED, "" if server.ready else "reason withheld"))
    if endpoint == "readyz":
        checks.append(("shutdown", "process is shutting down" if server.stopping else ""))
    return checks


async def store_problem(server: "ApiServer") -> str:
    try:
        await server.store.revision()
    except Exception:  # Whatever an engine raises, the verdict is the same.
        return "reason withheld"
    return ""
