"""What the server offers, for clients to discover: groups, versions and resources, in the classic and aggregated forms."""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import orjson

from kobune.api.catalogue import Catalogue, Group, Kind, group_priority, version_order, version_priority
from kobune.api.errors import Json
from kobune.controlplane.apiserver.aggregation.remote import Remote

JSON = "application/json"
# The aggregated forms, best first, as `;v=` of the media type names them.
AGGREGATED_VERSIONS = ("v2", "v2beta1")


class Document(NamedTuple):
    """An answer; `etag` is in quotes, ready for the header, and empty where clients need not ask again by it."""

    body: bytes
    content_type: str = JSON
    etag: str = ""


class Aggregated(Protocol):
    """The versions that others answer; `generation` counts their changes."""

    @property
    def remotes(self) -> Mapping[tuple[str, str], Remote]: ...
    @property
    def generation(self) -> int: ...


class Discovery:
    """Renders the documents from the catalogue, each once until the catalogue changes."""

    def __init__(self, catalogue: Catalogue, *, address: str, aggregated: Aggregated | None = None) -> None:
        """`address` is HOST:PORT, where clients reach this server."""
        self._catalogue = catalogue
        self._aggregated = aggregated
        self._address = address
        self._documents: dict[tuple[str, ...], Document | None] = {}
        self._generation = (-1, -1)

    def versions(self) -> Document:
        """`/api`"""
        return self._kept(("api",), self._render_versions)

    def groups(self) -> Document:
        """`/apis`"""
        return self._kept(("apis",), self._render_groups)

    def group(self, name: str) -> Document | None:
        """`/apis/GROUP`; None when there is no such group."""
        return self._find(("group", name), lambda: self._render_group(name))

    def resources(self, group: str, version: str) -> Document | None:
        """`/api/v1` and `/apis/GROUP/VERSION`; None when nothing is served there."""
        return self._find(("resources", group, version), lambda: self._render_resources(group, version))

    def aggregated(self, root: str, version: str) -> Document:
        """`/api` or `/apis` (`root` without the slash) in one of AGGREGATED_VERSIONS."""
        return self._kept(("aggregated", root, version), lambda: self._render_aggregated(root, version))

    def _kept(self, key: tuple[str, ...], render: Callable[[], Document]) -> Document:
        document = self._find(key, render)
        assert document is not None
        return document

    def _find(self, key: tuple[str, ...], render: Callable[[], Document | None]) -> Document | None:
        generation = (self._catalogue.generation, self._aggregated.generation if self._aggregated else 0)
        if self._generation != generation:
            self._documents.clear()
            self._generation = generation
        if key not in self._documents:
            document = render()
            if document is None:
                return None  # Not kept: anybody can ask for any number of groups that are not there.
            self._documents[key] = document
        return self._documents[key]

    def _render_versions(self) -> Document:
        # Upstream's legacy endpoints name no apiVersion.
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}]
        return _document({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses})

    def _render_groups(self) -> Document:
        groups = [_api_group(group) for group in self._groups()]
        return _document({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})

    def _render_group(self, name: str) -> Document | None:
        group = next((group for group in self._groups() if group.name == name), None)
        return _document({"kind": "APIGroup", "apiVersion": "v1", **_api_group(group)}) if group else None

    def _render_resources(self, group: str, version: str) -> Document | None:
        kinds = self._catalogue.of_version(group, version)
        if not kinds:
            return None
        resources = sorted((row for kind in kinds for row in _api_resources(kind)), key=lambda row: str(row["name"]))
        head: Json = {"kind": "APIResourceList"}
        if group:
            head["apiVersion"] = "v1"
        return _document({**head, "groupVersion": f"{group}/{version}" if group else version, "resources": resources})

    def _render_aggregated(self, root: str, version: str) -> Document:
        groups = (Group("", ("v1",)),) if root == "api" else self._groups()
        items = [self._group_discovery(group) for group in groups]
        api_version = f"apidiscovery.k8s.io/{version}"
        body = orjson.dumps(
            {"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items}
        )
        content_type = f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        return Document(body, content_type, f'"{hashlib.sha512(body).hexdigest().upper()}"')

    def _group_discovery(self, group: Group) -> Json:
        versions = [self._version_discovery(group.name, version) for version in group.versions]
        return {"metadata": {"name": group.name} if group.name else {}, "versions": versions}

    def _version_discovery(self, group: str, version: str) -> Json:
        remote = self._remotes.get((group, version))
        if remote is not None:
            rows = remote_resources(remote.resources)
            return {"version": version, "resources": rows, "freshness": "Current" if remote.available else "Stale"}
        rows = [_resource_discovery(kind) for kind in self._catalogue.of_version(group, version)]
        return {"version": version, "resources": rows, "freshness": "Current"}

    @property
    def _remotes(self) -> Mapping[tuple[str, str], Remote]:
        return self._aggregated.remotes if self._aggregated is not None else {}

    def _groups(self) -> Sequence[Group]:
        """Those of the catalogue and those that others answer."""
        own = self._catalogue.groups()
        remotes = self._remotes
        if not remotes:
            return own
        priorities = {group.name: group_priority(group.name) for group in own}
        versions = {group.name: [*group.versions] for group in own}
        for (name, version), remote in sorted(remotes.items(), key=lambda one: version_order(one[0][1])):
            priorities[name] = max(priorities.get(name, 0), remote.group_priority)
            if version not in versions.setdefault(name, []):
                versions[name].append(version)
        names = sorted(versions, key=lambda name: (-priorities[name], name))
        return [Group(name, tuple(self._by_priority(name, versions[name]))) for name in names]

    def _by_priority(self, group: str, versions: list[str]) -> list[str]:
        """The catalogue's own order, unless others have a say."""
        priorities = {
            one: self._remotes[group, one].version_priority for one in versions if (group, one) in self._remotes
        }
        if not priorities:
            return versions
        return sorted(
            versions, key=lambda one: (-priorities.get(one, version_priority(group, one)), version_order(one))
        )


def storage_version_hash(kind: Kind) -> str:
    """Tells clients when objects of a kind begin to be stored in another version. Source: upstream StorageVersionHash."""
    group, _, version = (kind.stored or kind.api_version).rpartition("/")
    return b64encode(hashlib.sha256(f"{group}/{version}/{kind.name}".encode()).digest()[:8]).decode()


def _document(content: Json) -> Document:
    return Document(orjson.dumps(content))


def _api_group(group: Group) -> Json:
    versions = [{"groupVersion": f"{group.name}/{version}", "version": version} for version in group.versions]
    return {"name": group.name, "versions": versions, "preferredVersion": versions[0]}


def _api_resources(kind: Kind) -> list[Json]:
    row: Json = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": kind.verbs,
    }
    if kind.short:
        row["shortNames"] = kind.short
    if kind.categories:
        row["categories"] = kind.categories
    if kind.is_kept:
        row["storageVersionHash"] = storage_version_hash(kind)
    rows = [row]
    for name in kind.subresources:
        part = kind.subresource(name)
        assert part is not None
        body = {"group": part.group, "version": part.version} if part.group else {}
        rows.append(
            {
                "name": f"{kind.plural}/{name}",
                "singularName": "",
                "namespaced": kind.namespaced,
                **body,
                "kind": part.kind or kind.name,
                "verbs": part.verbs,
            }
        )
    return rows


