"""The plugins in their order, and which of them a request concerns."""

from collections.abc import Awaitable, Iterable, Sequence
from typing import Protocol, runtime_checkable

from kobune.api.catalogue import Kind
from kobune.controlplane.apiserver.admission.attributes import Attributes

EVERY = "*"  # Every resource, but no subresource.
EVERYTHING = "**"


class Plugin(Protocol):
    """One admission plugin. `operations` are "CREATE", "UPDATE", "DELETE", "CONNECT".

    `resources` are plurals, with the subresource after a slash; `*` is every resource but no subresource, `**` is
    everything. A plugin that must wait answers an awaitable. Both methods refuse by raising an ApiError.
    """

    @property
    def name(self) -> str: ...
    @property
    def operations(self) -> tuple[str, ...]: ...
    @property
    def resources(self) -> tuple[str, ...]: ...

    def admit(self, attributes: Attributes) -> Awaitable[None] | None:
        """Change the object in place, or refuse."""

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        """Judge the final object."""


@runtime_checkable
class Repeating(Protocol):
    """A plugin that can tell when its verdict on a new object holds for others that differ in their names alone."""

    def rests_on(self, attributes: Attributes) -> Sequence[Kind] | None:
        """The kinds on whose objects the verdict rested, beside the request; None: on more, or it left a trace."""


class Admission:
    """All plugins. Which ones a resource and operation concern is looked up once."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self.plugins = tuple(plugins)
        self._concerned: dict[tuple[str, str, str, str], tuple[Plugin, ...]] = {}

    async def admit(self, attributes: Attributes) -> None:
        for plugin in self._plugins(attributes):
            waiting = plugin.admit(attributes)
            if waiting is not None:
                await waiting

    async def validate(self, attributes: Attributes) -> None:
        for plugin in self._plugins(attributes):
            waiting = plugin.validate(attributes)
            if waiting is not None:
                await waiting

    def rests_on(self, attributes: Attributes) -> Iterable[Kind] | None:
        """What the verdicts of all plugins on a new object rested on; None: on more than objects and the request."""
        kinds: dict[Kind, None] = {}
        for plugin in self._plugins(attributes):
            rests = plugin.rests_on(attributes) if isinstance(plugin, Repeating) else None
            if rests is None:
                return None
            kinds.update(dict.fromkeys(rests))
        return kinds

    def _plugins(self, attributes: Attributes) -> tuple[Plugin, ...]:
        call = attributes.call
        key = (attributes.operation, call.kind.group, call.kind.plural, call.subresource)
        found = self._concerned.get(key)
        if found is None:
            resource = f"{call.kind.plural}/{call.subresource}" if call.subresource else call.kind.plural
            found = self._concerned[key] = tuple(
                plugin
                for plugin in self.plugins
                if attributes.operation in plugin.operations
                and (
                    resource in plugin.resources
                    or EVERYTHING in plugin.resources
                    or (EVERY in plugin.resources and not call.subresource)
                )
            )
        return found
