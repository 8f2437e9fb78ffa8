"""The two environments of an expression: one that knows types, to find mistakes, and one that evaluates plain values.

In the first a custom object is a message made from its schema, so that a field that is not there or a comparison of
unlike types is found when the rule is written. In the second it is the JSON value itself, with nothing to convert.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from itertools import product
from typing import Any

from cel_expr_python import cel
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, struct_pb2, timestamp_pb2

from kobune.api.cel.library import FUNCTIONS, OPAQUE, VALUE, value_file
from kobune.api.cel.syntax import Node, read
from kobune.api.cel.wording import MAP_INSERT, OUR_MAP_INSERT, read_back, worded

_EXTENSIONS = ("optional", "strings", "lists", "math", "encoders", "sets", "two-var-comprehensions", "bindings")
_PLAIN: Mapping[str, cel.Type] = {
    "bool": cel.Type.BOOL, "int": cel.Type.INT, "double": cel.Type.DOUBLE, "string": cel.Type.STRING,
    "uint": cel.Type.UINT, "null": cel.Type.NULL, "bytes": cel.Type.BYTES, "dyn": cel.Type.DYN, "timestamp": cel.Type.TIMESTAMP, "duration": cel.Type.DURATION,
}  # fmt: skip
# What a value can be while an expression is evaluated.
_KINDS = (*(name for name in _PLAIN if name != "dyn"), "list(dyn)", "map(dyn)", VALUE)
_WELL_KNOWN = (any_pb2, duration_pb2, struct_pb2, timestamp_pb2)
# Numbers of different types can be compared; the engine's checker does not know.
_NUMBERS = r"'_(?:<|<=|>|>=)_' applied to '\((?:int|uint|double), (?:int|uint|double)\)'"
# What the engine says when an evaluation goes through too many elements.
_ENDLESS = "Iteration budget exceeded"
_UNDECLARED = re.compile(
    r"(?P<head>ERROR: <input>:\d+:)(?P<column>\d+)"
    r"(?P<rest>: undeclared reference to '(?P<name>[\w.]+)' \(in container ''\)\n \| (?P<line>.*)\n \| )\.*\^"
)
_STRUCT = re.compile(r" not found in struct '[^']*'")


class CelError(ValueError):
    """An expression that does not compile; the message is the compiler's, with the place."""


class Evaluation(Exception):
    """An expression that has no value for this input."""


class TooCostly(Evaluation):
    """An evaluation that was given up because it takes too much."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


class Program:
    """A compiled expression."""

    def __init__(self, expression: cel.Expression) -> None:
        self._expression = expression

    def run(self, activation: cel.Activation) -> Any:
        """Its value. Raises Evaluation."""
        try:
            value = self._expression.eval(activation)
        except RuntimeError as error:
            if _ENDLESS in str(error):
                raise TooCostly from error
            raise
        if value.type() == cel.Type.ERROR:
            raise Evaluation(_runtime_message(str(value.plain_value())))
        return value.plain_value()


class Evaluator:
    """Compiles and runs expressions over these variables."""

    def __init__(self, variables: Iterable[str]) -> None:
        self._env = _env(pool_of(), dict.fromkeys(variables, cel.Type.DYN), _runtime_functions())

    def compile(self, text: str) -> Program:
        """Raises CelError."""
        text = worded(text)
        try:
            return Program(self._with_maps(self._env.compile(text), text))
        except RuntimeError as error:
            if _compares_numbers(str(error)):
                return Program(self._with_maps(self._env.compile(text, disable_check=True), text))
            raise CelError(compile_message(str(error))) from error

    def _with_maps(self, expression: cel.Expression, text: str) -> cel.Expression:
        """The expression with our function in the place of one that the engine only declares."""
        if "transformMap" not in text:
            return expression
        return self._env.deserialize(expression.serialize().replace(MAP_INSERT.encode(), OUR_MAP_INSERT.encode()))

    def activation(self, values: Mapping[str, Any]) -> cel.Activation:
        """Values for the variables, to be used for several programs."""
        return self._env.Activation(values)


@lru_cache(maxsize=64)
def evaluator(*variables: str) -> Evaluator:
    return Evaluator(variables)


@lru_cache(maxsize=4096)
def compiled(text: str, variables: tuple[str, ...]) -> tuple[Evaluator, Program | CelError]:
    """An expression over plain values, or why it is none; kept."""
    one = evaluator(*variables)
    try:
        return one, one.compile(text)
    except CelError as error:
        return one, error


class Checker:
    """Finds the type of expressions over typed variables."""

    def __init__(
        self, variables: Mapping[str, cel.Type], file: descriptor_pb2.FileDescriptorProto | None = None
    ) -> None:
        self._env = _env(pool_of(*([file] if file else [])), variables, _checked_functions())

    def type_of(self, text: str) -> str:
        """ "BOOL", "STRING", …. Raises CelError."""
        return self.check(text)[0]

    def check(self, text: str) -> tuple[str, Node | None]:
        """The type of an expression, and its tree unless some types in it are known only later. Raises CelError."""
        try:
            expression = self._env.compile(worded(text))
            return str(expression.return_type().name()), read(expression.serialize())
        except RuntimeError as error:
            if _compares_numbers(str(error)):
                return "DYN", None
            raise CelError(compile_message(str(error))) from error


def compile_message(text: str) -> str:
    """The compiler's complaint without what its library wraps around it."""
    text = text.removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
    return _UNDECLARED.sub(_at_brace, read_back(_STRUCT.sub("", text)).replace("\\u003F", "?"))


