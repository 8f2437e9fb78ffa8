"""JSON Patch: RFC 6902 with the small deviations of upstream's library.

Indices may be negative and count from the end; an operation on the whole document does not apply; testing a missing
field against null succeeds. Source: evanphx/json-patch v4, as the API server uses it.
"""

import re
from collections.abc import Callable
from typing import Any

import orjson

from kobune.api.copying import clone
from kobune.api.errors import ApiError, BadRequest, Invalid, Json, RequestEntityTooLarge

MAX_OPERATIONS = 10_000  # Source: upstream endpoints/handlers/patch.go, maxJSONPatchOperations.
# By all copies of a patch. Source: upstream server/config.go, JSONPatchMaxCopyBytes.
MAX_COPIED_BYTES = 3 * 1024 * 1024
COPIED_TOO_MUCH = (
    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {limit}"
)
FIELDS = ("op", "path", "from", "value")

# What the client is told when a patch does not apply; upstream keeps the reason to itself.
REFUSED = "the server rejected our request due to an error in our request"

_MISSING: Any = object()
_INDEX = re.compile(r"[+-]?[0-9]+", re.ASCII)


def apply(document: Json, patch: Any) -> Json:
    """The document with every operation applied in order; neither argument changes.

    Args:
        patch: the decoded body, which should be a list of operations.
    Raises:
        BadRequest: not a list of objects.
        RequestEntityTooLarge: more than `MAX_OPERATIONS`.
        Invalid: an operation does not apply; the exception's cause says why.
    """
    if not isinstance(patch, list):
        raise BadRequest(f"json: cannot unmarshal {_type_name(patch)} into Go value of type jsonpatch.Patch")
    for operation in patch:
        if not isinstance(operation, dict):
            raise BadRequest(
                f"json: cannot unmarshal {_type_name(operation)} into Go value of type jsonpatch.Operation"
            )
    if len(patch) > MAX_OPERATIONS:
        raise RequestEntityTooLarge(
            f"Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        )
    result: Json = clone(document)
    copied = 0
    for operation in patch:
        try:
            kind = operation.get("op")
            if kind == "copy":
                copied += _size_of_copy(result, operation)
                if copied > MAX_COPIED_BYTES:
                    raise _DoesNotApply(COPIED_TOO_MUCH.format(copied=copied, limit=MAX_COPIED_BYTES))
            if not isinstance(kind, str) or kind not in _KINDS:
                raise _DoesNotApply(f"Unexpected kind: {kind if isinstance(kind, str) else 'unknown'}")
            _KINDS[kind](result, operation)
        except _DoesNotApply as reason:
            raise Invalid(REFUSED) from reason
    return result


def unknown_fields(patch: list[Any]) -> list[str]:
    """The paths of fields that no operation has, as `[0].valeu`."""
    return [
        f"[{index}].{field}"
        for index, operation in enumerate(patch)
        if isinstance(operation, dict)
        for field in operation
        if field not in FIELDS
    ]


class _DoesNotApply(ApiError):
    """Why; chained to the error that the client sees."""


def _add(document: Json, operation: Json) -> None:
    container, key = _find(document, _pointer(operation, "path"))
    _insert(container, key, clone(operation.get("value")))


def _remove(document: Json, operation: Json) -> None:
    container, key = _find(document, _pointer(operation, "path"))
    _delete(container, key)


def _replace(document: Json, operation: Json) -> None:
    container, key = _find(document, _pointer(operation, "path"))
    if _get(container, key) is _MISSING:
        raise _DoesNotApply(f"replace operation does not apply: doc is missing key: {operation['path']}: missing value")
    value = clone(operation.get("value"))
    if isinstance(container, dict):
        container[key] = value
    else:
        container[_index(key, len(container))] = value


def _move(document: Json, operation: Json) -> None:
    container, key = _find(document, _pointer(operation, "from"))
    value = _get(container, key)
    _delete(container, key)
    _insert(*_find(document, _pointer(operation, "path")), value)


def _copy(document: Json, operation: Json) -> None:
    value = _get(*_find(document, _pointer(operation, "from")))
    if value is _MISSING:
        raise _DoesNotApply(f"error in copy for from: '{operation['from']}': missing value")
    _insert(*_find(document, _pointer(operation, "path")), clone(value))


def _size_of_copy(document: Json, operation: Json) -> int:
    """How many bytes a copy adds."""
    value = _get(*_find(document, _pointer(operation, "from")))
    try:
        return 0 if value is _MISSING else len(orjson.dumps(value))
    except TypeError as error:
        raise _DoesNotApply("nested too deep") from error


def _test(document: Json, operation: Json) -> None:
    value = _get(*_find(document, _pointer(operation, "path")))
    if not _same(None if value is _MISSING else value, operation.get("value")):
        raise _DoesNotApply(f"testing value {operation['path']} failed: test failed")


_KINDS: dict[str, Callable[[Json, Json], None]] = {
    "add": _add, "remove": _remove, "replace": _replace, "move": _move, "copy": _copy, "test": _test,
}  # fmt: skip


def _pointer(operation: Json, field: str) -> str:
    pointer = operation.get(field)
    if not isinstance(pointer, str):
        raise _DoesNotApply(f"operation missing {field} field: missing value")
    return pointer


def _find(document: Json, pointer: str) -> tuple[Any, str]:
    """The container that the pointer ends in, and the key within it."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
    if len(parts) < 2:
        raise _DoesNotApply(f'operation does not apply: doc is missing path: "{pointer}": missing value')
    container: Any = document
    for part in parts[1:-1]:
        container = _get(container, part)
        if not isinstance(container, dict | list):
            raise _DoesNotApply(f'operation does not apply: doc is missing path: "{pointer}": missing value')
    return container, parts[-1]


def _get(container: Any, key: str) -> Any:
    if isinstance(container, dict):
        return container.get(key, _MISSING)
    return container[_index(key, len(container))]


def _insert(container: Any, key: str, value: Any) -> None:
    if isinstance(container, dict):
        container[key] = value
    elif key == "-":
        container.append(value)
    else:
        container.insert(_index(key, len(container) + 1), value)


def _delete(container: Any, key: str) -> None:
    if isinstance(container, list):
        del container[_index(key, len(container))]
    elif container.pop(key, _MISSING) is _MISSING:
        raise _DoesNotApply(f"unable to remove nonexistent key: {key}: missing value")


def _index(key: str, length: int) -> int:
    """Zero or more and below `length`; a negative one counts from the end."""
    if not _INDEX.fullmatch(key):
        raise _DoesNotApply(f"value was not a proper array index: '{key}'")
    index = int(key)
    if not -length <= index < length:
        raise _DoesNotApply(f"Unable to access invalid index: {index}: invalid index referenced")
    return index + length if index < 0 else index


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: unlike in Python, true is not 1."""
    if isinstance(one, dict):
        return (
            isinstance(other, dict) and one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _type_name(value: Any) -> str:
    """As Go's decoder names a JSON value's type."""
    names = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}
    return names.get(type(value), "null")
