"""Values seen through their schema: which fields they set, how two differ, how one is merged into another.

Source: structured-merge-diff, typed.Compare, ToFieldSet, Merge and RemoveItems.
"""

from typing import Any, Final, NamedTuple

from kobune.api.apply.fieldset import ITSELF, MEMBER, Fields, is_member, key_element, value_element
from kobune.api.apply.shapes import (
    DEDUCED,
    ELEMENTS,
    ENTRIES,
    FIELDS,
    LEAF,
    MEMO_LIMIT,
    UNMANAGED,
    VALUES,
    Rule,
    rule_of,
    shape_of,
)
from kobune.api.copying import clone
from kobune.api.schema import Schema

MISSING: Final = object()
ZEROES = (None, "", 0, False)


class Difference(NamedTuple):
    changed: Fields  # What is new, and what was there and differs.
    removed: Fields


def written(new: Any, rule: Rule) -> Fields:
    """The fields that a new object sets: those in which it differs from an empty one."""
    return _written(new, rule)


def fields_of(value: Any, rule: Rule) -> Fields:
    """The fields that a configuration names."""
    named = dict(_named(value, rule) or MEMBER)
    if named.get("f:metadata") == MEMBER:
        del named["f:metadata"]  # The metadata themselves are nobody's.
    return named


def compare(old: Any, new: Any, rule: Rule) -> Difference:
    """How `new`, an object or a part of one, differs from `old`."""
    if old == new:
        return Difference({}, {})
    changed, removed = _compare(old, new, rule)
    return Difference(changed or {}, removed or {})


def merge(live: Any, applied: Any, schema: Schema | None) -> Any:
    """`live` with everything that `applied` says; neither is changed."""
    return merge_by(live, applied, rule_of(schema))


def merge_by(live: Any, applied: Any, rule: Rule) -> Any:
    """`live` with everything that `applied` says; neither is changed."""
    shape = shape_of(applied, rule)
    if shape == LEAF or shape_of(live, rule) != shape:
        return clone(applied)
    if shape in (FIELDS, ENTRIES):
        result = dict(live)
        for name, value in applied.items():
            below = rule.fields[name] if shape == FIELDS else rule.below
            result[name] = merge_by(live[name], value, below) if name in live else clone(value)
        return result
    merged = list(live)
    places = {element: position for position, element in enumerate(_elements(live, rule))}
    for element, value in zip(_elements(applied, rule), applied, strict=True):
        if element in places:
            merged[places[element]] = merge_by(merged[places[element]], value, rule.below)
        else:
            places[element] = len(merged)
            merged.append(clone(value))
    return merged


def remove(value: Any, gone: Fields, rule: Rule, *, kept: Fields) -> Any:
    """`value` without the paths in `gone`, and without the containers that this empties.

    Args:
        kept: paths that somebody still manages; what leads to one stays.
    """
    shape = shape_of(value, rule)
    if shape == LEAF or not gone:
        return value
    if shape in (FIELDS, ENTRIES):
        result = dict(value)
        for name, old in value.items():
            below, needed = gone.get(f"f:{name}"), kept.get(f"f:{name}")
            if below is not None:
                new = remove(old, below, rule.fields[name] if shape == FIELDS else rule.below, kept=needed or {})
                if _goes(old, new, below, needed):
                    del result[name]
                else:
                    result[name] = new
        return result
    left = []
    for element, old in zip(_elements(value, rule), value, strict=True):
        below, needed = gone.get(element), kept.get(element)
        if below is None:
            left.append(old)
            continue
        new = remove(old, below, rule.below, kept=needed or {})
        if not _goes(old, new, below, needed):
            left.append(new)
    return left


def _goes(old: Any, new: Any, gone: Fields, kept: Fields | None) -> bool:
    """Whether a value goes altogether: it was to go or has just lost its last content, and nobody manages any of it."""
    emptied = isinstance(old, dict | list) and bool(old) and not new
    return (is_member(gone) or emptied) and kept is None


def _written(new: Any, rule: Rule) -> Fields:
    """What a struct says beyond its zero value."""
    fields, held = rule.fields, rule.held
    result: Fields = {}
    for name, value in new.items():
        below = fields[name]
        if name in held:
            node = _beyond_zero(value, below)
        elif value is None or below.shape == UNMANAGED:
            continue
        else:
            node = _all(value, below) if below.shape else MEMBER
        if node is not None:
            result["f:" + name] = node
    return result


