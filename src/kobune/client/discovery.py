"""What an API server serves: its resources, by aggregated discovery or, from older servers, group by group."""

from collections.abc import Iterable
from typing import NamedTuple

import orjson

from kobune.api.catalogue import Resource
from kobune.api.errors import ApiError, Json
from kobune.client.client import Client, error_of
from kobune.client.transport import Answer

AGGREGATED_KIND = b'"APIGroupDiscoveryList"'
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


class ServedResource(NamedTuple):
    """One resource in one version of its group."""

    resource: Resource
    kind: str
    verbs: tuple[str, ...]


class Discovered(NamedTuple):
    """`resources`: each in its group's preferred version that has it. `failed`: group versions that did not answer."""

    resources: list[ServedResource]
    failed: list[str]


class Rediscovery:
    """Discovers again and again; a document that has not changed is not read again."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen: list[bytes] = []
        self._found = Discovered([], [])

    async def __call__(self) -> Discovered:
        """As `discover`; the same object as before when nothing has changed."""
        answers = await _ask_roots(self._client)
        bodies = [answer.body for answer in answers]
        # What older servers answer here does not tell of the resources.
        if bodies != self._seen or AGGREGATED_KIND not in bodies[0]:
            self._found = await _read_roots(self._client, answers)
            self._seen = bodies
        return self._found


async def discover(client: Client) -> Discovered:
    """Everything that is served, without subresources. Raises ApiError when the server does not answer at all."""
    return await _read_roots(client, await _ask_roots(client))


async def _ask_roots(client: Client) -> list[Answer]:
    answers = [await client.transport.request("GET", root, accept=AGGREGATED) for root in ("/api", "/apis")]
    for answer in answers:
        if answer.status >= 300:
            raise error_of(answer)
    return answers


async def _read_roots(client: Client, answers: Iterable[Answer]) -> Discovered:
    served: list[ServedResource] = []
    failed: list[str] = []
    for answer in answers:
        body = orjson.loads(answer.body)
        if body.get("kind") == "APIGroupDiscoveryList":
            for group in body["items"]:
                _read_group(group, served, failed)
        else:
            await _ask_versions(client, body, served, failed)
    return Discovered(_preferred(served), failed)


def _read_group(group: Json, served: list[ServedResource], failed: list[str]) -> None:
    name = group["metadata"].get("name", "")
    for version in group["versions"]:
        if version.get("freshness") == "Stale":
            failed.append(f"{name}/{version['version']}")
        for entry in version.get("resources") or ():
            resource = Resource(name, version["version"], entry["resource"], entry["scope"] == "Namespaced")
            kind = (entry.get("responseKind") or {}).get("kind", "")
            served.append(ServedResource(resource, kind, tuple(entry.get("verbs") or ())))


async def _ask_versions(client: Client, body: Json, served: list[ServedResource], failed: list[str]) -> None:
    """`body`: an APIVersions or an APIGroupList."""
    versions = [("", version) for version in body.get("versions") or ()]
    for group in body.get("groups") or ():
        preferred = (group.get("preferredVersion") or {}).get("version", "")
        names = sorted((each["version"] for each in group["versions"]), key=lambda name: name != preferred)
        versions += [(group["name"], name) for name in names]
    for group, version in versions:
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            listing = orjson.loads(await client.call("GET", path))
        except ApiError:
            failed.append(f"{group}/{version}" if group else version)
            continue
        for entry in listing.get("resources") or ():
            if "/" not in entry["name"]:
                resource = Resource(group, version, entry["name"], bool(entry["namespaced"]))
                served.append(ServedResource(resource, entry["kind"], tuple(entry.get("verbs") or ())))


def _preferred(served: Iterable[ServedResource]) -> list[ServedResource]:
    """Of each resource the first version: servers name the preferred one first."""
    first: dict[tuple[str, str], ServedResource] = {}
    for each in served:
        first.setdefault((each.resource.group, each.resource.plural), each)
    return list(first.values())
