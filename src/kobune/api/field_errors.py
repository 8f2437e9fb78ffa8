"""One constructor for each way a field can be wrong, in upstream's wording. Source: upstream util/validation/field."""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from kobune.api.errors import FieldError

OMITTED: Final = object()  # As `value`: the value is not shown.
IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"

_ESCAPES = {
    "\\": "\\\\",
    '"': '\\"',
    "\n": "\\n",
    "\t": "\\t",
    "\r": "\\r",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\v": "\\v",
}


def quote(text: str) -> str:
    """`text` in double quotes, escaped as Go does."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_ESCAPES.get(char) or (char if char.isprintable() else _code(char)) for char in text) + '"'


def invalid(field: str, value: Any, detail: str) -> FieldError:
    return FieldError(field, "FieldValueInvalid", _body("Invalid value", value, detail))


def type_invalid(field: str, value: Any, detail: str) -> FieldError:
    return FieldError(field, "FieldValueTypeInvalid", _body("Invalid value", value, detail))


def required(field: str, detail: str = "") -> FieldError:
    return FieldError(field, "FieldValueRequired", _with("Required value", detail))


def duplicate(field: str, value: Any) -> FieldError:
    return FieldError(field, "FieldValueDuplicate", _body("Duplicate value", value, ""))


def not_found(field: str, value: Any) -> FieldError:
    return FieldError(field, "FieldValueNotFound", _body("Not found", value, ""))


def not_supported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    """`Unsupported value: "X": supported values: "a", "b"`; `supported` in the order that upstream gives."""
    shown = ", ".join(quote(each) for each in supported)
    return FieldError(
        field,
        "FieldValueNotSupported",
        _body("Unsupported value", value, f"supported values: {shown}" if shown else ""),
    )


def forbidden(field: str, detail: str) -> FieldError:
    return FieldError(field, "FieldValueForbidden", _with("Forbidden", detail))


def too_long(field: str, limit: int, unit: str = "byte") -> FieldError:
    """Counted in bytes, or in "character"s."""
    return FieldError(
        field, "FieldValueTooLong", f"Too long: may not be more than {limit} {unit}{'' if limit == 1 else 's'}"
    )


def too_many(field: str, actual: int, limit: int) -> FieldError:
    detail = f"must have at most {limit} item{'' if limit == 1 else 's'}"
    return FieldError(field, "FieldValueTooMany", _body("Too many", actual, detail))


def internal(field: str, detail: str) -> FieldError:
    return FieldError(field, "InternalError", _with("Internal error", detail))


def shown(value: Any) -> str:
    """A value as upstream prints it in an error: strings quoted, numbers plain, the rest as JSON."""
    if isinstance(value, str):
        return quote(value)
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    # As Go writes JSON: harmless inside HTML.
    return orjson.dumps(value).decode().replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _body(what: str, value: Any, detail: str) -> str:
    return _with(what if value is OMITTED else f"{what}: {shown(value)}", detail)


def _with(what: str, detail: str) -> str:
    return f"{what}: {detail}" if detail else what


def _code(char: str) -> str:
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