def _beyond_zero(value: Any, rule: Rule) -> Fields | None:
    """What a field says that is there even if nobody writes it."""
    shape = rule.shape
    if shape == FIELDS and isinstance(value, dict):
        return _written(value, rule) or None
    if value in ZEROES:
        return None
    if shape == LEAF:
        return None if value == {} else MEMBER
    if shape == UNMANAGED:
        return None
    node = _all(value, rule)
    return {element: below for element, below in node.items() if element != ITSELF} if len(node) > 1 else MEMBER


def _all(value: Any, rule: Rule) -> Fields:
    """Everything in a value that was not there before, down from the value itself."""
    shape = rule.shape
    if shape == FIELDS:
        if not isinstance(value, dict) or not value:
            return MEMBER
        known = rule.memo.get(sort := tuple(value))
        if known is not None:
            return known
        fields = rule.fields
        node = {ITSELF: MEMBER, **rule.always}
        flat = True
        for name, item in value.items():
            below = fields[name]
            if below.shape == LEAF:
                node["f:" + name] = MEMBER
            elif below.shape != UNMANAGED:
                flat = False
                node["f:" + name] = _all(item, below)
        if flat and len(rule.memo) < MEMO_LIMIT:
            rule.memo[sort] = node
        return node
    if shape == ENTRIES:
        if not isinstance(value, dict) or not value:
            return MEMBER
        below = rule.below
        if below.shape == LEAF:
            node = {"f:" + name: MEMBER for name in value}
        else:
            node = {"f:" + name: _all(item, below) for name, item in value.items()}
        node[ITSELF] = MEMBER
        return node
    if shape == LEAF or not value or shape_of(value, rule) == LEAF:
        return MEMBER
    node = {ITSELF: MEMBER}
    below, memo = rule.below, rule.below.memo
    for element, item in zip(_elements(value, rule), value, strict=True):
        if element in node:
            node[element] = MEMBER  # Elements with the same name are one, of which nothing more is said.
        else:
            known = memo.get(tuple(item)) if shape == ELEMENTS else None
            node[element] = known or _all(item, below)
    return node


def _named(value: Any, rule: Rule) -> Fields | None:
    """The fields that a value names; None when it names none. Only leaves, elements and entries are members."""
    shape = shape_of(value, rule)
    node: Fields = {}
    if shape == LEAF:
        # Null where a struct or a list belongs says nothing.
        return MEMBER if rule.shape == LEAF or value is not None else None
    if shape == FIELDS:
        for name, item in value.items():
            below = rule.fields[name]
            if below.shape == UNMANAGED:
                continue
            named = _named(item, below)
            if item is None or item == {}:
                named = MEMBER
            elif below is DEDUCED:
                named = _with_itself(named)
            if named is not None:
                node[f"f:{name}"] = named
        return node or None
    if shape == ENTRIES:
        for name, item in value.items():
            node[f"f:{name}"] = _with_itself(_named(item, rule.below))
        return node or None
    for element, item in zip(_elements(value, rule), value, strict=True):
        node[element] = _with_itself(_named(item, rule.below)) if element not in node else MEMBER
    return node or None


def _with_itself(node: Fields | None) -> Fields:
    return {ITSELF: MEMBER, **node} if node else MEMBER


def _compare(old: Any, new: Any, rule: Rule) -> tuple[Fields | None, Fields | None]:
    """What of two values that differ has changed, and what is gone."""
    shape = rule.shape
    if shape == FIELDS and (old is None or new is None):
        old, new = old or {}, new or {}  # The two are the same where the struct is held by value.
    if shape == UNMANAGED:
        return None, None
    if shape == LEAF or shape_of(old, rule) != shape or shape_of(new, rule) != shape or not (old or new):
        return MEMBER, None
    if shape == FIELDS:
        return _compare_fields(old, new, rule)
    if shape == ENTRIES:
        return _compare_entries(old, new, rule)
    return _compare_lists(old, new, rule)


