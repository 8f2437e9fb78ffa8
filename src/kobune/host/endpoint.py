"""How the ARM endpoint is served and reached; light, for commands that only look."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from kobune.aks.arm.throttling import DEFAULT_FACTOR
from kobune.host.layout import Layout

DEFAULT_ADDRESS, DEFAULT_PORT = "127.0.0.1", 8443
DEFAULT_CORES_QUOTA = 20_000


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """How the endpoint is to be served."""

    address: str = DEFAULT_ADDRESS
    port: int | None = None  # None: the one it had, else the default one, else any free one; 0: any.
    simulated: bool = False  # New pools get nodes without containers unless a tag says otherwise.
    cores_quota: int = DEFAULT_CORES_QUOTA  # Of each VM family in a region.
    throttle: float = DEFAULT_FACTOR  # Times Azure's own limits of requests; 0: none.


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How clients reach the endpoint; kept in a file for the command line."""

    url: str
    tenant: str
    subscription: str
    client_id: str
    client_secret: str
    authority: str  # File with the endpoint's own certificate authority.
    bundle: str  # File with it and the public ones, for clients that take one file.


def endpoint_file(layout: Layout) -> Path:
    return layout.root / "arm" / "endpoint.json"


def read_endpoint(layout: Layout) -> Endpoint | None:
    """How to reach the endpoint; None before it was first served."""
    try:
        return msgspec.json.decode(endpoint_file(layout).read_bytes(), type=Endpoint)
    except FileNotFoundError:
        return None
