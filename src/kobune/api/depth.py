"""How deep documents may be nested: far deeper than any object is, and not so deep that they cannot be written again."""

from typing import Any

import orjson

from kobune.api.errors import BadRequest

# The encoder writes 254 levels; an answer may stand some levels deep in another document. (Go's reader takes 10,000.)
MAX_DEPTH = 240
OPENING = (b"{", b"[")


def check_depth(document: Any, body: bytes) -> None:
    """Refuse a document that is nested too deep; `body` is what it was read from. Raises BadRequest."""
    if sum(map(body.count, OPENING)) > MAX_DEPTH:
        check_nesting(document)


def check_nesting(document: Any) -> None:
    """As `check_depth`, for a document that was made. Raises BadRequest."""
    shell = document
    for _ in range(254 - MAX_DEPTH):
        shell = [shell]
    try:
        orjson.dumps(shell)
    except TypeError as error:
        raise BadRequest(f"exceeded max depth: objects may be nested {MAX_DEPTH} levels deep") from error
