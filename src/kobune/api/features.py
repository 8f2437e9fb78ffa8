"""Feature gates and API versions that are off unless a cluster's administrator switches them on.

Only gates that change something here have rows. Source: upstream pkg/features, featuregate, and api_enablement: the
flags `--feature-gates` and `--runtime-config`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kobune.api.kinds import Kind


class Gate(NamedTuple):
    name: str
    since: str  # The first version that knows the gate.
    until: str  # The first that no longer has what the gate stands for here.
    needs: tuple[str, ...] = ()  # Gates that must be on with it.


GENERIC_WORKLOAD, GANG_SCHEDULING = "GenericWorkload", "GangScheduling"

# All of them are alpha, and off by default.
GATES = (
    Gate(GENERIC_WORKLOAD, "1.36", "1.37"),
    Gate(GANG_SCHEDULING, "1.36", "1.37", (GENERIC_WORKLOAD,)),
)
ALL_ALPHA, ALL_BETA = "AllAlpha", "AllBeta"
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
_LEVELS = re.compile(r"v\d+(?:(alpha|beta)\d+)?")


def parse_gates(settings: Iterable[str], cluster_version: str) -> frozenset[str]:
    """The gates that are on, of settings as in `GangScheduling=true`.

    Raises:
        ValueError: a gate that this version does not know, or that needs another; the message is upstream's.
    """
    known = {gate.name: gate for gate in GATES if _minor(gate.since) <= _minor(cluster_version) < _minor(gate.until)}
    given = dict(_setting(text) for text in settings)
    for name in given:
        if name not in known and name not in (ALL_ALPHA, ALL_BETA):
            raise ValueError(f"unrecognized feature gate: {name}")
    enabled = frozenset(name for name in known if given.get(name, given.get(ALL_ALPHA, False)))
    for name in sorted(enabled):
        off = [need for need in known[name].needs if need not in enabled]
        if off:
            raise ValueError(f"{name} is enabled, but depends on features that are disabled: [{' '.join(off)}]")
    return enabled


def _setting(text: str) -> tuple[str, bool]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise ValueError(f"missing bool value for {name}")
    if value not in _TRUE + _FALSE:
        raise ValueError(f'invalid value of {name}={value}, err: strconv.ParseBool: parsing "{value}": invalid syntax')
    return name, value in _TRUE


def parse_runtime_config(settings: Iterable[str]) -> dict[str, bool]:
    """Which versions, resources and levels of stability are switched on or off: `batch/v1=false`, `api/all=true`.

    Raises:
        ValueError: a value that is neither true nor false.
    """
    chosen = {}
    for text in settings:
        name, _, value = (part.strip() for part in text.partition("="))
        if value and value not in _TRUE + _FALSE:
            raise ValueError(f"invalid value of {name}={value}, err: it is neither true nor false")
        chosen[name] = value not in _FALSE
    return chosen


def is_switched_on(kind: Kind, gates: frozenset[str], runtime_config: Mapping[str, bool]) -> bool:
    """Whether a server with these settings serves the kind: alpha versions only when asked to. Source: upstream MergeAPIResourceConfigs."""
    if kind.gate and kind.gate not in gates:
        return False
    resource = kind.resource
    level = _level(kind.version)
    default = runtime_config.get(f"api/{level}", runtime_config.get("api/all", level != "alpha"))
    of_version = runtime_config.get(resource.api_version, default)
    return runtime_config.get(f"{resource.api_version}/{kind.plural}", of_version)


def _level(version: str) -> str:
    match = _LEVELS.fullmatch(version)
    return (match[1] if match else "") or "ga"


def _minor(cluster_version: str) -> tuple[int, int]:
    major, minor, *_ = cluster_version.split(".")
    return int(major), int(minor)
