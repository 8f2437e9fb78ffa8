"""OpenAPI documents: `/openapi/v2` in one piece, `/openapi/v3` as an index and one document for each group version."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from kobune.api.catalogue import Catalogue, Kind
from kobune.api.errors import Json
from kobune.api.schema import Schemas
from kobune.controlplane.apiserver.discovery import Document
from kobune.controlplane.apiserver.openapi.merging import Description, merged
from kobune.controlplane.apiserver.openapi.paths import PathRenderer, TypeNames
from kobune.controlplane.apiserver.openapi.schemas import (
    DELETE_OPTIONS,
    LIST_META,
    OBJECT_META,
    PATCH,
    STATUS,
    builtin_types,
    custom_name,
    custom_types,
)

# Clients keep a document as long as its hash stays: count up when the rendering changes.
_RENDERING = 1
_SECURITY = {
    "BearerToken": {
        "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header",
    }
}  # fmt: skip
_ALWAYS = (DELETE_OPTIONS, LIST_META, OBJECT_META, PATCH, STATUS)

# The schema of a kind that is not built in, as an openAPIV3Schema; None for a built-in kind, and when it has none.
CustomSchema = Callable[[Kind], Mapping[str, Any] | None]


class OpenApi:
    """Renders the documents when they are asked for, each once until the catalogue changes.

    Args:
        cluster_version: "1.36".
        custom: the schemas of kinds that are not built in; when one changes, so must `catalogue.generation`.
    """

    def __init__(self, catalogue: Catalogue, cluster_version: str, *, custom: CustomSchema = lambda kind: None) -> None:
        self._catalogue = catalogue
        self._version = cluster_version
        self._custom = custom
        self._documents: dict[str, Document] = {}
        self._generation = -1
        self._merged: tuple[tuple[Document, tuple[Description, ...]], Document] | None = None

    def v2(self, others: Sequence[Description] = ()) -> Document:
        """`/openapi/v2`, as JSON, with what other servers describe."""
        own = self._kept("v2", lambda: self._swagger(list(self._catalogue)))
        if not others:
            return own
        told = (own, tuple(others))
        if self._merged is None or self._merged[0] != told:
            self._merged = told, _document(merged(orjson.loads(own.body), others))
        return self._merged[1]

    def index(self) -> Document:
        """`/openapi/v3`: the path of each document, with a hash of its content."""
        return self._kept("v3", self._render_index)

    def v3(self, path: str) -> Document | None:
        """The document of `api/v1` or `apis/GROUP/VERSION`; None when nothing is served there."""
        kinds = self._of_path(path)
        return self._kept(path, lambda: self._openapi3(kinds)) if kinds else None

    def hash_of(self, path: str) -> str:
        """The content hash of a v3 document, without rendering it; a request that names it may be cached for ever."""
        about = [(repr(kind), self._custom(kind), _RENDERING, self._version) for kind in self._of_path(path)]
        return hashlib.sha512(orjson.dumps(about)).hexdigest().upper()

    def _kept(self, key: str, render: Callable[[], Json]) -> Document:
        if self._generation != self._catalogue.generation:
            self._documents.clear()
            self._generation = self._catalogue.generation
        document = self._documents.get(key)
        if document is None:
            document = self._documents[key] = _document(render())
        return document

    def _of_path(self, path: str) -> list[Kind]:
        match path.split("/"):
            case ["api", version]:
                return self._catalogue.of_version("", version)
            case ["apis", group, version] if group:
                return self._catalogue.of_version(group, version)
        return []

    def _render_index(self) -> Json:
        paths = [
            "api/v1",
            *(f"apis/{group.name}/{version}" for group in self._catalogue.groups() for version in group.versions),
        ]
        return {
            "paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self.hash_of(path)}"} for path in paths}
        }

    def _info(self) -> Json:
        return {"title": "Kubernetes", "version": f"v{self._version}.0"}

    def _swagger(self, kinds: list[Kind]) -> Json:
        types, paths = self._content(kinds, 2)
        return {
            "swagger": "2.0", "info": self._info(), "paths": paths, "definitions": types,
            "securityDefinitions": _SECURITY, "security": [{"BearerToken": []}],
        }  # fmt: skip

    def _openapi3(self, kinds: list[Kind]) -> Json:
        types, paths = self._content(kinds, 3)
        components = {"schemas": types, "securitySchemes": _SECURITY}
        return {"openapi": "3.0.0", "info": self._info(), "paths": paths, "components": components}

    def _content(self, kinds: Iterable[Kind], form: int) -> tuple[dict[str, Json], dict[str, Json]]:
        # Read anew for each document: with descriptions the schemas take megabytes, and clients keep what they get.
        schemas = Schemas(self._version, described=True)
        roots, custom, names = set(_ALWAYS), dict[str, Json](), dict[tuple[str, str, str], str]()
        for kind in kinds:
            given = self._custom(kind)
            own_types = kind.custom or given is not None
            for group, version, name in _bodies(kind):
                if not own_types or group != kind.group:
                    names[group, version, name] = schemas.definition_name(group, version, name)
            if own_types:
                own = custom_types(schemas, kind, given or {"type": "object"}, form)
                custom.update(own)
                names[kind.group, kind.version, kind.name] = custom_name(kind)
                names[kind.group, kind.version, kind.list_name] = list(own)[1]
        roots |= {name for name in names.values() if name and name not in custom}
        types = builtin_types(schemas, roots, form) | custom
        renderer = PathRenderer(form, TypeNames(names))
        paths: dict[str, Json] = {}
        for kind in kinds:
            paths |= renderer.paths(kind)
        return types, dict(sorted(paths.items()))


def _document(content: Json) -> Document:
    body = orjson.dumps(content)
    return Document(body, etag=f'"{hashlib.sha512(body).hexdigest().upper()}"')


def _bodies(kind: Kind) -> Iterable[tuple[str, str, str]]:
    """Every kind of body that a kind's operations send or answer with."""
    yield kind.group, kind.version, kind.name
    if "list" in kind.verbs:
        yield kind.group, kind.version, kind.list_name
    for name in kind.subresources:
        part = kind.subresource(name)
        if part is not None and part.kind and not part.kind.endswith("Options"):
            yield (part.group, part.version, part.kind) if part.group else (kind.group, kind.version, part.kind)
