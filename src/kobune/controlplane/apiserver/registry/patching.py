"""The verb patch: an object and a patch make a new object, checked like one that a client sent whole."""

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from kobune.api import decode, field_errors
from kobune.api.catalogue import Kind
from kobune.api.depth import check_depth, check_nesting
from kobune.api.duplicates import duplicate_fields
from kobune.api.errors import BadRequest, Invalid, Json, UnsupportedMediaType, invalid
from kobune.api.patch import jsonpatch, merge, strategic
from kobune.api.schema import Schema
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


class Patch(NamedTuple):
    media_type: str
    document: Any
    problems: list[str]  # What field validation has to say of the patch itself.


def decode_patch(body: bytes, content_type: str, *, custom: bool, validation: str) -> Patch:
    """The patch in a body.

    Args:
        validation: as clients ask for it; unless it is "Ignore" the patch's own fields are looked at.
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
    problems: list[str] = []
    if validation != "Ignore":
        problems = list(map(decode.duplicate_field, duplicate_fields(body, patch)))
        if media_type == JSON_PATCH:
            unknown = map(decode.unknown_field, jsonpatch.unknown_fields(patch))
            problems = [f"json patch {problem}" for problem in (*unknown, *problems)]
    return Patch(media_type, patch, problems)


def patched_object(
    patch: Patch, obj: Json, kind: Kind, schema: Schema | None, call: Call, *, whole: Json | None = None
) -> Json:
    """What the patch makes of the object, with its fields checked as the call asks for.

    Args:
        whole: the object, where `obj` is but the part of it that the patch can reach.
    Raises:
        BadRequest, Invalid: the patch cannot be applied, or what it makes is not of the kind.
    """
    unknown: list[str] = []
    try:
        new = _applied(patch, obj, schema)
        new = checked_object(new, kind, schema, unknown=unknown)
    except BadRequest as error:
        if DECODING not in str(error):
            raise
        why = str(error).partition(DECODING)[2].partition(": ")[2]
        raise _refused(patch, whole or obj, schema, _in_go_s_words(why, patch)) from error
    validation = call.options.field_validation
    problems = [] if validation == "Ignore" else [*patch.problems, *map(decode.unknown_field, unknown)]
    if problems and validation == "Strict":
        raise _refused(patch, whole or obj, schema, f"strict decoding error: {', '.join(problems)}")
    call.warnings.extend(problem for problem in problems if problem not in call.warnings)
    return new


def _applied(patch: Patch, obj: Json, schema: Schema | None) -> Json:
    if patch.media_type == JSON_PATCH:
        changed = jsonpatch.apply(obj, patch.document)
        check_nesting(changed)  # Operations can put one thing into another again and again.
        return changed
    if patch.media_type == MERGE_PATCH:
        return merge.apply(obj, patch.document)
    assert schema is not None  # Such patches are for built-in kinds alone.
    return strategic.apply(obj, patch.document, schema)


def _refused(patch: Patch, whole: Json, schema: Schema | None, why: str) -> Invalid:
    """Source: upstream patch.go, applyPatchToCurrentObject and applyPatchToObject."""
    strategically = patch.media_type == STRATEGIC_PATCH
    shown = _in_go(patch.document) if strategically else orjson.dumps(_applied(patch, whole, schema)).decode()
    return invalid("", "", field_errors.invalid("patch", shown, why))


# How Go names what a value is, to its JSON reader and to the reader of what a strategic patch makes.
_GIVEN = {"number": "int64", "array": "slice", "object": "map"}


def _in_go_s_words(why: str, patch: Patch) -> str:
    """What is told of a field of another type. Source: upstream runtime.DefaultUnstructuredConverter, which reads what a
    strategic patch makes."""
    found = re.fullmatch(r"json: cannot unmarshal (\w+)(?: [-\d.e+]+)? into Go .* of type (\S+)", why)
    if patch.media_type != STRATEGIC_PATCH or not found:
        return why
    given, wanted = _GIVEN.get(found[1], found[1]), found[2]
    if wanted.startswith("map["):
        return f"cannot restore map from {given}"
    if wanted.startswith("[]"):
        return f"cannot restore slice from {given}"
    if wanted in ("string", "bool", "int32", "int64", "float64"):
        return f"cannot convert {given} to {wanted}"
    return f"cannot restore struct from: {given}"


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


async def patch(registry: "Registry", call: Call, asked: Patch, *, prepare: Prepare = whole) -> bytes:
    """Patch an object; the body as stored. Raises BadRequest, Conflict, Invalid, NotFound."""
    kind = call.kind
    schema = registry.schema(kind)

    async def apply(old: Json) -> Json:
        fixed = _out_of_reach(call, old, asked.document, prepare)
        account = _untouched_account(old, asked.document)
        base = {member: value for member, value in old.items() if member not in fixed} if fixed else old
        if account:
            base = {**base, "metadata": {name: each for name, each in old["metadata"].items() if name != ACCOUNT}}
        new = patched_object(asked, base, kind, schema, call, whole=old)
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
