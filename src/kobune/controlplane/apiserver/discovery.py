"""What the server offers, for clients to discover: groups, versions and resources, in the classic and aggregated forms."""

import hashlib
from base64 import b64encode
from collections.abc import Callable
from typing import NamedTuple

import orjson

from kobune.api.catalogue import Catalogue, Group, Kind
from kobune.api.errors import Json

JSON = "application/json"
# The aggregated forms, best first, as `;v=` of the media type names them.
AGGREGATED_VERSIONS = ("v2", "v2beta1")


class Document(NamedTuple):
    """An answer; `etag` is in quotes, ready for the header, and empty where clients need not ask again by it."""

    body: bytes
    content_type: str = JSON
    etag: str = ""


class Discovery:
    """Renders the documents from the catalogue, each once until the catalogue changes."""

    def __init__(self, catalogue: Catalogue, *, address: str) -> None:
        """`address` is HOST:PORT, where clients reach this server."""
        self._catalogue = catalogue
        self._address = address
        self._documents: dict[tuple[str, ...], Document | None] = {}
        self._generation = -1

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
        if self._generation != self._catalogue.generation:
            self._documents.clear()
            self._generation = self._catalogue.generation
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
        groups = [_api_group(group) for group in self._catalogue.groups()]
        return _document({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})

    def _render_group(self, name: str) -> Document | None:
        group = next((group for group in self._catalogue.groups() if group.name == name), None)
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
        groups = (Group("", ("v1",)),) if root == "api" else self._catalogue.groups()
        items = [self._group_discovery(group) for group in groups]
        api_version = f"apidiscovery.k8s.io/{version}"
        body = orjson.dumps(
            {"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items}
        )
        content_type = f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        return Document(body, content_type, f'"{hashlib.sha512(body).hexdigest().upper()}"')

    def _group_discovery(self, group: Group) -> Json:
        versions = [
            {
                "version": version,
                "resources": [_resource_discovery(kind) for kind in self._catalogue.of_version(group.name, version)],
                "freshness": "Current",
            }
            for version in group.versions
        ]
        return {"metadata": {"name": group.name} if group.name else {}, "versions": versions}


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
