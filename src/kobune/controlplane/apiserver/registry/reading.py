"""The verbs get, list and watch. Nothing here decodes an object, unless it is asked for in another form."""

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import BadRequest, FieldError, Gone, Timeout, not_found, status_of
from kobune.api.field_selectors import FieldRequirement, FieldSelector, parse_fields
from kobune.api.selectors import parse_labels
from kobune.controlplane.apiserver.conversion import EVENT_FIELDS
from kobune.controlplane.apiserver.options import ListOptions
from kobune.controlplane.apiserver.registry.version_fields import OF_EVERY_KIND, VersionFields, split, unknown_field
from kobune.controlplane.apiserver.request import Part
from kobune.controlplane.store.cache import Cache, Listing
from kobune.controlplane.store.encoding import bookmark, frame
from kobune.controlplane.store.selection import Item, Selection
from kobune.controlplane.store.watchers import Bookmark, Frames, Render, Watcher

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

CHUNK_BYTES = 256 * 1024  # Of a list that is sent in parts.
WAIT_FOR_REVISION_SECONDS = 3.0  # Source: upstream watch cache, blockTimeout.
_ABOUT_OBJECTS = frozenset({b"ADDED", b"MODIFIED", b"DELETED"})
AS_OF_NOW = -1  # In a token: go on, whatever has changed since. Source: upstream handleCompactedErrorForPaging.
SHORTEST_WATCH_SECONDS = 1800.0  # Without timeoutSeconds a watch ends at random between this and twice this.


class Watching(NamedTuple):
    """A watch that has begun."""

    frames: AsyncIterator[Part]
    watcher: Watcher | None = None  # Where `frames` come from as they are.


class Results(NamedTuple):
    """A list: the bodies in the version asked for, and the list's metadata."""

    bodies: Sequence[bytes]
    revision: int
    continue_: str
    remaining: int


async def get(registry: "Registry", kind: Kind, namespace: str, name: str) -> bytes:
    """The object's body. Raises NotFound."""
    item = await registry.find_item(kind, namespace, name)
    if item is None:
        raise not_found(kind.plural, name, group=kind.group)
    return registry.body_in(kind, item.body)


async def list_items(registry: "Registry", kind: Kind, namespace: str, options: ListOptions) -> Listing:
    """The items a list shows, in the stored version. Raises BadRequest, Gone, Timeout."""
    options, late = split(registry, kind, options)
    listing = await _list_items(registry, kind, namespace, options)
    if kind.custom:
        await registry.custom.prepare(kind, [item.body for item in listing.items])
    if late is not None:
        return listing._replace(items=[item for item in listing.items if late.choose(item.body)])
    return listing


async def _list_items(registry: "Registry", kind: Kind, namespace: str, options: ListOptions) -> Listing:
    cache = await registry.cache(kind)
    chosen = selection(cache, kind, namespace, options)
    if options.continue_:
        revision, after = _read_continue(options.continue_, cache.prefix)
        if options.resource_version not in ("", "0"):
            raise BadRequest("specifying resource version is not allowed when using continue")
        if revision == AS_OF_NOW:
            return cache.page(chosen, options.limit, after=after)
        try:
            return await cache.next_page(chosen, options.limit, after=after, revision=revision or cache.revision)
        except Gone as error:
            error.continue_ = _token(AS_OF_NOW, after.removeprefix(cache.prefix))
            raise
    wanted = resource_version(options.resource_version)
    # Upstream asks etcd, not its cache, for a page or an exact revision, and what etcd refuses is not to be tried again.
    from_cache = options.match == "NotOlderThan" or not (options.limit or options.match)
    await reach(registry, wanted, again=from_cache)
    if options.match == "Exact":
        return await cache.next_page(chosen, options.limit, after="", revision=wanted)
    if not wanted and not options.resource_version:
        await registry.refresh()
    if options.limit and options.resource_version != "0":
        return cache.page(chosen, options.limit)
    revision = cache.revision
    return Listing(cache.list(chosen), revision, False, 0)


