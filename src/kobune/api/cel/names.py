"""Field names as CEL expressions write them. Source: upstream apiserver/pkg/cel/escaping.go."""

import re
from functools import lru_cache

_RESERVED = frozenset(
    (
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
        "let", "loop", "package", "namespace", "return", "var", "void", "while",
    )
)  # fmt: skip
_WRITABLE = re.compile(r"[a-zA-Z_./-][a-zA-Z0-9_./-]*")
_ESCAPED = re.compile(r"__|[./-]")
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}


@lru_cache(maxsize=4096)
def escaped(name: str) -> str:
    """The identifier for a field; "" when expressions cannot name it."""
    if name in _RESERVED:
        return f"__{name}__"
    if not _WRITABLE.fullmatch(name):
        return ""
    return _ESCAPED.sub(lambda match: _ESCAPES[match[0]], name)
