"""One API version that another server answers, as its APIService says."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kobune.api.errors import Json

Condition = tuple[str, str, str]  # Status, reason, message.
PASSED: Condition = ("True", "Passed", "all checks passed")
LOCAL: Condition = ("True", "Local", "Local APIServices are always available")


@dataclass(slots=True)
class Remote:
    """`resources` are the rows of its APIResourceList, from the last time it answered; `openapi` is the path, with its
    hash, of its OpenAPI v3 document, `swagger` is its OpenAPI v2 document; empty when it has none."""

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    bundle: str  # Base64 of PEM; "" with `insecure`: any certificate does; else what the machine trusts.
    insecure: bool
    group_priority: int
    version_priority: int
    available: bool = False
    resources: Sequence[Json] = field(default_factory=tuple)
    openapi: str = ""
    swagger: bytes = b""

    @property
    def server_name(self) -> str:
        return f"{self.service}.{self.namespace}.svc"


def remote_of(api_service: Json) -> Remote | None:
    """None when this server answers the version itself."""
    spec = api_service["spec"]
    backend = spec.get("service")
    if backend is None:
        return None
    return Remote(
        api_service["metadata"]["name"],
        spec.get("group") or "",
        spec["version"],
        backend.get("namespace") or "",
        backend.get("name") or "",
        backend.get("port") or 443,
        spec.get("caBundle") or "",
        bool(spec.get("insecureSkipTLSVerify")),
        spec.get("groupPriorityMinimum", 0),
        spec.get("versionPriority", 0),
        available=condition_of(api_service)[0] == "True",
    )


def condition_of(api_service: Json) -> Condition:
    """What its status says of its availability."""
    for one in (api_service.get("status") or {}).get("conditions") or ():
        if one.get("type") == "Available":
            return one.get("status", ""), one.get("reason", ""), one.get("message", "")
    return "", "", ""


def with_condition(api_service: Json, condition: Condition, now: str) -> Json:
    """The APIService that says so; the time of the last change stays when the status does."""
    others = [
        one for one in (api_service.get("status") or {}).get("conditions") or () if one.get("type") != "Available"
    ]
    before: Json = next(
        (
            one
            for one in (api_service.get("status") or {}).get("conditions") or ()
            if one.get("type") == "Available" and one.get("status") == condition[0]
        ),
        {},
    )
    status, reason, message = condition
    entry = {
        "type": "Available", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": before.get("lastTransitionTime", now),
    }  # fmt: skip
    return {**api_service, "status": {**(api_service.get("status") or {}), "conditions": [*others, entry]}}


def judge_service(remote: Remote, service: Json | None, slices: Sequence[Json]) -> Condition | None:
    """What is wrong with the Service behind an APIService; None: it may be asked.

    Source: upstream kube-aggregator, pkg/controllers/status/remote.
    """
    called = f'service/{remote.service} in "{remote.namespace}"'
    if service is None:
        return "False", "ServiceNotFound", f"{called} is not present"
    spec = service.get("spec") or {}
    if spec.get("type", "ClusterIP") != "ClusterIP":
        return None
    port = next((one for one in spec.get("ports") or () if one["port"] == remote.port), None)
    if port is None:
        return "False", "ServicePortError", f"{called} is not listening on port {remote.port}"
    if not slices:
        return "False", "EndpointsNotFound", f"cannot find endpointslices for {called}"
    name = port.get("name", "")
    if not any(_has_ready(part) and _has_port(part, name) for part in slices):
        message = f'endpointslices for {called} have no addresses with port name "{name}"'
        return "False", "MissingEndpoints", message
    return None


def _has_ready(part: Json) -> bool:
    return any((one.get("conditions") or {}).get("ready", True) for one in part.get("endpoints") or ())


def _has_port(part: Json, name: str) -> bool:
    return any(one.get("name", "") == name and one.get("port") for one in part.get("ports") or ())