def results(registry: "Registry", kind: Kind, listing: Listing, prefix: str) -> Results:
    """The listing's bodies in the version of `kind`."""
    stored = registry.stored(kind)
    if stored is kind and not kind.custom:
        bodies = [item.body for item in listing.items]
    else:
        bodies = [registry.body_in(kind, item.body) for item in listing.items]
    more = _continue_token(listing.revision, listing.items[-1], prefix) if listing.more else ""
    return Results(bodies, listing.revision, more, listing.remaining)


def list_body(kind: Kind, found: Results) -> bytes:
    """The List object, joined from the items' bodies."""
    head = list_head(kind.list_name, kind.api_version, found)
    return b"".join((head, b",".join(found.bodies), b"]}\n"))


def list_chunks(kind: Kind, found: Results) -> Iterator[bytes]:
    """The same, a part at a time, so that a large list is never in memory as a whole beside its items."""
    yield list_head(kind.list_name, kind.api_version, found)
    chunk: list[bytes] = []
    size, comma = 0, b""
    for body in found.bodies:
        chunk.append(body)
        size += len(body)
        if size >= CHUNK_BYTES:
            yield comma + b",".join(chunk)
            chunk, size, comma = [], 0, b","
    yield (comma if chunk else b"") + b",".join(chunk) + b"]}\n"


def list_head(name: str, api_version: str, found: Results) -> bytes:
    """Everything before a list's first item."""
    more = ""
    if found.continue_:
        more = f',"continue":"{found.continue_}"'
        if found.remaining:
            more += f',"remainingItemCount":{found.remaining}'
    return (
        f'{{"kind":"{name}","apiVersion":"{api_version}",'
        f'"metadata":{{"resourceVersion":"{found.revision}"{more}}},"items":['
    ).encode()


async def watch(
    registry: "Registry",
    kind: Kind,
    namespace: str,
    name: str,
    options: ListOptions,
    *,
    render: Render = frame,
    mark: Bookmark | None = None,
) -> Watching:
    """The frames of a watch, until its time is over, the client goes, or it falls too far behind.

    Args:
        name: watch this object alone; empty: all that the options select.
        render, mark: make the frames and the bookmarks.
    Raises:
        BadRequest, Timeout.
    """
    cache = await registry.cache(kind)
    options, late = split(registry, kind, options)
    chosen = selection(cache, kind, namespace, options, name=name)
    wanted = resource_version(options.resource_version)
    initial = options.send_initial_events
    if initial:
        try:
            await reach(registry, wanted)
        except Timeout as error:
            return Watching(_one(frame(b"ERROR", orjson.dumps(status_of(error)))))
    from_now = initial is False and not wanted
    after = cache.revision if from_now else (wanted or None)
    if initial:
        after = None
    seconds = float(options.timeout_seconds) or SHORTEST_WATCH_SECONDS * (1 + registry.mint.seconds_between(0, 1))
    marks = (mark or _bookmarks(kind)) if options.bookmarks else None
    asked = render if kind.custom and (late is not None or registry.custom.asks_webhook(kind)) else None

    def begin() -> Watcher:
        return cache.watch(
            chosen, after=after, initial_events_end=bool(initial), bookmark=marks, render=render if asked is None else frame
        )  # fmt: skip

    async def frames(watcher: Watcher) -> AsyncGenerator[Frames, None]:
        with watcher:
            try:
                async with asyncio.timeout(seconds):
                    async for batch in watcher:
                        if asked is not None:
                            batch = await _converted(registry, kind, batch, asked, late)
                        if batch:
                            yield batch
            except TimeoutError:
                return

    if not initial and wanted > registry.feed.revision:
        return Watching(_in_future(registry, wanted, seconds, lambda: frames(begin())))
    try:
        watcher = begin()
    except Gone as error:
        return Watching(_one(frame(b"ERROR", orjson.dumps(status_of(error)))))
    return Watching(frames(watcher), watcher if asked is None else None)


async def _in_future(
    registry: "Registry", revision: int, seconds: float, begin: Callable[[], AsyncGenerator[Frames, None]]
) -> AsyncIterator[Part]:
    """A watch from a revision that is not there yet is told nothing until it is. Source: upstream watch cache."""
    try:
        async with asyncio.timeout(seconds):
            await registry.feed.reached(revision)
        found = begin()
    except TimeoutError:
        return
    except Gone as error:
        yield frame(b"ERROR", orjson.dumps(status_of(error)))
        return
    async with aclosing(found) as frames:
        async for part in frames:
            yield part


