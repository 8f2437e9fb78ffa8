"""Mutation expressions: `Object{spec: Object.spec{replicas: 3}}` and `JSONPatch{op: "add", …}`, as maps.

Kubernetes gives these expressions a type for every object in an object. Their values are only ever written out as JSON,
so that a map with the same fields says the same: the types' names are taken away, and fields' names put in quotes.
"""

import re
from collections.abc import Callable
from functools import lru_cache

_TYPE = re.compile(r"(?:Object(?:\.[A-Za-z_]\w*)*|JSONPatch)\s*\{")
_FIELD = re.compile(r"(\s*(?:\?\s*)?)([A-Za-z_]\w*|`[^`]*`)(\s*:)")
_STRING = re.compile(
    r"""[rRbB]{0,2}(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""", re.S
)
_WORD = re.compile(r"[A-Za-z_]\w*")


@lru_cache(maxsize=1024)
def with_maps(text: str) -> str:
    """The expression with maps in the place of Kubernetes' object types."""
    return rewritten(text, lambda _kind: "{", lambda _kind, field: f'"{field.strip("`")}"')


def rewritten(text: str, begin: Callable[[str], str], name: Callable[[str, str], str]) -> str:
    """The expression with other words for what makes objects.

    Args:
        begin: what stands for the beginning of an object, `Object.spec{`.
        name: what stands for a field in it, by the object's beginning and the field's name.
    """
    result: list[str] = []
    nested: list[str] = []  # The beginning of each open bracket, empty where that is not an object's.
    position, at_field = 0, False
    while position < len(text):
        if at_field and nested and nested[-1] and (match := _FIELD.match(text, position)):
            result.append(f"{match[1]}{name(nested[-1], match[2])}{match[3]}")
            position, at_field = match.end(), False
            continue
        at_field = at_field and text[position].isspace()
        if match := _STRING.match(text, position):
            result.append(match[0])
        elif match := _TYPE.match(text, position):
            result.append(begin(match[0]))
            nested.append(match[0])
            at_field = True
        elif match := _WORD.match(text, position):
            result.append(match[0])
        else:
            char = text[position]
            result.append(char)
            position += 1
            if char in "{[(":
                nested.append("")
            elif char in "}])" and nested:
                nested.pop()
            elif char == "," and nested and nested[-1]:
                at_field = True
            continue
        position = match.end()
    return "".join(result)