def _resource_discovery(kind: Kind) -> Json:
    row: Json = {
        "resource": kind.plural,
        # A group and version left empty are those of the list.
        "responseKind": {"group": "", "version": "", "kind": kind.name},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    }
    if kind.short:
        row["shortNames"] = kind.short
    if kind.categories:
        row["categories"] = kind.categories
    parts = [part for name in sorted(kind.subresources) if (part := kind.subresource(name))]
    if parts:
        row["subresources"] = [
            {
                "subresource": part.name,
                "responseKind": {"group": part.group, "version": part.version, "kind": part.kind or kind.name},
                "verbs": part.verbs,
            }
            for part in parts
        ]
    return row


def remote_resources(rows: Sequence[Json]) -> list[Json]:
    """Rows of an APIResourceList in the aggregated form."""
    found: dict[str, Json] = {}
    for row in rows:
        name, _, part = str(row["name"]).partition("/")
        kind = {"group": row.get("group", ""), "version": row.get("version", ""), "kind": row.get("kind", "")}
        if part:
            parent = found.setdefault(name, {"resource": name})
            subresource = {"subresource": part, "responseKind": kind, "verbs": row.get("verbs") or []}
            parent.setdefault("subresources", []).append(subresource)
            continue
        entry: Json = {
            "resource": name, "responseKind": kind, "scope": "Namespaced" if row.get("namespaced") else "Cluster",
            "singularResource": row.get("singularName", ""), "verbs": row.get("verbs") or [],
        }  # fmt: skip
        entry |= {field: row[field] for field in ("shortNames", "categories") if row.get(field)}
        found[name] = {**found.get(name, {}), **entry}
    return list(found.values())
