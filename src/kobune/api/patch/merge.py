"""JSON Merge Patch: RFC 7396. Null removes, objects merge, everything else replaces."""

from typing import Any

from kobune.api.copying import CONTAINERS, clone
from kobune.api.errors import BadRequest, Json


def apply(document: Json, patch: Any) -> Json:
    """The merged document; neither argument changes, and the result shares nothing with them.

    Raises:
        BadRequest: the patch is not an object.
    """
    if not isinstance(patch, dict):
        name = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}.get(type(patch))
        if name is None:
            raise BadRequest("Invalid JSON Patch")
        raise BadRequest(
            f"error decoding patch: json: cannot unmarshal {name} into Go value of type map[string]interface {{}}"
        )
    return _merged(document, patch)


def without_nulls(value: Any) -> Any:
    """A copy without any object's null fields. An array keeps its nulls, since they count."""
    if type(value) is dict:
        return {
            key: without_nulls(each) if type(each) in CONTAINERS else each
            for key, each in value.items()
            if each is not None
        }
    if type(value) is list:
        return [without_nulls(each) if type(each) in CONTAINERS else each for each in value]
    return value


def _merged(document: Json, patch: Json) -> Json:
    result = {
        key: clone(value) if type(value) in CONTAINERS else value for key, value in document.items() if key not in patch
    }
    for key, value in patch.items():
        if value is None:
            continue
        if type(value) not in CONTAINERS:
            result[key] = value
            continue
        current = document.get(key)
        if type(value) is dict and type(current) is dict:
            result[key] = _merged(current, value)
        else:
            result[key] = without_nulls(value)
    return result