async def _converted(
    registry: "Registry", kind: Kind, batch: Sequence[bytes], render: Render, late: VersionFields | None
) -> Frames:
    """Frames of the stored objects as frames in the version of `kind`: of those that are selected there."""
    events = [(line[9 : line.index(b'"', 9)], line) for line in batch]  # {"type":"ADDED",…
    bodies = [line[line.index(b'"object":') + 9 : -2] for _, line in events]
    wanted = [body for (event, _), body in zip(events, bodies, strict=True) if event in _ABOUT_OBJECTS]
    await registry.custom.prepare(kind, wanted)
    frames = []
    for (event, line), body in zip(events, bodies, strict=True):
        if event not in _ABOUT_OBJECTS:
            frames.append(line)
        elif (told := event if late is None else late.event(event, body)) is not None:
            frames.append(render(told, body))
    return Frames(frames)


def selection(cache: Cache, kind: Kind, namespace: str, options: ListOptions, *, name: str = "") -> Selection:
    """What the options select. Raises BadRequest for a selector that is none, or for a field that cannot be selected."""
    if not options.labels and not options.fields:
        return Selection(namespace if kind.namespaced else "", name)
    fields = parse_fields(options.fields)
    if kind.group == "events.k8s.io":
        fields = FieldSelector(
            [FieldRequirement(EVENT_FIELDS.get(one.field, one.field), one.operator, one.value)
             for one in fields.requirements]
        )  # fmt: skip
    for one in fields.requirements:
        if one.field not in OF_EVERY_KIND and one.field not in cache.selectable:
            raise unknown_field(kind, one.field)
    return Selection(namespace if kind.namespaced else "", name, parse_labels(options.labels), fields)


def resource_version(text: str) -> int:
    """The number in a resourceVersion, 0 for none. Raises BadRequest."""
    if not text:
        return 0
    if not text.isdecimal():
        why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        raise BadRequest(f'invalid resource version: resourceVersion: Invalid value: "{text}": {why}')
    return int(text)


async def reach(registry: "Registry", revision: int, *, again: bool = True) -> None:
    """Wait until reads show this revision. Raises Timeout, which says to try again or not, when it does not come."""
    if revision <= registry.feed.revision:
        return
    try:
        async with asyncio.timeout(WAIT_FOR_REVISION_SECONDS):
            await registry.feed.reached(revision)
    except TimeoutError as error:
        raise Timeout(
            f"Timeout: Too large resource version: {revision}, current: {registry.feed.revision}",
            FieldError("", "ResourceVersionTooLarge", "Too large resource version"),
            retry_after_seconds=1 if again else 0,
        ) from error


def plain_render(registry: "Registry", kind: Kind) -> Render:
    """Frames in the version of `kind`."""
    if not kind.custom and registry.stored(kind) is kind:
        return frame
    return lambda event, body: frame(event, registry.body_in(kind, body))


def _bookmarks(kind: Kind) -> Bookmark:
    return lambda revision, initial_events_end: bookmark(kind.name, kind.api_version, revision, initial_events_end)


async def _one(line: bytes) -> AsyncIterator[bytes]:
    yield line


def _continue_token(revision: int, last: Item, prefix: str) -> str:
    return _token(revision, last.key.removeprefix(prefix))


def _token(revision: int, after: str) -> str:
    token = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": after + "\0"})
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def _read_continue(token: str, prefix: str) -> tuple[int, str]:
    """(revision, the last key shown). Raises BadRequest."""
    try:
        read = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        version, revision, start = read["v"], read["rv"], read["start"]
        if version != "meta.k8s.io/v1" or not isinstance(revision, int) or not isinstance(start, str) or not start:
            raise ValueError("not a token of this version")
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise BadRequest(f"invalid continue token: continue key is not valid: {error}") from error
    return revision, prefix + start.removesuffix("\0")
