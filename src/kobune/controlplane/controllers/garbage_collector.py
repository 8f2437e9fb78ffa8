"""Deletes what lost its owners, orphans what was told to be, and lets foreground deletions wait for their dependents.

The graph lives in memory: every object of every discovered kind by uid, and who names whom as owner. It is fed by
informers that read metadata only, and shares those that the manager has anyway.
"""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Any

from kobune.api.catalogue import Resource
from kobune.api.errors import ApiError, Conflict, Json, NotFound
from kobune.api.objects.lean import AnyObject
from kobune.api.objects.meta import Key, Object, ObjectMeta, OwnerReference
from kobune.client.discovery import Discovered, Rediscovery, ServedResource
from kobune.client.informer import Informer
from kobune.client.queue import WorkQueue
from kobune.controlplane.controllers.controller import Context, Controller

log = logging.getLogger(__name__)

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
DEFINITIONS = ("apiextensions.k8s.io", "customresourcedefinitions")  # A change here may mean other kinds.
RESYNC_SECONDS = 30.0  # How often kinds are discovered anew. Source: upstream's Sync period.
WORKERS = 20  # Source: upstream --concurrent-gc-syncs.
ABSENT_REMEMBERED = 500  # Owners known not to exist. Source: upstream's absentOwnerCache.
IGNORED = frozenset({("", "events"), ("events.k8s.io", "events")})  # Source: upstream DefaultIgnoredResources.


@dataclass(slots=True)
class Node:
    """One object of the graph."""

    resource: Resource
    kind: str
    meta: ObjectMeta

    @property
    def is_deleting(self) -> bool:
        return self.meta.deletion_timestamp is not None

    @property
    def waits_for_dependents(self) -> bool:
        return self.is_deleting and FOREGROUND in self.meta.finalizers

    @property
    def orphans_dependents(self) -> bool:
        return self.is_deleting and ORPHAN in self.meta.finalizers

    @property
    def key(self) -> Key:
        return Key(self.meta.namespace, self.meta.name)

    def is_named_by(self, reference: OwnerReference, dependent: ObjectMeta) -> bool:
        """The reference means this object, where it is and what it is; a namespaced owner is the same namespace's."""
        group, slash, _ = reference.api_version.partition("/")
        return (
            reference.name == self.meta.name
            and reference.kind == self.kind
            and (group if slash else "") == self.resource.group
            and self.meta.namespace in ("", dependent.namespace)
        )


