"""Regular expressions as Go writes them (RE2), for patterns that users give: schemas, policies, CEL."""

import re
from functools import lru_cache

_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7f", "blank": r"\t ", "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~", "space": r"\t\n\v\f\r ",
    "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
# What the two dialects write differently: an escape, a class inside brackets, a bracket, the end of the text.
_TOKEN = re.compile(r"\\.|\[:(\^?)(\w+):\]|\[\^?\]?|\]|\$", re.DOTALL)


@lru_cache(maxsize=1024)
def compile_go(pattern: str) -> re.Pattern[str]:
    """The pattern, compiled; ASCII classes and an end of text that no line break hides, as in Go.

    Raises:
        ValueError: not a pattern.
    """
    try:
        return re.compile(_translated(pattern), re.ASCII)
    except (re.error, OverflowError) as error:
        raise ValueError(f"error parsing regexp: {error}") from error


def _translated(pattern: str) -> str:
    multiline = re.match(r"\(\?[a-zA-Z]*m[a-zA-Z]*\)", pattern) is not None
    is_inside = False

    def replace(token: re.Match[str]) -> str:
        nonlocal is_inside
        text = token[0]
        if text == r"\z":
            return r"\Z"
        if text.startswith("\\"):
            return text
        if token[2] is not None:
            if token[2] not in _CLASSES or token[1]:
                raise ValueError(f"error parsing regexp: invalid character class range: `{text}`")
            return _CLASSES[token[2]]
        if text.startswith("["):
            # A bracket inside brackets is an ordinary character.
            was_inside, is_inside = is_inside, True
            return text.replace("[", r"\[") if was_inside else text
        if text == "]":
            is_inside = False
            return text
        return text if is_inside or multiline else r"\Z"

    return _TOKEN.sub(replace, pattern)
