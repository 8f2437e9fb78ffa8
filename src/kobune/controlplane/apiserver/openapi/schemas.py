"""The types of an OpenAPI document, from the schemas as they are kept."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.api.schema import Schemas

_KEPT_REFERENCE = "#/$defs/"
REFERENCE = {2: "#/definitions/", 3: "#/components/schemas/"}
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
OBJECT_META, LIST_META = f"{_META}.ObjectMeta", f"{_META}.ListMeta"
DELETE_OPTIONS, PATCH, STATUS = f"{_META}.DeleteOptions", f"{_META}.Patch", f"{_META}.Status"
# Upstream's own forms of the two types whose values are of either of two JSON types.
_EITHER: Mapping[tuple[int, str], Json] = {
    (2, "io.k8s.apimachinery.pkg.api.resource.Quantity"): {"type": "string"},
    (3, "io.k8s.apimachinery.pkg.api.resource.Quantity"): {"oneOf": [{"type": "string"}, {"type": "number"}]},
    (2, "io.k8s.apimachinery.pkg.util.intstr.IntOrString"): {"type": "string", "format": "int-or-string"},
    (3, "io.k8s.apimachinery.pkg.util.intstr.IntOrString"): {
        "format": "int-or-string",
        "oneOf": [{"type": "integer"}, {"type": "string"}],
    },
}
# Keywords of custom schemas that OpenAPI v2 does not have.
_ONLY_IN_3 = ("oneOf", "anyOf", "allOf", "not", "nullable")
_ABOUT_OBJECTS = ("apiVersion", "kind")
_OBJECT, _LIST = "io.k8s.api.core.v1.ConfigMap", "io.k8s.api.core.v1.ConfigMapList"  # What they say, all objects say.


def builtin_types(schemas: Schemas, roots: Iterable[str], form: int) -> dict[str, Json]:
    """The definitions named by `roots` and all that they refer to, by name.

    Args:
        schemas: loaded with descriptions.
        form: 2 or 3, the version of OpenAPI.
    """
    types: dict[str, Json] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in types:
            continue
        raw = schemas.definition(name).raw
        types[name] = _EITHER.get((form, name)) or rendered(raw, form, top=True)
        waiting.extend(_references(raw))
    return dict(sorted(types.items()))


def rendered(raw: Mapping[str, Any], form: int, *, top: bool = False) -> Json:
    """One node in OpenAPI's form; `raw` is as the schemas or a CustomResourceDefinition hold it."""
    node: Json = {}
    is_kind = top and "x-kubernetes-group-version-kind" in raw
    for word, value in raw.items():
        match word:
            case "$ref":
                reference = REFERENCE[form] + value.removeprefix(_KEPT_REFERENCE)
                if form == 3 and len(raw) > 1:  # In v3 nothing may stand beside a reference.
                    node["allOf"] = [{"$ref": reference}]
                else:
                    node["$ref"] = reference
            case "type":
                node["type"] = value[0] if isinstance(value, list) else value
            case "properties":
                node["properties"] = {name: rendered(field, form) for name, field in value.items()}
                for name in _ABOUT_OBJECTS if is_kind else ():
                    node["properties"].get(name, {}).pop("enum", None)
            case "items" | "additionalProperties" if isinstance(value, Mapping):
                node[word] = rendered(value, form)
            case _ if form == 2 and word in _ONLY_IN_3:
                continue
            case _:
                node[word] = value
    return node


def custom_types(schemas: Schemas, kind: Kind, schema: Mapping[str, Any], form: int) -> dict[str, Json]:
    """The types of a custom kind and of its list, by name.

    Args:
        schemas: loaded with descriptions; what they say of every object is said of these too.
        schema: the definition's openAPIV3Schema.
    """
    told = schemas.definition(STATUS).raw["properties"]
    about = {name: {"type": "string", "description": told[name]["description"]} for name in _ABOUT_OBJECTS}
    node = rendered(schema, form)
    if form == 2 and schema.get("x-kubernetes-preserve-unknown-fields"):
        node = {"type": "object"}  # v2 clients refuse what such a schema leaves open.
    node["type"] = "object"
    metadata, list_metadata = (
        rendered(schemas.definition(like).raw["properties"]["metadata"], form) for like in (_OBJECT, _LIST)
    )
    node["properties"] = {**(node.get("properties") or {}), **about, "metadata": metadata}
    name = custom_name(kind)
    listed: Json = {
        "type": "object",
        "description": f"{kind.list_name} is a list of {kind.name}",
        "required": ["items"],
        "properties": {
            **about,
            "items": {"type": "array", "items": {"$ref": REFERENCE[form] + name}},
            "metadata": list_metadata,
        },
    }
    for one, what in ((node, kind.name), (listed, kind.list_name)):
        one["x-kubernetes-group-version-kind"] = [{"group": kind.group, "version": kind.version, "kind": what}]
    return {name: node, f"{name.rpartition('.')[0]}.{kind.list_name}": listed}


def custom_name(kind: Kind) -> str:
    """`com.example.v1.Ship` for kind Ship of example.com/v1."""
    return ".".join([*reversed(kind.group.split(".")), kind.version, kind.name])


def _references(node: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in node:
        yield str(node["$ref"]).removeprefix(_KEPT_REFERENCE)
    for field in (node.get("properties") or {}).values():
        yield from _references(field)
    for child in (node.get("items"), node.get("additionalProperties")):
        if isinstance(child, Mapping):
            yield from _references(child)
