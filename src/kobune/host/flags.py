"""A component's flags, read off the dataclass that they fill.

The command line's own library takes as long to import as an API server to start, and a component's flags are many but
plain: `--name VALUE`, as upstream's binaries take them.
"""

import argparse
from collections.abc import Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def flag(default: Any, help: str) -> Any:
    """A field that is a flag of the same name."""
    return field(default=default, metadata={"help": help})


def parse(kind: type[T], arguments: Sequence[str], *, program: str, description: str) -> T:
    """The flags as a dataclass; a field that is a dataclass itself adds its own. Ends the process for --help and mistakes.

    Fields are texts, numbers, true or false, paths (also `Path | None`), and sequences: of texts, separated by commas, or of paths;
    a sequence's flag may be repeated.
    """
    parser = argparse.ArgumentParser(program, description=description, allow_abbrev=False)
    _add(parser, kind)
    filled: T = _filled(kind, vars(parser.parse_args(arguments)))
    return filled


def _add(parser: argparse.ArgumentParser, kind: Any) -> None:
    for one in fields(kind):
        if is_dataclass(one.type):
            _add(parser, one.type)
            continue
        how: dict[str, Any] = {"help": one.metadata["help"], "metavar": _metavar(one)}
        if one.type == Sequence[str]:
            how |= {"action": "extend", "type": _words}
        elif one.type == Sequence[Path]:
            how |= {"action": "append", "type": Path}
        elif one.type is bool:
            how |= {"type": _truth, "nargs": "?", "const": True}
        else:
            how["type"] = one.type if one.type in (int, str) else Path
            if one.default not in ("", None):
                how["help"] += f" Default: {one.default}"
        parser.add_argument(f"--{one.name.replace('_', '-')}", default=argparse.SUPPRESS, **how)


def _filled(kind: Any, given: dict[str, Any]) -> Any:
    values = {}
    for one in fields(kind):
        if is_dataclass(one.type):
            values[one.name] = _filled(one.type, given)
        elif one.name in given:
            values[one.name] = given[one.name]
        elif one.default is MISSING:
            raise TypeError(f"{kind.__name__}.{one.name} has no default")
    return kind(**values)


def _metavar(one: Field[Any]) -> str:
    names: dict[object, str] = {bool: "true|false", int: "NUMBER", str: "TEXT", Sequence[str]: "TEXT,…"}
    return names.get(one.type, "PATH")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"
