"""The CEL expressions of webhooks and policies: whether they compile, and give what they should.

What an expression sees of a request has no type here, so what upstream knows better passes; so do expressions with what the
engine does not have yet: named formats, places in lists. Source: upstream admission/plugin/cel/compile.go.
"""

import re
from functools import cache
from typing import TYPE_CHECKING

from kobune.api.field_errors import invalid
from kobune.api.validation.checks import Errors

if TYPE_CHECKING:
    from kobune.api.cel.environment import Checker

SEEN = ("object", "oldObject", "request", "namespaceObject", "authorizer")
_BEYOND = re.compile(r"\bformat\.|[iI]ndexOf\(")


def check_expression(
    text: str, expected: tuple[str, ...], path: str, errors: Errors, *, params: bool = False, variables: bool = False
) -> None:
    """Args: expected: the types it may have, as upstream names them, or none for any; params, variables: whether it may speak of these."""
    if _BEYOND.search(text):
        return
    # Here, because few clusters have such expressions, and the engine takes time to load.
    from kobune.api.cel.authorizer import with_request
    from kobune.api.cel.environment import CelError

    names = (*SEEN, *(("params",) if params else ()), *(("variables",) if variables else ()))
    try:
        found = _checker(names).type_of(with_request(text)).lower()
    except CelError as error:
        errors.append(invalid(path, text, f"compilation failed: {error}"))
        return
    if expected and found not in expected and found != "dyn":
        several = f"must evaluate to one of [{' '.join(expected)}]"
        detail = several if len(expected) > 1 else f"must evaluate to {expected[0]} but got {found}"
        errors.append(invalid(path, text, detail))


def check_mutation(text: str, expected: str, path: str, errors: Errors) -> None:
    """Args: expected: the type that it must have, "Object" or "list(JSONPatch)"."""
    if _BEYOND.search(text):
        return
    from kobune.api.cel.authorizer import with_request
    from kobune.api.cel.environment import CelError
    from kobune.api.cel.mutation_types import mutation_type

    try:
        # Whoever names parameters where there are none fails when it is evaluated.
        found = mutation_type(with_request(text), (*SEEN, "params", "variables"))
    except CelError as error:
        errors.append(invalid(path, text, f"compilation failed: {error}"))
        return
    if found not in ("", expected):
        errors.append(invalid(path, text, f"must evaluate to {expected} but got {found}"))


@cache
def _checker(names: tuple[str, ...]) -> "Checker":
    from kobune.api.cel.environment import Checker, type_named

    return Checker({name: type_named("dyn") for name in names})
