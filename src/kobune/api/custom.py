"""What a CustomResourceDefinition adds to the catalogue: one row for each version it serves, and its parts."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kobune.api.errors import Json
from kobune.api.jsonpath import JsonPath, parse_path
from kobune.api.kinds import Kind


class ScalePaths(NamedTuple):
    """Where a custom object keeps what its scale subresource shows."""

    wanted: JsonPath
    current: JsonPath
    selector: JsonPath | None


def storage_version_of(definition: Json) -> str:
    """The name of the version that objects are stored in."""
    versions: list[Json] = definition["spec"]["versions"]
    return str(next(version["name"] for version in versions if version.get("storage")))


def scale_paths(version: Json) -> ScalePaths | None:
    """The paths of a version's scale subresource, if it has one.

    Raises:
        ValueError: a path cannot be read.
    """
    scale = (version.get("subresources") or {}).get("scale")
    if scale is None:
        return None
    selector = scale.get("labelSelectorPath")
    return ScalePaths(
        parse_path(scale["specReplicasPath"]),
        parse_path(scale["statusReplicasPath"]),
        parse_path(selector) if selector else None,
    )


def field_text(label: str, obj: Json) -> str:
    """What a selectable field holds, as selectors write it; empty when it is not there."""
    found = parse_path(f".{label}").find(obj)
    return _text(found[0]) if found else ""


def row_of(definition: Json, version: Json) -> Kind:
    """The row of one version, served or not."""
    spec = definition["spec"]
    group, accepted = spec["group"], (definition.get("status") or {}).get("acceptedNames") or {}
    names: Mapping[str, Any] = accepted if accepted.get("kind") else spec["names"]
    kind, stored = names["kind"], f"{group}/{storage_version_of(definition)}"
    parts = version.get("subresources") or {}
    singular, listed = names.get("singular", ""), names.get("listKind", "")
    return Kind(
        group,
        version["name"],
        kind,
        names["plural"],
        tuple(names.get("shortNames") or ()),
        namespaced=spec["scope"] == "Namespaced",
        subresources=tuple(part for part in ("status", "scale") if part in parts),
        categories=tuple(names.get("categories") or ()),
        storage=f"{group}/{names['plural']}",
        selectable=_selectable(version),
        stored="" if stored == f"{group}/{version['name']}" else stored,
        custom=True,
        given_singular="" if singular == kind.lower() else singular,
        given_list="" if listed == f"{kind}List" else listed,
    )


def _selectable(version: Json) -> tuple[str, ...]:
    return tuple(field["jsonPath"].removeprefix(".") for field in version.get("selectableFields") or ())


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
