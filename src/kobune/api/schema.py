"""The schemas of one Kubernetes version: the shape of every built-in kind, and of custom kinds alike."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

Json = dict[str, Any]

# The package's definitions are upstream's OpenAPI v2 ones, with references into `$defs` and nulls allowed.
_REFERENCE = "#/$defs/"
# Definitions without properties that hold anything; other property-less definitions are empty structs.
_ANYTHING = frozenset(
    {
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
    }
)
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"


class Schema:
    """One node: the shape of a value. Immutable; made on first use and shared, so its identity may key a cache.

    Attributes:
        type: "object", "array", "string", "integer", "number", "boolean", or "" where any JSON may stand.
        definition: upstream's full name of the type ("io.k8s.api.core.v1.PodSpec"), "" for an unnamed one.
        format: "int32", "int64", "double", "byte", "date-time", "quantity", "int-or-string", ….
        raw: the node as read; a CustomResourceDefinition's keywords beyond these attributes are read from it.
    """

    __slots__ = (
        "__weakref__", "_additional", "_items", "_owner", "_properties", "_shape", "definition", "format", "raw", "type",
    )  # fmt: skip

    def __init__(self, raw: Mapping[str, Any], owner: "Schemas | None" = None) -> None:
        self.raw = raw
        self._owner = owner
        self.definition = ""
        self.type = _type_of(raw)
        self.format = str(raw.get("format", ""))
        reference = raw.get("$ref")
        self._shape: Schema | None = None  # The definition that this node refers to.
        if reference is not None and owner is not None:
            self._shape = owner.definition(reference.removeprefix(_REFERENCE))
            self.definition, self.type, self.format = self._shape.definition, self._shape.type, self._shape.format
        self._properties: dict[str, Schema] | None = None
        self._items: Schema | None = None
        self._additional: Schema | None = None

    @property
    def shape(self) -> "Schema":
        """The node that says the value's shape: the definition that this one refers to, or this one."""
        return self._shape or self

    @property
    def properties(self) -> dict[str, "Schema"]:
        """The fields of an object, by name; empty for a map and for what may hold anything."""
        if self._shape is not None:
            return self._shape.properties
        if self._properties is None:
            fields = self.raw.get("properties") or {}
            self._properties = {name: Schema(field, self._owner) for name, field in fields.items()}
        return self._properties

    @property
    def items(self) -> "Schema | None":
        """The shape of an array's elements."""
        if self._shape is not None:
            return self._shape.items
        if self._items is None and isinstance(items := self.raw.get("items"), Mapping):
            self._items = Schema(items, self._owner)
        return self._items

    @property
    def additional(self) -> "Schema | None":
        """The shape of a map's values."""
        if self._shape is not None:
            return self._shape.additional
        if self._additional is None and isinstance(values := self.raw.get("additionalProperties"), Mapping):
            self._additional = Schema(values, self._owner)
        return self._additional

    @property
    def required(self) -> tuple[str, ...]:
        if self._shape is not None:
            return self._shape.required
        return tuple(self.raw.get("required") or ())

    @property
    def patch_strategy(self) -> tuple[str, ...]:
        """How a strategic merge patch treats the value: of "merge", "retainKeys", "replace"."""
        strategy = self._keyword("x-kubernetes-patch-strategy")
        return tuple(strategy.split(",")) if strategy else ()

    @property
    def merge_key(self) -> str:
        """The field that tells elements apart in a strategic merge patch; "" where elements are plain values."""
        return str(self._keyword("x-kubernetes-patch-merge-key") or "")

    @property
    def list_type(self) -> str:
        """ "atomic", "set" or "map" in server-side apply; "" is atomic."""
        return str(self._keyword("x-kubernetes-list-type") or "")

    @property
    def list_keys(self) -> tuple[str, ...]:
        return tuple(self._keyword("x-kubernetes-list-map-keys") or ())

    @property
    def map_type(self) -> str:
        """ "granular" or "atomic" in server-side apply; "" is granular."""
        return str(self._keyword("x-kubernetes-map-type") or "")

    @property
    def enum(self) -> tuple[Any, ...]:
        return tuple(self._keyword("enum") or ())

    @property
    def description(self) -> str:
        """What the field means; empty for built-in kinds unless their schemas were loaded `described`."""
        return str(self._keyword("description") or "")

    @property
    def default(self) -> Any:
        """A custom kind's default value; None when there is none."""
        return self._keyword("default")

    @property
    def nullable(self) -> bool:
        """Whether a custom kind keeps a null here."""
        return bool(self._keyword("nullable"))

    @property
    def int_or_string(self) -> bool:
        return self.format == "int-or-string" or bool(self._keyword("x-kubernetes-int-or-string"))

    @property
    def preserve_unknown(self) -> bool:
        """Whether fields that the schema does not name are kept."""
        return not self.type or bool(self._keyword("x-kubernetes-preserve-unknown-fields"))

    @property
    def embedded_resource(self) -> bool:
        """Whether the value is a whole object with apiVersion, kind and metadata."""
        return bool(self._keyword("x-kubernetes-embedded-resource"))

    def _keyword(self, word: str) -> Any:
        """What stands beside a reference says how this field is merged; the definition says the rest."""
        value = self.raw.get(word)
        return value if value is not None or self._shape is None else self._shape.raw.get(word)

    def __repr__(self) -> str:
        return f"Schema({self.definition or self.type or 'anything'})"


