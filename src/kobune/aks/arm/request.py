"""A request to ARM and its answer, free of HTTP's details; and the clients' ways with ids and locations."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from kobune.aks.arm.errors import ArmError
from kobune.api.errors import Json

BODY_LIMIT = 4 * 1024 * 1024  # ARM's own limit of a request body, in bytes.
OLDEST_API_VERSION, NEWEST_API_VERSION = "2014-04-01", "2027-12-31"
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_API_VERSION = re.compile(r"(\d{4}-\d{2}-\d{2})(-preview|-privatepreview|-beta|-alpha)?")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, as the token says."""

    object_id: str
    app_id: str = ""
    groups: tuple[str, ...] = ()  # Object ids of the groups it belongs to.
    person: str = ""  # A person's user principal name.

    @classmethod
    def of(cls, claims: Json) -> "Caller":
        """Whom the claims of a good token name."""
        groups = tuple(map(str, claims.get("groups") or ()))
        return cls(str(claims.get("oid", "")), str(claims.get("appid", "")), groups, str(claims.get("upn", "")))

    @property
    def name(self) -> str:
        """As logs name it: a person by the user principal name, an application by its id."""
        return self.person or self.app_id or self.object_id

    @property
    def principals(self) -> frozenset[str]:
        """Whose role assignments count."""
        return frozenset(name.lower() for name in (self.object_id, *self.groups) if name)


@dataclass(frozen=True, slots=True)
class ArmRequest:
    """One request whose path has been matched and whose token has been checked."""

    method: str
    path: str
    parameters: Mapping[str, str]  # The path's variable segments, as the client wrote them.
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # Names in lower case.
    body: bytes = b""
    base: str = "https://localhost"  # Scheme, host and port under which the client sees the service.
    caller: Caller = Caller("")

    def json(self) -> Json:
        """The body as an object; an empty body is an empty one. Raises ArmError."""
        if not self.body.strip():
            return {}
        try:
            document = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise ArmError(
                400,
                "InvalidRequestContent",
                f"The request content was invalid and could not be deserialized: '{error}'.",
            ) from error
        if not isinstance(document, dict):
            raise ArmError(400, "InvalidRequestContent", "The request content was invalid: it is not a JSON object.")
        return document


@dataclass(frozen=True, slots=True)
class ArmAnswer:
    status: int
    body: Json | list[Json] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    page: str = ""  # HTML, in the place of a body.


def check_api_version(version: str | None) -> str:
    """The api-version, provided it is one. Clients' versions move monthly, so any date in range is served.

    Raises:
        ArmError: none was sent, or it is none that ever was.
    """
    if not version:
        raise ArmError(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    found = _API_VERSION.fullmatch(version)
    if not found or not OLDEST_API_VERSION <= found[1] <= NEWEST_API_VERSION:
        raise ArmError(
            400,
            "InvalidApiVersionParameter",
            f"The api-version '{version}' is invalid. The supported versions are dates from {OLDEST_API_VERSION} to "
            f"{NEWEST_API_VERSION}, with or without '-preview'.",
        )
    return version


def normal_location(location: str) -> str:
    """`westeurope` for "West Europe"."""
    return location.replace(" ", "").lower()


def check_precondition(headers: Mapping[str, str], etag: str | None) -> None:
    """Raise ArmError unless the request's If-Match and If-None-Match hold; `etag` is None when there is no resource."""
    wanted, unwanted = headers.get("if-match", "").strip(), headers.get("if-none-match", "").strip()
    failed = False
    if wanted:
        failed = etag is None or (wanted != "*" and wanted.strip('"') != etag)
    if unwanted and etag is not None:
        failed = failed or unwanted == "*" or unwanted.strip('"') == etag
    if failed:
        raise ArmError(
            412,
            "PreconditionFailed",
            "The precondition given in the request headers (If-Match or If-None-Match) is not met: "
            f"the resource's etag is '{etag or ''}'.",
        )
