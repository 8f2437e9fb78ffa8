"""What type a mutation's expression has, where `Object{…}` and `JSONPatch{…}` are types of their own.

Any field may be in an object, so that for each expression messages are declared with the fields that it speaks of. A
message's name has no dots: `Object.spec` is there as `Object_spec`, which is as long, so that places in complaints stay.
Source: upstream apiserver, pkg/cel/mutation.
"""

import re
from collections.abc import Sequence

from google.protobuf import descriptor_pb2

from kobune.api.cel.environment import CelError, Checker, type_named
from kobune.api.cel.mutations import rewritten
from kobune.api.cel.syntax import Type

OBJECT, PATCH = "Object", "JSONPatch"
PATCH_FIELDS = {"op": True, "path": True, "from": True, "value": False}  # Whether it is a text.
_Field = descriptor_pb2.FieldDescriptorProto
_ANY, _NOTHING = ".google.protobuf.Value", "NoField"
_NO_WORD, _SELECTED = re.compile(r"\W"), re.compile(r"\.\s*([A-Za-z_]\w*)")
_END = "{ \t\r\n"


def mutation_type(text: str, variables: Sequence[str]) -> str:
    """As upstream writes it: "Object", "list(JSONPatch)"; empty where it cannot be told. Raises CelError."""
    selected = dict.fromkeys(_SELECTED.findall(text))  # Perhaps of an object.
    fields: dict[str, dict[str, None]] = {OBJECT: {**selected}, PATCH: dict.fromkeys(PATCH_FIELDS)}
    given: dict[str, str] = {}

    def begin(start: str) -> str:
        kind = _kind(start)
        fields.setdefault(kind, {**selected})
        given[kind] = start.rstrip(_END)
        return start.replace(".", "_")

    def name(start: str, field: str) -> str:
        plain = _NO_WORD.sub("_", field)  # As long, though quoted.
        fields[_kind(start)].setdefault(plain)
        return plain

    written = rewritten(text, begin, name)
    checker = Checker(dict.fromkeys(variables, type_named("dyn")), _declared(fields))
    try:
        _, tree = checker.check(written)
    except CelError as error:
        raise CelError(_read_back(str(error), given)) from error
    return _read_back(_shown(tree.type), given) if tree is not None else ""


def _kind(start: str) -> str:
    return start.rstrip(_END).replace(".", "_")


def _declared(fields: dict[str, dict[str, None]]) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="mutation.proto", syntax="proto3")
    file.dependency.append("google/protobuf/struct.proto")
    file.message_type.add(name=_NOTHING)
    for kind, names in fields.items():
        message = file.message_type.add(name=kind)
        for number, name in enumerate(names, 1):
            field = message.field.add(name=name, json_name=name, number=number, label=_Field.LABEL_OPTIONAL)
            if kind == PATCH and PATCH_FIELDS.get(name):
                field.type = _Field.TYPE_STRING
            else:
                # What a patch has no field for is of a type that nothing has.
                known = kind != PATCH or name in PATCH_FIELDS
                field.type, field.type_name = _Field.TYPE_MESSAGE, _ANY if known else f".{_NOTHING}"
    return file


def _shown(kind: Type) -> str:
    if kind.name == "null":
        return "null_type"
    return f"{kind.name}({', '.join(map(_shown, kind.of))})" if kind.of else kind.name


def _read_back(text: str, given: dict[str, str]) -> str:
    for kind, start in sorted(given.items(), key=lambda one: -len(one[0])):
        text = text.replace(kind, start)
    return text.replace(f"'{_NOTHING}'", "''")