class Schemas:
    """The definitions of one cluster version, by name and by kind."""

    def __init__(self, version: str, *, described: bool = False) -> None:
        self.version = version
        self._described = described
        self._names: dict[tuple[str, str, str], str] = {}
        # Kept as text and parsed when asked for: a cluster uses few of some 800 definitions.
        self._texts: dict[str, bytes] = {}
        for name, definition in read_definitions(version).items():
            for gvk in definition.get("x-kubernetes-group-version-kind") or ():
                self._names[gvk["group"], gvk["version"], gvk["kind"]] = name
            self._texts[name] = orjson.dumps(definition)
        self._schemas: dict[str, Schema] = {}

    def of(self, group: str, version: str, kind: str) -> Schema:
        """The schema of a kind.

        Raises:
            KeyError: this cluster version has no such kind.
        """
        return self.definition(self._names[group, version, kind])

    def find(self, group: str, version: str, kind: str) -> Schema | None:
        name = self._names.get((group, version, kind))
        return self.definition(name) if name else None

    def definition(self, name: str) -> Schema:
        """The schema of a named type, such as "io.k8s.api.core.v1.PodSpec"."""
        schema = self._schemas.get(name)
        if schema is None:
            raw = orjson.loads(self._texts[name])
            if not self._described:
                _strip(raw)  # Descriptions are most of the text, and only OpenAPI documents show them.
            schema = Schema(raw, self)
            schema.definition = name
            if name == _QUANTITY:
                schema.type, schema.format = "string", "quantity"
            elif name == _INT_OR_STRING:
                schema.type, schema.format = "", "int-or-string"
            elif name in _ANYTHING:
                schema.type = ""
            self._schemas[name] = schema
        return schema

    def definition_name(self, group: str, version: str, kind: str) -> str:
        """The name of the type of a kind; "" when this version has no such kind."""
        return self._names.get((group, version, kind), "")

    def kinds(self) -> Iterator[tuple[str, str, str]]:
        """Group, version and name of all kinds, served or not."""
        return iter(self._names)

    def names(self) -> Iterator[str]:
        """The names of all types."""
        return iter(self._texts)


@cache
def load_schemas(cluster_version: str, *, described: bool = False) -> Schemas:
    """The schemas of a cluster version such as "1.36"; read once per process.

    Raises:
        LookupError: no schemas come for that version.
    """
    return Schemas(cluster_version, described=described)


def read_definitions(cluster_version: str) -> dict[str, Json]:
    """The definitions of a cluster version as the package holds them, read anew: about 10 ms and 8 MB."""
    major, minor, *_ = cluster_version.split(".")
    # Looked up, not imported: the package's own code would bring a validator with it.
    package = find_spec("kubernetes_validate")
    if package is None or not package.submodule_search_locations:
        raise LookupError("the package kubernetes-validate, which holds the schemas, is not installed")
    folder = Path(package.submodule_search_locations[0]) / "kubernetes-json-schema" / f"v{major}.{minor}.0-local"
    try:
        text = (folder / "_definitions.json").read_bytes()
    except FileNotFoundError as error:
        raise LookupError(f"no schemas for Kubernetes {cluster_version}") from error
    definitions: dict[str, Json] = orjson.loads(text)["$defs"]
    return definitions


def _type_of(raw: Mapping[str, Any]) -> str:
    kind = raw.get("type") or ""
    if isinstance(kind, list):  # ["string", "null"]
        kind = kind[0]
    return str(kind)


def _strip(node: Json) -> None:
    node.pop("description", None)
    for field in (node.get("properties") or {}).values():
        _strip(field)
    for child in ("items", "additionalProperties"):
        if isinstance(inner := node.get(child), dict):
            _strip(inner)
