"""From a request's body to an object of the kind that the URL names, with its fields checked."""

from typing import Any

from kobune.api import decode, duplicates
from kobune.api.catalogue import KINDS, Kind
from kobune.api.errors import BadRequest, Json
from kobune.api.schema import Schema
from kobune.controlplane.apiserver.customresources import decoding as custom
from kobune.controlplane.apiserver.customresources.table import CustomSchema
from kobune.controlplane.apiserver.negotiation import JSON, decode_body, media_type_of, summary


def decode_object(
    body: bytes, content_type: str, kind: Kind, schema: Schema | None, *, validation: str, warnings: list[str]
) -> Json:
    """The object in a body; kind and apiVersion may be left out, as upstream allows.

    Args:
        schema: None leaves the fields unchecked.
        validation: "Strict" refuses unknown and duplicate fields, "Warn" adds to `warnings`, "Ignore" drops silently.
    Raises:
        BadRequest: not an object of this kind; UnsupportedMediaType.
    """
    document = decode_body(body, content_type, kind=kind.name)
    if not isinstance(document, dict | None):
        raise not_an_object(document, f" ({summary(body)})", kind.name)
    repeated: list[str] = []
    if validation != "Ignore" and media_type_of(content_type) in (JSON, ""):
        repeated = duplicates.duplicate_fields(body, document)
    unknown: list[str] = []
    obj = checked_object(document, kind, schema, unknown=unknown)
    if unknown or repeated:
        problems = [*map(decode.unknown_field, unknown), *map(decode.duplicate_field, repeated)]
        tell(problems, kind, validation=validation, warnings=warnings)
    return obj


def tell(problems: list[str], kind: Kind, *, validation: str, warnings: list[str]) -> None:
    """Refuse an object with these problems, warn of them or let them pass, as the client asks."""
    if problems and validation == "Strict":
        raise decode.strict_error(kind.name, kind.version, problems)
    if validation == "Warn":
        warnings.extend(problems)


def checked_object(document: Any, kind: Kind, schema: Schema | None, *, unknown: list[str] | None = None) -> Json:
    """The document as an object of `kind`, checked against the schema in place. Raises BadRequest.

    Args:
        unknown: takes the paths of the fields that were dropped because there are none of their names.
    """
    if document is None:
        document = {}  # To Go's reader null is an object without fields.
    if not isinstance(document, dict):
        raise not_an_object(document, "", kind.name)
    if kind.custom and not (document.get("kind") and document.get("apiVersion")):
        field = "kind" if not document.get("kind") else "apiVersion"
        raise BadRequest(f"Object '{field.capitalize() if field == 'kind' else field}' is missing")
    given_kind, given_version = document.get("kind") or kind.name, document.get("apiVersion") or kind.api_version
    if given_kind != kind.name or (
        given_version != kind.api_version and not _is_known(given_version, given_kind, kind)
    ):
        raise _another_kind(given_version, given_kind, kind)
    if given_version != kind.api_version:
        raise BadRequest(
            f"the API version in the data ({given_version}) does not match the expected API version ({kind.api_version})"
        )
    document["kind"], document["apiVersion"] = kind.name, kind.api_version
    if document.get("metadata") is None:
        document["metadata"] = {}
    if schema is not None:
        if isinstance(schema, CustomSchema):
            dropped = custom.check(schema, document, kind=kind.name, version=kind.version)
        else:
            dropped = decode.check(schema, document, kind=kind.name, version=kind.version)
        if unknown is not None:
            unknown.extend(dropped)
    if not isinstance(document["metadata"], dict):
        raise BadRequest(
            f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: metadata is no object'
        )
    document["metadata"].pop("selfLink", None)
    return document


def _is_known(api_version: Any, name: Any, wanted: Kind) -> bool:
    """Whether there is such a kind at all; of those that users define nothing is known here."""
    return wanted.custom or any(one.name == name and one.api_version == api_version for one in KINDS)


def _another_kind(api_version: Any, name: Any, wanted: Kind) -> BadRequest:
    """Source: upstream runtime.NewNotRegisteredErrForKind, conversion.Converter."""
    version = str(api_version).rpartition("/")[2]
    if _is_known(api_version, name, wanted) and not wanted.custom:
        inner = wanted.group.partition(".")[0] or "core"
        why = f"converting ({version}.{name}) to ({inner}.{wanted.name}): unknown conversion"
    else:
        scheme = "pkg/api/legacyscheme/scheme.go:30"
        why = f'no kind "{name}" is registered for version "{api_version}" in scheme "{scheme}"'
    return BadRequest(f'{name} in version "{version}" cannot be handled as a {wanted.name}: {why}')


def not_an_object(document: Any, shown: str, kind: str = "") -> BadRequest:
    """For a body that is JSON but no object; `shown` is how it looks, `kind` what it should have been."""
    expected = f"the object provided is unrecognized (must be of type {kind}): " if kind else ""
    return BadRequest(
        f"{expected}couldn't get version/kind; json parse error: json: cannot unmarshal {_json_type(document)} into Go "
        'value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string '
        f'"json:\\"kind,omitempty\\"" }}{shown}'
    )


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "null"