class GarbageCollector:
    """The graph and the queue of uids to look at."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self.nodes: dict[str, Node] = {}
        self.dependents: dict[str, set[str]] = {}  # By the uid of the owner named, whether it exists or not.
        self.queue: WorkQueue[str] = WorkQueue(context.clock, name=context.queue.name, metrics=context.queue.metrics)
        self._absent: OrderedDict[tuple[str, str], None] = OrderedDict()  # By owner's uid and dependent's namespace.
        self._watched: dict[tuple[str, str], tuple[Informer[Any], asyncio.Task[None] | None]] = {}
        self._kinds: dict[tuple[str, str], ServedResource] = {}  # By group and kind.
        self._news = asyncio.Event()  # Other kinds may be served than at the last look.
        self._ready = asyncio.Event()  # Every informer is in, so that what is not in the graph is worth a question.

    async def run(self) -> None:
        """Collect garbage, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_discovery(group), name="discovery")
            group.create_task(self._look_again(), name="discovery interval")
            await self._ready.wait()
            await self.queue.run(self._process, workers=WORKERS)

    # The graph

    def on_change(self, resource: Resource, kind: str, old: Object | None, new: Object | None) -> None:
        """Take a change into the graph, and queue what it concerns."""
        if new is None:
            if old is not None:
                self._remove(old.metadata)
            return
        self._put(Node(resource, kind, new.metadata))

    def _put(self, node: Node) -> None:
        uid = node.meta.uid
        before = self.nodes.get(uid)
        self.nodes[uid] = node
        references = node.meta.owner_references
        earlier = before.meta.owner_references if before is not None else []
        if references != earlier:
            for reference in earlier:
                self._unlink(reference.uid, uid)
                # A reference that is gone or blocks no longer may be what its owner waits for.
                self._wake_waiting(reference.uid)
            for reference in references:
                self.dependents.setdefault(reference.uid, set()).add(uid)
        if references != earlier and any(self._needs_a_look(node, reference) for reference in references):
            self.queue.add(uid)
        if node.is_deleting and (
            before is None or not before.is_deleting or node.meta.finalizers != before.meta.finalizers
        ):
            if node.orphans_dependents:
                self.queue.add(uid)
            elif node.waits_for_dependents:
                self.queue.add(uid)
                for dependent in self.dependents.get(uid, ()):
                    self.queue.add(dependent)
            for reference in references:
                self._wake_waiting(reference.uid)

    def _remove(self, meta: ObjectMeta) -> None:
        node = self.nodes.pop(meta.uid, None)
        if node is None:
            return
        for reference in node.meta.owner_references:
            self._unlink(reference.uid, meta.uid)
            self._wake_waiting(reference.uid)
        for dependent in self.dependents.get(meta.uid, ()):
            self.queue.add(dependent)

    def _unlink(self, owner: str, dependent: str) -> None:
        known = self.dependents.get(owner)
        if known is not None:
            known.discard(dependent)
            if not known:
                del self.dependents[owner]

    def _wake_waiting(self, owner: str) -> None:
        node = self.nodes.get(owner)
        if node is not None and node.waits_for_dependents:
            self.queue.add(owner)

    def _needs_a_look(self, node: Node, reference: OwnerReference) -> bool:
        owner = self.nodes.get(reference.uid)
        return owner is None or owner.waits_for_dependents or not owner.is_named_by(reference, node.meta)

    # One uid

    async def _process(self, uid: str) -> float | None:
        node = self.nodes.get(uid)
        if node is None:
            return None
        try:
            if node.orphans_dependents:
                await self._orphan(node)
            elif node.waits_for_dependents:
                await self._wait_for_dependents(node)
            elif not node.is_deleting and node.meta.owner_references:
                await self._collect(node)
        except (Conflict, NotFound):
            # The graph lags behind; the news that is on its way queues the object again. The delay is the safety net.
            return 1.0
        except (ApiError, ExceptionGroup) as error:
            fields = {"resource": node.resource.plural, "key": str(node.key), "error": str(error)}
            log.warning("garbage not collected", extra=fields)
            raise
        return None

    async def _collect(self, node: Node) -> None:
        """Delete the object if no owner is left; drop references to owners that are not there. Source: attemptToDeleteItem."""
        solid, dangling, waiting = [], [], []
        for reference in node.meta.owner_references:
            owner = await self._find_owner(node, reference)
            if owner is None:
                dangling.append(reference)
            elif owner.deletion_timestamp is not None and FOREGROUND in owner.finalizers:
                waiting.append(reference)
            else:
                solid.append(reference)
        if solid:
            if dangling or waiting:
                await self._set_owners(node, solid)
            return
        uid = node.meta.uid
        if waiting and self.dependents.get(uid):
            below = (self.nodes.get(dependent) for dependent in self.dependents[uid])
            if any(each is not None and each.waits_for_dependents for each in below):
                # A circle of waiting would never end, so this object's owners no longer wait for it.
                freed = [_with(reference, block_owner_deletion=False) for reference in node.meta.owner_references]
                if freed != node.meta.owner_references:
                    await self._set_owners(node, freed)
            await self._delete(node, "Foreground")
            return
        if ORPHAN in node.meta.finalizers:
            await self._delete(node, "Orphan")
        else:
            await self._delete(node, "Foreground" if FOREGROUND in node.meta.finalizers else "Background")

    async def _find_owner(self, node: Node, reference: OwnerReference) -> ObjectMeta | None:
        """The owner's metadata, from the graph or else from the server; None when there is no such object."""
        known = self.nodes.get(reference.uid)
        if known is not None and known.is_named_by(reference, node.meta):
            return known.meta
        absent = (reference.uid, node.meta.namespace)
        if absent in self._absent:
            return None
        group, slash, _ = reference.api_version.partition("/")
        served = self._kinds.get((group if slash else "", reference.kind))
        if served is None:
            raise NotFound(f"unable to get REST mapping for {reference.api_version}/{reference.kind}.")
        if served.resource.namespaced and not node.meta.namespace:
            raise NotFound("cluster-scoped objects cannot refer to namespaced owners")
        namespace = node.meta.namespace if served.resource.namespaced else ""
        owner = await self._client.find(AnyObject, Key(namespace, reference.name), resource=served.resource)
        if owner is not None and owner.uid == reference.uid:
            return owner.metadata
        self._absent[absent] = None
        if len(self._absent) > ABSENT_REMEMBERED:
            self._absent.popitem(last=False)
        return None

    async def _wait_for_dependents(self, node: Node) -> None:
        """Let the object go when nothing blocks it any more. Source: processDeletingDependentsItem."""
        uid = node.meta.uid
        blocked = False
        for dependent in self.dependents.get(uid, ()):
            below = self.nodes.get(dependent)
            if below is None or not _blocks(below.meta, uid):
                continue
            blocked = True
            if not below.waits_for_dependents:
                self.queue.add(dependent)
        if not blocked:
            await self._remove_finalizer(node, FOREGROUND)

    async def _orphan(self, node: Node) -> None:
        uid = node.meta.uid
        async with asyncio.TaskGroup() as group:
            for dependent in list(self.dependents.get(uid, ())):
                below = self.nodes.get(dependent)
                if below is not None:
                    group.create_task(self._disown(below, uid))
        await self._remove_finalizer(node, ORPHAN)

    async def _disown(self, node: Node, owner: str) -> None:
        """Take one owner off the object as it is now."""
        while True:
            fresh = await self._client.find(AnyObject, node.key, resource=node.resource)
            if fresh is None or fresh.uid != node.meta.uid:
                return
            left = [each for each in fresh.metadata.owner_references if each.uid != owner]
            if len(left) == len(fresh.metadata.owner_references):
                return
            try:
                await self._set_owners(Node(node.resource, node.kind, fresh.metadata), left)
            except Conflict:
                continue
            except NotFound:
                pass
            return

    async def _set_owners(self, node: Node, references: list[OwnerReference]) -> None:
        await self._patch(node, {"ownerReferences": [_reference_json(each) for each in references] or None})

    async def _remove_finalizer(self, node: Node, finalizer: str) -> None:
        left = [each for each in node.meta.finalizers if each != finalizer]
        await self._patch(node, {"finalizers": left or None})

    async def _patch(self, node: Node, metadata: Json) -> None:
        patch = {"metadata": {"uid": node.meta.uid, "resourceVersion": node.meta.resource_version, **metadata}}
        await self._client.patch(AnyObject, node.key, patch, resource=node.resource)

    async def _delete(self, node: Node, propagation: str) -> None:
        await self._client.delete(
            AnyObject,
            node.key,
            uid=node.meta.uid,
            resource_version=node.meta.resource_version,
            propagation=propagation,
            resource=node.resource,
        )

    # Kinds come and go

    async def _follow_discovery(self, group: asyncio.TaskGroup) -> None:
        discover = Rediscovery(self._client)
        known: Discovered | None = None
        while True:
            try:
                found = await discover()
            except ApiError as error:
                log.warning("discovery failed", extra={"error": str(error)})
            else:
                if found is not known:
                    self._kinds.update({(each.resource.group, each.kind): each for each in found.resources})
                    await self._watch(group, found.resources, {name.partition("/")[0] for name in found.failed})
                    known = found
                self._ready.set()
            await self._news.wait()
            self._news.clear()

    async def _look_again(self) -> None:
        while True:
            await self._context.clock.sleep(RESYNC_SECONDS)
            self._news.set()

    async def _watch(self, group: asyncio.TaskGroup, served: list[ServedResource], failed: set[str]) -> None:
        """Begin to watch new kinds and cease with those that are gone; a group that failed to answer is not gone."""
        wanted = {
            (each.resource.group, each.resource.plural): each
            for each in served
            if {"delete", "list", "watch"} <= set(each.verbs)
            and (each.resource.group, each.resource.plural) not in IGNORED
        }
        for name in [name for name in self._watched if name not in wanted and name[0] not in failed]:
            informer, task = self._watched.pop(name)
            if task is not None:
                task.cancel()
            for item in informer.items.values():
                self._remove(item.metadata)
        shared = {
            (each.resource.group, each.resource.plural): each
            for each in self._context.informers.values()
            if each.is_complete
        }
        for name, each in wanted.items():
            if name in self._watched:
                continue
            informer, task = self._informer(group, shared, each.resource)
            self._watched[name] = (informer, task)
            informer.on_change(partial(self.on_change, informer.resource, each.kind))
            if name == DEFINITIONS:
                informer.on_change(lambda old, new: self._news.set())
        try:
            async with asyncio.timeout(RESYNC_SECONDS):
                for informer, _ in list(self._watched.values()):
                    await informer.synced()
        except TimeoutError:
            log.warning("some kinds cannot be listed", extra={"kinds": self._unsynced()})

    def _informer(
        self, group: asyncio.TaskGroup, shared: dict[tuple[str, str], Informer[Any]], resource: Resource
    ) -> tuple[Informer[Any], asyncio.Task[None] | None]:
        """The manager's informer of the resource, or a new one and its task."""
        known = shared.get((resource.group, resource.plural))
        if known is not None:
            return known, None
        context = self._context
        informer = Informer(context.client, AnyObject, resource=resource, clock=context.clock, rng=context.rng)
        return informer, group.create_task(informer.run(), name=f"metadata of {resource.plural}")

    def _unsynced(self) -> list[str]:
        return [name[1] for name, (informer, _) in self._watched.items() if not informer.has_synced]


def _blocks(meta: ObjectMeta, owner: str) -> bool:
    return any(each.uid == owner and each.block_owner_deletion for each in meta.owner_references)


def _with(reference: OwnerReference, *, block_owner_deletion: bool) -> OwnerReference:
    return OwnerReference(
        api_version=reference.api_version,
        kind=reference.kind,
        name=reference.name,
        uid=reference.uid,
        controller=reference.controller,
        block_owner_deletion=block_owner_deletion,
    )


def _reference_json(reference: OwnerReference) -> Json:
    written: Json = {
        "apiVersion": reference.api_version,
        "kind": reference.kind,
        "name": reference.name,
        "uid": reference.uid,
    }
    if reference.controller:
        written["controller"] = True
    if reference.block_owner_deletion:
        written["blockOwnerDeletion"] = True
    return written


async def _run(context: Context) -> None:
    await GarbageCollector(context).run()


async def _no_keys(key: Key, context: Context) -> None:
    """The collector has a queue of its own, of uids."""


CONTROLLER = Controller("garbage-collector-controller", (), _no_keys, workers=0, beside=_run)
