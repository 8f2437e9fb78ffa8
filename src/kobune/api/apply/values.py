"""Values seen through their schema: which fields they set, how two differ, how one is merged into another."""

from collections.abc import Iterable
from enum import Enum
from typing import Any, Final, NamedTuple, cast

from kobune.api.apply.fieldset import EMPTY, FieldSet, key_element, value_element
from kobune.api.copying import clone
from kobune.api.schema import Schema

# What a list's key counts as where the element does not have it. Source: the `+default` markers of container and service
# ports, the only ones on list keys.
KEY_DEFAULTS = {"protocol": "TCP"}
MISSING: Final = object()


class Shape(Enum):
    LEAF = "leaf"  # One manager has all of it.
    FIELDS = "fields"  # A struct: its fields have managers.
    ENTRIES = "entries"  # A map: its entries have managers, and each entry is one itself.
    ELEMENTS = "elements"  # A list by keys.
    VALUES = "values"  # A list that is a set.


class Difference(NamedTuple):
    added: FieldSet
    modified: FieldSet
    removed: FieldSet

    @property
    def is_empty(self) -> bool:
        return self.added.is_empty and self.modified.is_empty and self.removed.is_empty


def fields_of(value: Any, schema: Schema | None) -> FieldSet:
    """The fields that a value sets."""
    result = FieldSet()
    _collect(value, schema, result)
    return result


def compare(old: Any, new: Any, schema: Schema | None) -> Difference:
    """What is in `new` and not in `old`, what is in both and differs, what is gone."""
    difference = Difference(FieldSet(), FieldSet(), FieldSet())
    _compare(old, new, schema, (), difference)
    for part in difference:
        part.member = False  # The object itself is nobody's field.
    return difference


def merge(live: Any, applied: Any, schema: Schema | None) -> Any:
    """`live` with everything that `applied` says; neither is changed."""
    shape = shape_of(applied, schema)
    if shape is Shape.LEAF or shape_of(live, schema) is not shape:
        return clone(applied)
    if shape in (Shape.FIELDS, Shape.ENTRIES):
        result = dict(live)
        for name, value in applied.items():
            below = _field(schema, name)
            result[name] = merge(live[name], value, below) if name in live else clone(value)
        return result
    below = schema.items if schema is not None else None
    merged = list(live)
    places = {element: position for position, element in enumerate(_elements(live, schema, shape))}
    for element, value in zip(_elements(applied, schema, shape), applied, strict=True):
        if element in places:
            merged[places[element]] = merge(merged[places[element]], value, below)
        else:
            places[element] = len(merged)
            merged.append(clone(value))
    return merged


def remove(value: Any, gone: FieldSet, schema: Schema | None, *, kept: FieldSet) -> Any:
    """`value` without the paths in `gone`, and without the containers that this empties.

    Args:
        kept: paths that somebody still manages; what leads to one stays.
    """
    shape = shape_of(value, schema)
    if shape is Shape.LEAF or not gone.children:
        return value
    if shape in (Shape.FIELDS, Shape.ENTRIES):
        result = dict(value)
        for name, old in value.items():
            element = f"f:{name}"
            if element in gone.children:
                below, needed = gone.children[element], kept.children.get(element, EMPTY)
                new = remove(old, below, _field(schema, name), kept=needed)
                if _goes(old, new, below, needed):
                    del result[name]
                else:
                    result[name] = new
        return result
    items, left = (schema.items if schema is not None else None), []
    for element, old in zip(_elements(value, schema, shape), value, strict=True):
        if element not in gone.children:
            left.append(old)
            continue
        below, needed = gone.children[element], kept.children.get(element, EMPTY)
        new = remove(old, below, items, kept=needed)
        if not _goes(old, new, below, needed):
            left.append(new)
    return left


def shape_of(value: Any, schema: Schema | None) -> Shape:
    """How the parts of a value are managed."""
    if isinstance(value, dict):
        if schema is None or schema.map_type == "atomic" or schema.int_or_string:
            return Shape.LEAF
        if not schema.type:
            kept = bool(schema.raw.get("x-kubernetes-preserve-unknown-fields"))
            return Shape.ENTRIES if kept else Shape.LEAF
        return Shape.ENTRIES if schema.additional is not None else Shape.FIELDS
    if isinstance(value, list) and schema is not None:
        if schema.list_type == "map":
            return Shape.ELEMENTS if all(isinstance(one, dict) for one in value) else Shape.LEAF
        if schema.list_type == "set":
            return Shape.VALUES
    return Shape.LEAF


def _goes(old: Any, new: Any, gone: FieldSet, kept: FieldSet) -> bool:
    """Whether a value goes altogether: it was to go or has just lost its last content, and nobody manages any of it."""
    emptied = isinstance(old, dict | list) and bool(old) and not new
    return (gone.member or emptied) and kept.is_empty


def _collect(value: Any, schema: Schema | None, node: FieldSet) -> None:
    shape = shape_of(value, schema)
    if shape is Shape.LEAF:
        node.member = True
    elif shape in (Shape.FIELDS, Shape.ENTRIES):
        for name, item in value.items():
            child = node.child(f"f:{name}")
            _collect(item, _field(schema, name), child)
            if shape is Shape.ENTRIES or item == {}:
                child.member = True
    else:
        below = schema.items if schema is not None else None
        for element, item in zip(_elements(value, schema, shape), value, strict=True):
            child = node.child(element)
            if shape is Shape.ELEMENTS:
                _collect(item, below, child)
            child.member = True


def _compare(old: Any, new: Any, schema: Schema | None, path: tuple[str, ...], difference: Difference) -> None:
    present = old if new is MISSING else new
    shape = shape_of(present, schema)
    if old is not MISSING and new is not MISSING:
        if old == new:
            return
        if shape_of(old, schema) is not shape:
            shape = Shape.LEAF
        if shape is Shape.LEAF:
            difference.modified.insert(path)
            return
    else:
        (difference.added if old is MISSING else difference.removed).insert(path)
        if shape is Shape.LEAF:
            return
    if shape in (Shape.FIELDS, Shape.ENTRIES):
        before, after = ({} if one is MISSING else one for one in (old, new))
        for name in {**before, **after}:
            was, now = before.get(name, MISSING), after.get(name, MISSING)
            _compare(was, now, _field(schema, name), (*path, f"f:{name}"), difference)
        return
    below = schema.items if schema is not None else None
    before = {} if old is MISSING else dict(zip(_elements(old, schema, shape), old, strict=True))
    after = {} if new is MISSING else dict(zip(_elements(new, schema, shape), new, strict=True))
    for element in {**before, **after}:
        _compare(before.get(element, MISSING), after.get(element, MISSING), below, (*path, element), difference)


def _elements(value: Iterable[Any], schema: Schema | None, shape: Shape) -> list[str]:
    """The name of each element of a list."""
    if shape is Shape.VALUES or schema is None:
        return [value_element(one) for one in value]
    keys = schema.list_keys
    return [key_element({key: one.get(key, _key_default(schema, key)) for key in keys}) for one in value]


def _key_default(schema: Schema, key: str) -> Any:
    field = schema.items.properties.get(key) if schema.items is not None else None
    return field.default if field is not None and field.default is not None else KEY_DEFAULTS.get(key)


def _field(schema: Schema | None, name: str) -> Schema | None:
    if schema is None:
        return None
    if name == "metadata" and (own := getattr(schema, "metadata", None)) is not None:
        return cast(Schema, own)  # The schema of a custom kind leaves metadata out, but knows it.
    return schema.properties.get(name) or schema.additional
