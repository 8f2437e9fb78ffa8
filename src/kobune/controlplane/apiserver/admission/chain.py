"""The plugins in their order, and which of them a request concerns."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

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