def _at_brace(complaint: re.Match[str]) -> str:
    """An unknown type is told at the brace behind it, as upstream tells it."""
    line, name, column = complaint["line"], complaint["name"], int(complaint["column"])
    brace = re.compile(rf"{re.escape(name)}\s*(?={{)").match(line, column - 1)
    if brace is None:
        return complaint[0]
    return f"{complaint['head']}{brace.end() + 1}{complaint['rest']}{'.' * brace.end()}^"


def _compares_numbers(complaint: str) -> bool:
    """Whether all that is wrong is that numbers of different types are compared."""
    count = len(re.findall("ERROR:", complaint))
    return count > 0 and count == len(re.findall(_NUMBERS, complaint))


def pool_of(*files: descriptor_pb2.FileDescriptorProto) -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for module in _WELL_KNOWN:
        copy = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(copy)
        pool.Add(copy)
    for file in (value_file(), *_opaque_files(), *files):
        pool.Add(file)
    return pool


def _opaque_files() -> Iterable[descriptor_pb2.FileDescriptorProto]:
    for name in OPAQUE:
        package, _, short = name.rpartition(".")
        file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=package, syntax="proto3")
        file.message_type.add(name=short)
        yield file


def _env(pool: Any, variables: Mapping[str, cel.Type], functions: list[cel.FunctionDecl]) -> cel.Env:
    lines = "".join(f'- name: "{name}"\n' for name in _EXTENSIONS)
    config = cel.NewEnvConfigFromYaml(f"name: kubernetes\nextensions:\n{lines}")
    return cel.NewEnv(descriptor_pool=pool, config=config, variables=variables, functions=functions)


@cache
def type_named(name: str) -> cel.Type:
    if name.startswith("list("):
        return cel.Type.List(type_named(name[5:-1]))
    if name.startswith("map("):
        return cel.Type.Map(cel.Type.STRING, type_named(name[4:-1]))
    return _PLAIN.get(name) or cel.Type(name)


def _coarse(name: str) -> cel.Type:
    """The type by which a function is found while an expression is evaluated."""
    if name.startswith("list("):
        return cel.Type.LIST
    if name.startswith("map("):
        return cel.Type.MAP
    return _PLAIN.get(name) or cel.Type(VALUE)


def _checked_functions() -> list[cel.FunctionDecl]:
    return _declared(
        lambda overloads: [(tuple(map(type_named, given)), type_named(result)) for given, result in overloads]
    )


def _runtime_functions() -> list[cel.FunctionDecl]:
    def coarse(overloads: Any) -> list[tuple[tuple[cel.Type, ...], cel.Type]]:
        found: dict[tuple[str, ...], tuple[tuple[cel.Type, ...], cel.Type]] = {}
        for given, result in _spelt_out(overloads):
            types = tuple(map(_coarse, given))
            key = tuple(one.name() for one in types)
            # What a list holds is known only then.
            is_open = key in found or (bool(given) and given[0].startswith("list("))
            found[key] = (types, cel.Type.DYN if is_open else _coarse(result))
        return list(found.values())

    return _declared(coarse)


def _spelt_out(overloads: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """The overloads with every type in the place of `dyn`, which no value is found by."""
    for given, result in overloads:
        for types in product(*(_KINDS if one == "dyn" else (one,) for one in given)):
            yield types, result


def _declared(types: Any) -> list[cel.FunctionDecl]:
    by_name: dict[str, list[cel.Overload]] = {}
    for function in FUNCTIONS:
        overloads = by_name.setdefault(function.name, [])
        for given, result in types(function.overloads):
            overloads.append(
                cel.Overload(
                    id=f"{function.name}_{len(overloads)}", return_type=result, parameters=list(given),
                    is_member=function.is_member, impl=function.run,
                )
            )  # fmt: skip
    return [cel.FunctionDecl(name, overloads) for name, overloads in by_name.items()]


def _runtime_message(text: str) -> str:
    """An evaluation's failure in the words of upstream's library."""
    if match := re.search(r'Key not found in map : "?(.*?)"?$', text):
        return f"no such key: {match[1]}"
    if "No matching overloads found" in text:
        return "no such overload"
    if match := re.search(r"Index error: index=(-?\d+)", text):
        return f"index out of bounds: {match[1]}"
    if "divide by zero" in text:
        return "division by zero"
    return text.partition(": ")[2] or text
