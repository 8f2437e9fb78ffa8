"""`/version`: which Kubernetes this server is."""

import platform
from typing import TYPE_CHECKING

import orjson

import kobune
from kobune.api.errors import NotAcceptable
from kobune.controlplane.apiserver.negotiation import JSON
from kobune.controlplane.apiserver.request import Request, Response

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


async def version(server: "ApiServer", request: Request) -> Response:
    accept = request.headers.get("accept") or ""
    if accept and JSON not in accept and "*/*" not in accept and "application/*" not in accept:
        raise NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {JSON}")
    return Response(200, orjson.dumps(version_info(server.config.cluster_version)))


def version_info(cluster_version: str) -> dict[str, str]:
    """The answer for a cluster version such as "1.36" or "1.36.2"; its build is ours."""
    major, minor, *patch = cluster_version.split(".")
    number = f"{major}.{minor}.{patch[0] if patch else 0}"
    machine = platform.machine()
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": f"v{number}+kobune.{kobune.__version__}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{MACHINES.get(machine, machine)}",
    }
