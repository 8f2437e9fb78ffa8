"""What every verb needs: the kinds, their caches, schemas and defaults, and the way to the store."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import orjson

from kobune.api.catalogue import Catalogue, Kind
from kobune.api.clock import Clock
from kobune.api.defaulting import apply_defaults
from kobune.api.errors import FieldError, Json
from kobune.api.schema import Schema, Schemas, load_schemas
from kobune.api.validation import validate_create, validate_subresource_update, validate_update
from kobune.controlplane.apiserver.admission.chain import Admission
from kobune.controlplane.apiserver.authorization.authorizer import NO_OPINION, Access, Decision
from kobune.controlplane.apiserver.conversion import converted, converted_body
from kobune.controlplane.apiserver.customresources.table import CustomKinds
from kobune.controlplane.apiserver.minting import Mint
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.patterns import Patterns
from kobune.controlplane.apiserver.registry.strategy import EVENTS, may_be_lost
from kobune.controlplane.store.cache import Cache
from kobune.controlplane.store.feed import Feed
from kobune.controlplane.store.selection import Item
from kobune.controlplane.store.upkeep import EVENT_SECONDS

INDEXED = {"pods": ("spec.nodeName",)}  # Every kubelet asks for the pods of its node.


class Allocation(Protocol):
    """What a write would take; one of the two methods is called when the write is over."""

    async def commit(self) -> None:
        """The write is done: what the old object no longer needs is free."""

    async def abandon(self) -> None:
        """The write failed: what the new object would have had is free."""


class Allocator(Protocol):
    """Gives out what may be given only once: service addresses and ports."""

    async def allocate(self, call: Call, new: Json, old: Json | None) -> Allocation:
        """Fill in `new`, holding what it takes until the write is over. Raises Invalid when something is taken."""

    async def release(self, obj: Json) -> None:
        """The object is gone: what it had is free."""


class Registry:
    def __init__(
        self,
        feed: Feed,
        catalogue: Catalogue,
        *,
        version: str,
        clock: Clock,
        mint: Mint,
        admission: Admission,
        features: frozenset[str] = frozenset(),
    ) -> None:
        self.feed = feed
        self.catalogue = catalogue
        self.version = version
        self.features = features  # The feature gates that are on.
        self.clock = clock
        self.mint = mint
        self.admission = admission
        # What authorization says, for expressions that ask.
        self.may: Callable[[Access], Decision] = lambda _access: NO_OPINION
        self.event_seconds = EVENT_SECONDS  # How long an Event is kept after it was last written.
        self.shared_store = False  # Others write to the store too: consistent reads must ask it.
        self.allocators: dict[tuple[str, str], Allocator] = {}
        self._caches: dict[str, Cache] = {}
        self._schemas: Schemas | None = None
        self.custom = CustomKinds(catalogue, version)
        self.patterns = Patterns()

    # Kinds

    def stored(self, kind: Kind) -> Kind:
        """The version of the kind in which its objects are stored."""
        if kind.custom:
            return self.custom.served(kind).storage.kind
        return self.catalogue.storage_version(kind) if kind.stored else kind

    def schema(self, kind: Kind) -> Schema:
        if kind.custom:
            return self.custom.version(kind).schema
        if self._schemas is None:
            self._schemas = load_schemas(self.version)
        return self._schemas.of(kind.group, kind.version, kind.name)

    def default(self, kind: Kind, obj: Json) -> None:
        """Fill in the kind's defaults in place."""
        if kind.custom:
            self.custom.default(kind, obj)
        else:
            apply_defaults(kind, obj)

    def validate_create(self, kind: Kind, obj: Json) -> list[FieldError]:
        if kind.custom:
            return self.custom.validate_create(kind, obj)
        return validate_create(kind, obj)

    def validate_update(self, kind: Kind, new: Json, old: Json, *, subresource: str = "") -> list[FieldError]:
        if kind.custom:
            return self.custom.validate_update(kind, new, old, status=subresource == "status")
        # A scale is a change of the whole object, made elsewhere.
        if subresource and subresource != "scale":
            return validate_subresource_update(kind, subresource, new, old)
        return validate_update(kind, new, old)

    # Reading

    async def cache(self, kind: Kind) -> Cache:
        """The kind's cache, loaded at its first use."""
        cache = self._caches.get(kind.prefix)
        if cache is None:
            stored = self.stored(kind)
            cache = await self.feed.open(
                kind.prefix,
                namespaced=kind.namespaced,
                selectable=stored.selectable,
                indexed=INDEXED.get(kind.plural, ()) if not kind.group else (),
            )
            self._caches[kind.prefix] = cache
        return cache

    def open_cache(self, kind: Kind) -> Cache | None:
        """The kind's cache if it is loaded."""
        return self._caches.get(kind.prefix)

    def close_cache(self, kind: Kind) -> None:
        self._caches.pop(kind.prefix, None)
        self.feed.close(kind.prefix)

    async def find_item(self, kind: Kind, namespace: str, name: str) -> Item | None:
        cache, namespace = await self.cache(kind), namespace if kind.namespaced else ""
        item = cache.get(namespace, name)
        if item is None and self.shared_store:
            # Another server may have answered the client that made it, and we have not heard of it yet.
            await self.refresh()
            item = cache.get(namespace, name)
        if kind.custom and item is not None:
            await self.custom.prepare(kind, (item.body,))
        return item

    async def find(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """The decoded object, in the version of `kind`."""
        item = await self.find_item(kind, namespace, name)
        if item is None:
            return None
        obj: Json = orjson.loads(self.body_in(kind, item.body))
        return obj

    async def is_past(self, kind: Kind, item: Item) -> bool:
        """Whether another server has replaced or removed an item that the cache showed, now that it is up to date."""
        if not self.shared_store:
            return False
        await self.refresh()
        return (await self.cache(kind)).get(item.namespace, item.name) is not item

    async def refresh(self) -> None:
        """Return once reads show everything committed before this call, whoever wrote it."""
        if self.shared_store:
            await self.feed.caught_up()

    def builtin(self, group: str, version: str, name: str) -> Kind:
        """A kind that every cluster serves."""
        kind = self.catalogue.find_kind(group, version, name)
        if kind is None:
            raise LookupError(f"{group}/{version} {name} is not served")
        return kind

    # Writing

    async def write(self, kind: Kind, obj: Json, *, expected: int) -> bytes:
        """Store the object, given in the version of `kind`; its body in that version. Raises store Conflict."""
        meta, sort = obj["metadata"], (kind.group, kind.name)
        namespace = meta.get("namespace", "")
        cache = await self.cache(kind)
        item = await cache.write(
            namespace, meta["name"], await self._in_storage(kind, obj),
            expected=expected, durable=not may_be_lost(sort, namespace),
            seconds=self.event_seconds if sort in EVENTS else 0.0,
        )  # fmt: skip
        if kind.custom:
            await self.custom.prepare(kind, (item.body,))
        return self.body_in(kind, item.body)

    async def delete(self, kind: Kind, obj: Json, *, expected: int) -> None:
        """Remove the object. Raises store Conflict."""
        meta = obj["metadata"]
        await (await self.cache(kind)).delete(meta.get("namespace", ""), meta["name"], expected=expected)
        allocator = self.allocators.get((kind.group, kind.plural))
        if allocator is not None:
            await allocator.release(obj)

    def body_in(self, kind: Kind, body: bytes) -> bytes:
        """A stored body in the version of `kind`."""
        if kind.custom:
            return self.custom.read(kind, body)
        return converted_body(body, self.stored(kind), kind)

    async def in_version(self, obj: Json, source: Kind, target: Kind) -> Json:
        """An object in another version of its kind, the same object when the versions are one. Raises ApiError when a webhook fails to convert it."""
        if source.custom and source.api_version != target.api_version:
            return await self.custom.convert(obj, target)
        return converted(obj, source, target)

    async def _in_storage(self, kind: Kind, obj: Json) -> Json:
        return await self.custom.to_storage(kind, obj) if kind.custom else converted(obj, kind, self.stored(kind))

    def body_of(self, obj: Json) -> bytes:
        """The body of an object that is not stored (a dry run, a plan)."""
        return orjson.dumps(obj)

    def allocates(self, kind: Kind) -> bool:
        """Whether objects of the kind take something that can be given only once."""
        return (kind.group, kind.plural) in self.allocators

    @asynccontextmanager
    async def allocated(self, call: Call, new: Json, old: Json | None) -> AsyncIterator[None]:
        """Hold what `new` needs exclusively; given back when the write inside fails."""
        allocator = self.allocators.get((call.kind.group, call.kind.plural))
        if allocator is None:
            yield
            return
        allocation = await allocator.allocate(call, new, old)
        try:
            yield
        except BaseException:
            await allocation.abandon()
            raise
        await allocation.commit()
