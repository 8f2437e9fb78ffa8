"""What a scheduler is told: its profiles, the plugins of each with weights and arguments, and the back-off."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kobune.api.errors import Json
from kobune.controlplane.scheduler.extender import ExtenderConfiguration
from kobune.controlplane.scheduler.plugins.table import plugins_with

DEFAULT_SCHEDULER = "default-scheduler"


class Use(NamedTuple):
    """A plugin enabled at an extension point."""

    name: str
    weight: int = 0  # At `score` only.


Points = Mapping[str, tuple[Use, ...]]  # By extension point, in the order in which plugins are asked.


def default_points(features: frozenset[str] = frozenset()) -> dict[str, tuple[Use, ...]]:
    """Every plugin at every point that it has, in the table's order, with these feature gates on."""
    points: dict[str, list[Use]] = {}
    for row in plugins_with(features):
        for point in row.points:
            points.setdefault(point, []).append(Use(row.name, row.weight if point == "score" else 0))
    return {point: tuple(uses) for point, uses in points.items()}


@dataclass(frozen=True, slots=True)
class ProfileConfiguration:
    scheduler_name: str = DEFAULT_SCHEDULER
    points: Points = field(default_factory=default_points)
    args: Mapping[str, Json] = field(default_factory=dict)  # By plugin.


@dataclass(frozen=True, slots=True)
class Configuration:
    profiles: tuple[ProfileConfiguration, ...] = (ProfileConfiguration(),)
    pod_initial_backoff_seconds: float = 1.0
    pod_max_backoff_seconds: float = 10.0
    extenders: tuple[ExtenderConfiguration, ...] = ()
    features: frozenset[str] = frozenset()  # The feature gates that are on.


DEFAULT = Configuration()


def default_configuration(features: frozenset[str]) -> Configuration:
    """What a scheduler does that is told nothing but its feature gates."""
    return Configuration((ProfileConfiguration(points=default_points(features)),), features=features)
