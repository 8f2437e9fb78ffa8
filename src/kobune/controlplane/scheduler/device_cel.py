"""CEL expressions of device selectors: `device.driver`, `device.attributes`, `device.capacity`, quantities and versions.

Source: Kubernetes documentation, Dynamic Resource Allocation, and API reference, CELDeviceSelector. A selector that fails
on a device (an attribute that is not there) does not select it.
"""

from functools import cache
from typing import Any

from kobune.api.quantity import parse_quantity

MILLI = 1000
LARGEST = 2**63 - 1


def selects(expression: str, device: dict[str, Any]) -> bool:
    """Whether the expression is true of the device.

    Raises:
        ValueError: it is no CEL expression.
    """
    return _compiled(expression).eval(data={"device": device}).value() is True


def as_quantity(text: str) -> int:
    """A quantity as expressions see it: thousandths, so that it can be compared as an integer."""
    amount = parse_quantity(text)
    return max(-LARGEST, min(LARGEST, int(amount * MILLI)))


@cache
def _compiled(expression: str) -> Any:
    try:
        return _environment().compile(expression)
    except RuntimeError as error:
        raise ValueError(str(error)) from error


@cache
def _environment() -> Any:
    from cel_expr_python import cel  # Late: few clusters have devices, and the engine takes a moment to load.

    dyn, text, number, truth = cel.Type.DYN, cel.Type.STRING, cel.Type.INT, cel.Type.BOOL

    def overload(name: str, result: Any, parameters: list[Any], *, member: bool, what: Any) -> Any:
        return cel.Overload(id=name, return_type=result, parameters=parameters, is_member=member, impl=what)

    def compared(name: str, result: Any, verdict: Any) -> Any:
        """A comparison of two quantities, or of two versions."""
        return cel.FunctionDecl(
            name,
            [
                overload(f"{name}_quantity", result, [number, number], member=True, what=lambda a, b: verdict(_sign(a, b))),
                overload(
                    f"{name}_version", result, [text, text], member=True, what=lambda a, b: verdict(_sign(_parts(a), _parts(b)))
                ),
            ],
        )  # fmt: skip

    functions = [
        cel.FunctionDecl("quantity", [overload("to_quantity", number, [text], member=False, what=as_quantity)]),
        cel.FunctionDecl("semver", [overload("to_version", text, [text], member=False, what=lambda version: version)]),
        compared("compareTo", number, lambda sign: sign),
        compared("isGreaterThan", truth, lambda sign: sign > 0),
        compared("isLessThan", truth, lambda sign: sign < 0),
    ]
    return cel.NewEnv(variables={"device": dyn}, functions=functions)


def _sign(one: Any, other: Any) -> int:
    return int(one > other) - int(one < other)


def _parts(version: str) -> tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]:
    """A semantic version in a form that sorts: a release comes after its pre-releases."""
    core, _, pre = version.partition("+")[0].partition("-")
    numbers = tuple(int(part) for part in core.split("."))
    labels = tuple((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in pre.split(".") if part)
    return numbers, not labels, labels
