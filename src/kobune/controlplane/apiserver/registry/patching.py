"""The verb patch: an object and a patch make a new object, checked like one that a client sent whole."""

import re
from typing import TYPE_CHECKING, Any

import orjson

from kobune.api import field_errors
from kobune.api.depth import check_depth, check_nesting
from kobune.api.errors import BadRequest, Invalid, Json, UnsupportedMediaType, invalid
from kobune.api.patch import jsonpatch, merge, strategic
from kobune.controlplane.apiserver.negotiation import media_type_of, parse_problem
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.decoding import checked_object
from kobune.controlplane.apiserver.registry.update import MODIFIED, Prepare, change, check_name, status, whole

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
DECODING = " cannot be handled as a "  # What the complaint about a field of another type says.
BUILTIN = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)
ACCOUNT = "managedFields"
_STATUS_PARTS = frozenset(("apiVersion", "kind", "metadata", "status"))  # What an update of the status looks at.


def decode_patch(body: bytes, content_type: str, *, custom: bool) -> tuple[str, Any]:
    """The patch's media type and document.

    Raises:
        UnsupportedMediaType: a kind of patch that is not served for the object.
        BadRequest: not a document.
    """
    media_type = media_type_of(content_type)
    supported = tuple(name for name in BUILTIN if not (custom and name == STRATEGIC_PATCH))
    if media_type not in supported:
        raise UnsupportedMediaType("415: Unsupported Media Type")
    try:
        patch = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"error decoding patch: {parse_problem(body, error)}") from error
    check_depth(patch, body)
    if media_type == JSON_PATCH:
        if not isinstance(patch, list):
            raise BadRequest(
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
            )
    elif not isinstance(patch, dict):
        if media_type == MERGE_PATCH and patch is None:
            raise BadRequest("Invalid JSON Patch")
        prefix = "error decoding patch: " if media_type == MERGE_PATCH else ""
        raise BadRequest(f"{prefix}json: cannot unmarshal array into Go value of type map[string]interface {{}}")
    return media_type, patch


def _no_object(patched: str, error: BadRequest) -> Invalid:
    """What a patch makes is none of the kind. Source: upstream patch.go, applyPatchToCurrentObject."""
    why = str(error).partition(DECODING)[2].partition(": ")[2]
    return invalid("", "", field_errors.invalid("patch", patched, why))


# How Go names what a value is, to its JSON reader and to the reader of what a strategic patch makes.
_GIVEN = {"number": "int64", "array": "slice", "object": "map"}


def _no_fields(patch: Json, error: BadRequest) -> Invalid:
    """The same for a strategic patch. Source: upstream applyPatchToObject, runtime.DefaultUnstructuredConverter."""
    why = str(error).partition(DECODING)[2].partition(": ")[2]
    found = re.fullmatch(r"json: cannot unmarshal (\w+)(?: [-\d.e+]+)? into Go .* of type (\S+)", why)
    if found:
        given, wanted = _GIVEN.get(found[1], found[1]), found[2]
        if wanted.startswith("map["):
            why = f"cannot restore map from {given}"
        elif wanted.startswith("[]"):
            why = f"cannot restore slice from {given}"
        elif wanted in ("string", "bool", "int32", "int64", "float64"):
            why = f"cannot convert {given} to {wanted}"
        else:
            why = f"cannot restore struct from: {given}"
    return invalid("", "", field_errors.invalid("patch", _in_go(patch), why))


def _in_go(value: Any) -> str:
    """A JSON value as Go prints it: `map[a:1 b:[x y]]`."""
    match value:
        case dict():
            return f"map[{' '.join(f'{key}:{_in_go(value[key])}' for key in sorted(value))}]"
        case list():
            return f"[{' '.join(map(_in_go, value))}]"
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
    return str(value)


def _out_of_reach(call: Call, old: Json, document: Any, prepare: Prepare) -> Json:
    """The members of the object that the patch does not name and that this way of writing would put back if it did.

    They are large (the spec of a pod that reports its status, the status of a node that gets a taint), and as they have
    been checked when they were stored, they are neither copied nor checked again.
    """
    if not isinstance(document, dict) or any(member.startswith("$") for member in document):
        return {}
    if prepare is status:
        return {
            member: value for member, value in old.items() if member not in document and member not in _STATUS_PARTS
        }
    if prepare is whole and "status" in call.kind.subresources and "status" in old and "status" not in document:
        return {"status": old["status"]}
    return {}


def _untouched_account(old: Json, document: Any) -> list[Json] | None:
    """The account of the object's managers, often its largest part, when the patch leaves it alone."""
    if not isinstance(document, dict) or any(member.startswith("$") for member in document):
        return None
    named = document.get("metadata", {})
    if not isinstance(named, dict) or ACCOUNT in named or any(name.startswith("$") for name in named):
        return None
    account: list[Json] | None = old["metadata"].get(ACCOUNT)
    return account


async def patch(registry: "Registry", call: Call, media_type: str, document: Any, *, prepare: Prepare = whole) -> bytes:
    """Patch an object; the body as stored. Raises BadRequest, Conflict, Invalid, NotFound."""
    kind = call.kind
    schema = registry.schema(kind)

    def patched(old: Json) -> Json:
        if media_type == JSON_PATCH:
            changed = jsonpatch.apply(old, document)
            check_nesting(changed)  # Operations can put one thing into another again and again.
            return changed
        if media_type == MERGE_PATCH:
            return merge.apply(old, document)
        return strategic.apply(old, document, schema)

    async def apply(old: Json) -> Json:
        fixed = _out_of_reach(call, old, document, prepare)
        account = _untouched_account(old, document)
        base = {member: value for member, value in old.items() if member not in fixed} if fixed else old
        if account:
            base = {**base, "metadata": {name: each for name, each in old["metadata"].items() if name != ACCOUNT}}
        new = patched(base)
        warnings: list[str] = []
        try:
            new = checked_object(
                new, kind, schema, validation=call.options.field_validation, warnings=warnings, repeated=[]
            )
        except BadRequest as error:
            if DECODING not in str(error):
                raise
            if media_type == STRATEGIC_PATCH:
                raise _no_fields(document, error) from error
            raise _no_object(orjson.dumps(patched(old)).decode(), error) from error
        call.warnings.extend(warning for warning in warnings if warning not in call.warnings)
        new.update(fixed)  # Before the defaults, some of which look at other members.
        registry.default(kind, new)
        if account:
            new["metadata"][ACCOUNT] = account
        check_name(call, new["metadata"])
        given = new["metadata"].get("resourceVersion")
        if given and given != old["metadata"]["resourceVersion"]:
            raise call.conflict(MODIFIED)
        return new

    return await change(registry, call, apply, prepare=prepare)
