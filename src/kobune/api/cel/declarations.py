"""The types of a custom kind's schema for the type checker: each object with named fields is a message."""

from collections.abc import Mapping
from typing import Any

from cel_expr_python import cel
from google.protobuf import descriptor_pb2

from kobune.api.cel.environment import Checker, type_named
from kobune.api.cel.names import escaped
from kobune.api.cel.syntax import Node

# How a rule with optionalOldSelf finds its oldSelf.
OPTIONAL_OLD = "cel.bind(oldSelf, hasOldSelf ? optional.of(givenOldSelf) : optional.none(), "
PACKAGE = "schema"
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"boolean": _Field.TYPE_BOOL, "integer": _Field.TYPE_INT64, "number": _Field.TYPE_DOUBLE}
_ANY, _LIST, _STRUCT = ".google.protobuf.Value", ".google.protobuf.ListValue", ".google.protobuf.Struct"
_STRINGS = {
    "byte": (_Field.TYPE_BYTES, ""), "date": (_Field.TYPE_MESSAGE, ".google.protobuf.Timestamp"),
    "date-time": (_Field.TYPE_MESSAGE, ".google.protobuf.Timestamp"),
    "duration": (_Field.TYPE_MESSAGE, ".google.protobuf.Duration"),
}  # fmt: skip
_STRING_TYPES = {
    "byte": cel.Type.BYTES, "date": cel.Type.TIMESTAMP, "date-time": cel.Type.TIMESTAMP, "duration": cel.Type.DURATION,
}  # fmt: skip
_META: Mapping[str, Any] = {
    "type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}},
}  # fmt: skip


def checked(
    raw: Mapping[str, Any], text: str, *, is_object: bool = False, is_optional: bool = False
) -> tuple[str, Node | None]:
    """The type of an expression over `self` and `oldSelf` of this schema, and its tree if all types in it are known.

    Raises:
        CelError: it does not compile.
    """
    declarations = Declarations()
    kind = declarations.type_of(raw, is_object=is_object)
    if not is_optional:
        return Checker({"self": kind, "oldSelf": kind}, declarations.file).check(text)
    variables = {"self": kind, "hasOldSelf": type_named("bool"), "givenOldSelf": kind}
    result, tree = Checker(variables, declarations.file).check(f"{OPTIONAL_OLD}{text})")
    return result, tree and tree.parts[-1]  # What gives an optional oldSelf its value is not the rule's.


class Declarations:
    """Collects the messages that types refer to."""

    def __init__(self) -> None:
        self.file = descriptor_pb2.FileDescriptorProto(name="schema.proto", package=PACKAGE, syntax="proto3")
        self.file.dependency.extend(f"google/protobuf/{one}.proto" for one in ("duration", "struct", "timestamp"))

    def type_of(self, raw: Mapping[str, Any], *, is_object: bool = False) -> cel.Type:
        """The type of a value of this schema; `is_object`: a whole object, with apiVersion, kind and metadata."""
        # Of a whole object something is always known.
        if is_open(raw) and not (is_object and raw.get("type") == "object"):
            return cel.Type.DYN
        match raw.get("type"):
            case "string":
                return _STRING_TYPES.get(raw.get("format", ""), cel.Type.STRING)
            case "boolean":
                return cel.Type.BOOL
            case "integer":
                return cel.Type.INT
            case "number":
                return cel.Type.DOUBLE
            case "array":
                return cel.Type.List(self.type_of(raw["items"]))
            case "object" if raw.get("properties") or is_object or raw.get("x-kubernetes-embedded-resource"):
                return cel.Type(f"{PACKAGE}.{self._message(raw, is_object=is_object)}")
            case "object" if isinstance(raw.get("additionalProperties"), Mapping):
                return cel.Type.Map(cel.Type.STRING, self.type_of(raw["additionalProperties"]))
        return cel.Type.DYN

    def _message(self, raw: Mapping[str, Any], *, is_object: bool = False) -> str:
        message = self.file.message_type.add(name=f"Object{len(self.file.message_type)}")
        fields: dict[str, Mapping[str, Any]] = dict(raw.get("properties") or {})
        if is_object or raw.get("x-kubernetes-embedded-resource"):
            fields |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": _META}
        for number, (name, field) in enumerate(fields.items(), 1):
            written = escaped(name)
            if written:
                self._add(message, written, number, field)
        return str(message.name)

    def _add(self, message: descriptor_pb2.DescriptorProto, name: str, number: int, raw: Mapping[str, Any]) -> None:
        field = message.field.add(name=name, json_name=name, number=number, label=_Field.LABEL_OPTIONAL)
        if is_open(raw):
            field.type, field.type_name = _Field.TYPE_MESSAGE, _ANY
        elif raw.get("type") == "array":
            field.label = _Field.LABEL_REPEATED
            _set(field, self._single(raw["items"]))
        elif (
            raw.get("type") == "object"
            and not raw.get("properties")
            and isinstance(raw.get("additionalProperties"), Mapping)
        ):
            entry = message.nested_type.add(name=f"Entry{number}")
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
            value = entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL)
            _set(value, self._single(raw["additionalProperties"]))
            field.label, field.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
            field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"
            _rename_entry(message, field, entry, name)
        else:
            _set(field, self._single(raw))

    def _single(self, raw: Mapping[str, Any]) -> tuple[Any, str]:
        """The field type of one value; what messages cannot express may be anything."""
        if is_open(raw):
            return _Field.TYPE_MESSAGE, _ANY
        kind = raw.get("type")
        if kind == "string":
            return _STRINGS.get(raw.get("format", ""), (_Field.TYPE_STRING, ""))
        if kind in _SCALARS:
            return _SCALARS[kind], ""
        if kind == "array":
            return _Field.TYPE_MESSAGE, _LIST
        if raw.get("properties") or raw.get("x-kubernetes-embedded-resource"):
            return _Field.TYPE_MESSAGE, f".{PACKAGE}.{self._message(raw)}"
        return _Field.TYPE_MESSAGE, _STRUCT


def is_open(raw: Mapping[str, Any]) -> bool:
    """Whether a value may be of several types."""
    if raw.get("nullable") or raw.get("x-kubernetes-int-or-string") or not raw.get("type"):
        return True
    is_bare = not raw.get("properties") and not isinstance(raw.get("additionalProperties"), Mapping)
    if raw["type"] == "object" and raw.get("x-kubernetes-embedded-resource"):
        return False
    return raw["type"] == "object" and is_bare


def _set(field: descriptor_pb2.FieldDescriptorProto, given: tuple[Any, str]) -> None:
    field.type = given[0]
    if given[1]:
        field.type_name = given[1]


def _rename_entry(
    message: descriptor_pb2.DescriptorProto, field: descriptor_pb2.FieldDescriptorProto,
    entry: descriptor_pb2.DescriptorProto, name: str,
) -> None:  # fmt: skip
    """Entries of a map must be named after their field."""
    entry.name = "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Entry"
    field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"
