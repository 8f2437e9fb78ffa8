"""CEL expressions of device selectors: `device.driver`, `device.attributes`, `device.capacity`.

Source: Kubernetes documentation, Dynamic Resource Allocation, and API reference, CELDeviceSelector. A selector that fails
on a device (an attribute that is not there) does not select it.
"""

from collections.abc import Mapping
from typing import Any

from kobune.api.errors import Json


def selects(expression: str, device: Json) -> bool:
    """Whether the expression is true of the device, which is as `seen` makes it.

    Raises:
        ValueError: it is no CEL expression.
    """
    # Late: few clusters have devices, and the engine takes a moment to load.
    from kobune.api.cel.environment import CelError, Evaluation, compiled

    evaluator, program = compiled(expression, ("device",))
    if isinstance(program, CelError):
        raise program
    try:
        return program.run(evaluator.activation({"device": device})) is True
    except Evaluation:
        return False


def seen(driver: str, attributes: Mapping[str, tuple[str, Any]], capacity: Mapping[str, str], *, shared: bool) -> Json:
    """A device as expressions see it. Attributes are kinds ("int", "version", …) and values, all by qualified name."""
    from kobune.api.cel.library import quantity_value, version_value

    values = {name: version_value(value) if kind == "version" else value for name, (kind, value) in attributes.items()}
    return {
        "driver": driver,
        "attributes": _by_domain(values),
        "capacity": _by_domain({name: quantity_value(text) for name, text in capacity.items()}),
        "allowMultipleAllocations": shared,
    }


def _by_domain(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    domains: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        domain, _, rest = name.partition("/")
        domains.setdefault(domain, {})[rest] = value
    return domains
