"""Remembering which parts of specs are sound: most pods carry the same few resource blocks, tolerations and token volumes."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson

from kobune.api.errors import FieldError

CheckPart = Callable[[Any, str, list[FieldError]], None]


def remembered(check: CheckPart) -> CheckPart:
    """`check`, which must depend on the part alone, run once for each part that has no fault."""

    @lru_cache(maxsize=4096)
    def is_sound(part: bytes) -> bool:
        errors: list[FieldError] = []
        check(orjson.loads(part), "", errors)
        return not errors

    def check_once(part: Any, path: str, errors: list[FieldError]) -> None:
        if not is_sound(orjson.dumps(part)):
            check(part, path, errors)

    return check_once
