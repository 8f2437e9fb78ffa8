"""Expressions put into words that the engine has: what it does not let anybody declare goes by a name beside.

A method that the engine has for other types cannot be declared again, and a function cannot give an optional. So
`indexOf` becomes one of ours, as long as itself so that places in complaints stay, and `x.validate(text)` becomes the
first of a list.
"""

import re
from functools import lru_cache

# Ours for what the engine has for strings only.
RENAMED = {"indexOf": "indexOF", "lastIndexOf": "lastIndexOF"}
# The engine's own function that it declares without having it; both are as long.
MAP_INSERT, OUR_MAP_INSERT = "cel.@mapInsert", "cel.@mapinsert"
OPTIONALS = {"validate": "formatFaults", "format.named": "format.allNamed"}
_STRING = re.compile(
    r"""[rRbB]{0,2}(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""", re.S
)
_CALL = re.compile(r"(?P<method>\.\s*(?P<name>indexOf|lastIndexOf|validate)|\b(?P<function>format\s*\.\s*named))\s*\(")
_WORTH = re.compile(r"indexOf|lastIndexOf|validate|named")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


@lru_cache(maxsize=4096)
def worded(text: str) -> str:
    """The expression as the engine takes it."""
    return _worded(text) if _WORTH.search(text) else text


def read_back(complaint: str) -> str:
    """A complaint in the words of who wrote the expression."""
    for given, ours in RENAMED.items():
        complaint = complaint.replace(ours, given)
    return complaint


def _worded(text: str) -> str:
    result, position = [], 0
    closing: list[bool] = []  # Of the open parentheses, whether what they close is a list to take the first of.
    while position < len(text):
        if string := _STRING.match(text, position):
            result.append(string[0])
            position = string.end()
            continue
        if call := _CALL.match(text, position):
            name = call["name"] or "format.named"
            ours = RENAMED.get(name) or OPTIONALS[name]
            result.append(text[position : call.start("name")] + ours + "(" if call["name"] else ours + "(")
            closing.append(name in OPTIONALS)
            position = call.end()
            continue
        if word := _IDENTIFIER.match(text, position):
            result.append(word[0])
            position = word.end()
            continue
        char = text[position]
        result.append(char)
        position += 1
        if char == "(":
            closing.append(False)
        elif char == ")" and closing and closing.pop():
            result.append(".first()")
    return "".join(result)
