"""From a configuration to profiles that can be run: every plugin made once per profile and put where it is enabled."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kobune.api.clock import Clock
from kobune.client.client import Client
from kobune.controlplane.scheduler.configuration import Configuration, ProfileConfiguration
from kobune.controlplane.scheduler.events import ClusterEvent
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.node_table import NodeTable
from kobune.controlplane.scheduler.plugins.default_preemption import DefaultPreemption
from kobune.controlplane.scheduler.plugins.dynamic_resources import DynamicResources, Tell
from kobune.controlplane.scheduler.plugins.plugin import Filter
from kobune.controlplane.scheduler.plugins.table import PLUGINS
from kobune.controlplane.scheduler.pod_info import PodInfo
from kobune.controlplane.scheduler.preemption import Preemption
from kobune.controlplane.scheduler.profile import Profile, split_scores

log = logging.getLogger(__name__)


@runtime_checkable
class Gate(Protocol):
    """A plugin that can keep a pod from being tried."""

    @property
    def name(self) -> str: ...

    def gate(self, pod: PodInfo) -> str:
        """What the pod waits for, in upstream's words; empty when it may be tried."""


@runtime_checkable
class Permit(Protocol):
    """A plugin that can keep a pod that has found a node from being bound."""

    def permit(self, pod: PodInfo) -> str:
        """What the pod waits for, in upstream's words; empty when it may be bound. Raises LookupError."""


@runtime_checkable
class Reserve(Protocol):
    """A plugin that has something to do between the choice of a node and the binding."""

    @property
    def name(self) -> str: ...

    def reserve(self, pod: PodInfo, nodes: NodeTable, row: int) -> None:
        """The pod goes to this node: keep what it needs there from others."""

    def unreserve(self, pod: PodInfo) -> None:
        """The pod does not go there after all."""

    def prepares(self, pod: PodInfo) -> bool:
        """Whether `prepare` has anything to do for the pod."""

    async def prepare(self, pod: PodInfo, node_name: str, client: Client, clock: Clock, tell: Tell) -> None:
        """Do what must be done before the pod is bound; `tell` records a normal event about it. Raises ApiError."""


@runtime_checkable
class Helps(Protocol):
    def helps(self, event: ClusterEvent, pod: PodInfo) -> bool: ...


@dataclass(slots=True)
class Running:
    """A profile and everything that is asked of its plugins outside the cycle itself."""

    profile: Profile
    gates: tuple[Gate, ...]
    reserves: tuple[Reserve, ...]
    permits: tuple[Permit, ...]
    helpers: Mapping[str, Helps]
    preemption: Preemption | None  # None: no pod is evicted for another.
    preempting: DefaultPreemption | None
    releasing: DynamicResources | None  # None: no claim is given back for another chance.

    def gate(self, pod: PodInfo) -> str:
        """The plugin that keeps the pod from being tried, or empty."""
        for plugin in self.gates:
            if plugin.gate(pod):
                return plugin.name
        return ""

    def permit(self, pod: PodInfo) -> str:
        """What a pod that has found a node waits for, or empty. Raises LookupError."""
        return next((text for plugin in self.permits if (text := plugin.permit(pod))), "")

    def helps(self, plugin: str, event: ClusterEvent, pod: PodInfo) -> bool:
        """Whether an event may help a pod that `plugin` refused; of plugins not known here, anything might."""
        helper = self.helpers.get(plugin)
        try:
            return helper is None or helper.helps(event, pod)
        except Exception:
            # Better one attempt too many than a pod that waits for ever. Source: upstream isPodWorthRequeuing.
            log.exception("hint failed", extra={"plugin": plugin, "resource": event.resource})
            return True


def build_profiles(config: Configuration, listers: Listers) -> dict[str, Running]:
    """The configured profiles by scheduler name."""
    return {profile.scheduler_name: build_profile(profile, listers) for profile in config.profiles}


def build_profile(config: ProfileConfiguration, listers: Listers) -> Running:
    """One profile with its plugins made."""
    rows = {row.name: row for row in PLUGINS}
    used = {use.name for uses in config.points.values() for use in uses}
    made = {name: rows[name].make(config.args.get(name, {}), listers) for name in used}
    filters = [made[use.name] for use in config.points.get("filter", ())]
    scores, ranks = split_scores([(made[use.name], use.weight) for use in config.points.get("score", ())])
    gates = [made[use.name] for use in config.points.get("preEnqueue", ())]
    reserves = [made[use.name] for use in config.points.get("reserve", ())]
    permits = [made[use.name] for use in config.points.get("permit", ())]
    after = [made[use.name] for use in config.points.get("postFilter", ())]
    preempting = next((plugin for plugin in after if isinstance(plugin, DefaultPreemption)), None)
    profile = Profile(
        config.scheduler_name, [plugin for plugin in filters if isinstance(plugin, Filter)], scores, ranks
    )
    return Running(
        profile=profile,
        preemption=None if preempting is None else Preemption(profile, preempting.limits),
        preempting=preempting,
        releasing=next((plugin for plugin in after if isinstance(plugin, DynamicResources)), None),
        reserves=tuple(plugin for plugin in reserves if isinstance(plugin, Reserve)),
        gates=tuple(plugin for plugin in gates if isinstance(plugin, Gate)),
        permits=tuple(plugin for plugin in permits if isinstance(plugin, Permit)),
        helpers={name: plugin for name, plugin in made.items() if isinstance(plugin, Helps)},
    )