def _compare_fields(old: Any, new: Any, rule: Rule) -> tuple[Fields | None, Fields | None]:
    fields, held = rule.fields, rule.held
    changed: Fields = {}
    removed: Fields = {}
    for name, now in new.items():
        was = old.get(name, MISSING)
        if was is now or was == now:
            continue
        below = fields[name]
        gone: Fields | None = None
        if was is MISSING:
            if name in held:
                node = _beyond_zero(now, below)
            elif now is None or below.shape == UNMANAGED:
                continue
            else:
                node = _all(now, below) if below.shape else MEMBER
        elif below.shape == LEAF:
            node = MEMBER
        else:
            node, gone = _compare(was, now, below)
        if node is not None:
            changed["f:" + name] = node
        if gone is not None:
            removed["f:" + name] = gone
    for name, was in old.items():
        if name in new:
            continue
        below = fields[name]
        if name in held:
            node = _beyond_zero(was, below)
        elif was is None or below.shape == UNMANAGED:
            continue
        else:
            node = _all(was, below)
        if node is not None:
            removed["f:" + name] = node
    return changed or None, removed or None


def _compare_entries(old: Any, new: Any, rule: Rule) -> tuple[Fields | None, Fields | None]:
    return _compare_named(old, new, rule.below, "f:")


def _compare_named(old: Any, new: Any, below: Rule, prefix: str) -> tuple[Fields | None, Fields | None]:
    """The entries of maps, or the elements of lists by their names."""
    changed: Fields = {}
    removed: Fields = {}
    for name, now in new.items():
        was = old.get(name, MISSING)
        if was == now:
            continue
        node, gone = (_all(now, below), None) if was is MISSING else _compare(was, now, below)
        if node is not None:
            changed[prefix + name] = node
        if gone is not None:
            removed[prefix + name] = gone
    for name, was in old.items():
        if name not in new:
            removed[prefix + name] = _all(was, below)
    return changed or None, removed or None


def _compare_lists(old: Any, new: Any, rule: Rule) -> tuple[Fields | None, Fields | None]:
    names_before, names_after = _elements(old, rule), _elements(new, rule)
    by_name_before, by_name_after = dict(zip(names_before, old, strict=True)), dict(zip(names_after, new, strict=True))
    if len(by_name_before) == len(old) and len(by_name_after) == len(new):
        return _compare_named(by_name_before, by_name_after, rule.below, "")
    changed: Fields = {}
    removed: Fields = {}
    before, after = _by_element(names_before, old), _by_element(names_after, new)
    for element, now in after.items():
        was = before.get(element)
        if was == now:
            continue
        if was is None:
            changed[element] = _all(now[0], rule.below) if len(now) == 1 else MEMBER
        elif len(was) == 1 and len(now) == 1:
            node, gone = _compare(was[0], now[0], rule.below)
            if node is not None:
                changed[element] = node
            if gone is not None:
                removed[element] = gone
        elif len(was) > 1 and len(now) > 1:
            changed[element] = MEMBER
        elif len(was) > 1:
            changed[element], removed[element] = _all(now[0], rule.below), MEMBER
        else:
            changed[element], removed[element] = MEMBER, _all(was[0], rule.below)
    for element, was in before.items():
        if element not in after:
            removed[element] = _all(was[0], rule.below) if len(was) == 1 else MEMBER
    return changed or None, removed or None


def _by_element(names: list[str], value: list[Any]) -> dict[str, list[Any]]:
    """The elements of a list by their names, which may repeat."""
    result: dict[str, list[Any]] = {}
    for element, item in zip(names, value, strict=True):
        result.setdefault(element, []).append(item)
    return result


def _element(rule: Rule, value: Any) -> str:
    """The name of the element with this value for the list's one key; names are few, and remembered."""
    name = rule.elements.get(value) if isinstance(value, str) else None
    if name is None:
        name = key_element(rule.keys, (value,))
        if isinstance(value, str) and len(rule.elements) < MEMO_LIMIT:
            rule.elements[value] = name
    return name


def _elements(value: list[Any], rule: Rule) -> list[str]:
    """The name of each element of a list."""
    if rule.shape == VALUES:
        return [value_element(one) for one in value]
    assert rule.shape == ELEMENTS
    keys = rule.keys
    if len(keys) == 1:
        key, default = keys[0], rule.defaults[0]
        return [_element(rule, one.get(key, default)) for one in value]
    return [
        key_element(keys, tuple(one.get(key, default) for key, default in zip(keys, rule.defaults, strict=True)))
        for one in value
    ]
