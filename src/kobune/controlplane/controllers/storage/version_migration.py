"""StorageVersionMigrations: has every object of a resource written anew, so that all are stored in today's version.

One migration of a resource runs at a time. It notes the resource's version when it begins; what is older is applied
without a change, which the API server writes in the version that it stores today. At the end a custom resource's
definition forgets the former versions. Source: upstream's storageversionmigrator.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import ClassVar

import msgspec
import orjson

from kobune.api.errors import ApiError, Conflict, Json, NotFound
from kobune.api.objects.lean import AnyObject
from kobune.api.objects.meta import GVK, Condition, Key, Object, View, find_condition, is_true
from kobune.api.timestamps import format_time
from kobune.client.client import Patch
from kobune.client.discovery import ServedResource, discover
from kobune.controlplane.controllers.conditions import to_json, with_condition
from kobune.controlplane.controllers.controller import Context, Controller, Maps

RUNNING, SUCCEEDED, FAILED = "Running", "Succeeded", "Failed"
NEEDED = ("update", "patch", "list")  # What a resource must allow.
PATIENCE = timedelta(minutes=1)  # A resource that is not served by then never comes. Source: upstream.
LOOK_AGAIN_SECONDS = 10.0
NOWHERE = "kobune-no-such-namespace"  # A list of it is empty and has the resource's version all the same.
MIGRATING = "StorageMigrating"


class GroupResource(View):
    group: str = ""
    resource: str = ""

    @property
    def name(self) -> str:
        """As definitions of custom resources are named."""
        return f"{self.resource}.{self.group}"


class MigrationSpec(View):
    resource: GroupResource = msgspec.field(default_factory=GroupResource)


class MigrationStatus(View):
    conditions: list[Condition] = msgspec.field(default_factory=list)
    resource_version: str = ""


class StorageVersionMigration(Object):
    gvk: ClassVar[GVK] = GVK("storagemigration.k8s.io", "v1", "StorageVersionMigration")
    spec: MigrationSpec = msgspec.field(default_factory=MigrationSpec)
    status: MigrationStatus = msgspec.field(default_factory=MigrationStatus)

    def has(self, condition: str) -> bool:
        return is_true(self.status.conditions, condition)

    @property
    def is_over(self) -> bool:
        return self.has(SUCCEEDED) or self.has(FAILED)


class Definition(AnyObject):
    """A CustomResourceDefinition, of which this controller writes status fields alone."""

    gvk: ClassVar[GVK] = GVK("apiextensions.k8s.io", "v1", "CustomResourceDefinition")


class Unmigratable(Exception):
    """Trying again would not help."""


async def reconcile(key: Key, context: Context) -> float | None:
    """One step of a migration: its start, its mark in time, all of its objects, or its end."""
    migration = context.informer(StorageVersionMigration).get(key)
    if migration is None:
        return None
    if migration.is_over:
        if migration.has(RUNNING):
            await _end(migration, context)
        return None
    if not migration.has(RUNNING):
        others = context.informer(StorageVersionMigration).index("resource", migration.spec.resource.name)
        if next_to_run(others) is migration:
            await _begin(migration, context)
        return None
    try:
        served = await _served(migration, context)
        if served is None:
            return LOOK_AGAIN_SECONDS
        if not migration.status.resource_version:
            await _set_status(migration, context, {"resourceVersion": await _version_of(served, context)})
            return None
        await _migrate(served, int(migration.status.resource_version), context)
    except Unmigratable as error:
        await _conclude(migration, context, FAILED, "StorageVersionMigrationFailed", str(error))
    else:
        await _conclude(migration, context, SUCCEEDED, "StorageVersionMigrationSucceeded", "")
    return None


def next_to_run(migrations: Sequence[StorageVersionMigration]) -> StorageVersionMigration | None:
    """Of one resource's migrations the one that may begin: the oldest that waits, when none runs."""
    if any(each.has(RUNNING) for each in migrations):
        return None
    waiting = [each for each in migrations if not each.is_over]
    return min(waiting, key=lambda each: (str(each.metadata.creation_timestamp), each.name), default=None)


async def _served(migration: StorageVersionMigration, context: Context) -> ServedResource | None:
    """How the resource is served; None: perhaps it will be. Raises Unmigratable."""
    wanted = migration.spec.resource
    for each in (await discover(context.client)).resources:
        if (each.resource.group, each.resource.plural) == (wanted.group, wanted.resource):
            if not set(NEEDED) <= set(each.verbs):
                path = f"{wanted.group}/{each.resource.version}, Resource={wanted.resource}".removeprefix("/")
                raise Unmigratable(f'resource "{path}" does not support discovery operations: [{" ".join(NEEDED)}]')
            return each
    created = migration.metadata.creation_timestamp
    if created is not None and context.clock.now() < created + PATIENCE:
        return None
    raise Unmigratable("resource does not exist in discovery")


async def _version_of(served: ServedResource, context: Context) -> str:
    resource = served.resource
    path = resource.path(NOWHERE) if resource.namespaced else resource.path()
    listing = orjson.loads(await context.client.call("GET", path, query={"limit": "1"}))
    version: str = listing["metadata"]["resourceVersion"]
    return version


async def _migrate(served: ServedResource, before: int, context: Context) -> None:
    """Apply each object that is not newer as it is. Raises Unmigratable, and ApiError where trying again may help."""
    resource = served.resource
    api_version = f"{resource.group}/{resource.version}".removeprefix("/")
    for item in (await context.client.list(AnyObject, resource=resource)).items:
        meta = item.metadata
        if int(meta.resource_version) > before:
            continue
        # With uid and version an object that is gone, or another by now, is a conflict and is not made anew.
        unchanged = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        body = {"apiVersion": api_version, "kind": served.kind, "metadata": unchanged}
        try:
            await context.client.call(
                "PATCH",
                resource.path(meta.namespace, meta.name),
                body=orjson.dumps(body),
                content_type=Patch.APPLY,
                query={"fieldManager": CONTROLLER.name},
            )
        except Conflict:
            continue  # Written meanwhile, in today's version, or gone.
        except ApiError as error:
            if error.code >= 500 or error.code == 429:
                raise
            raise Unmigratable(f"migration encountered unhandled error: {error}") from error


async def _begin(migration: StorageVersionMigration, context: Context) -> None:
    """Mark the resource's definition, if it has one, and the migration."""
    definition = await _definition(migration, context)
    if definition is not None:
        message = f"Migration {migration.name} is running"
        await _mark(definition, context, status="True", reason="MigrationRunning", message=message)
    await _conclude(migration, context, RUNNING, "MigrationRunning", "The migration is running")


async def _end(migration: StorageVersionMigration, context: Context) -> None:
    """Tell the definition, which forgets former versions if it has not changed meanwhile; then let the next one run."""
    definition = await _definition(migration, context)
    if definition is not None:
        conditions = msgspec.convert((definition.get("status") or {}).get("conditions") or [], list[Condition])
        mark = find_condition(conditions, MIGRATING)
        unchanged = mark is not None and mark.observed_generation == definition["metadata"].get("generation")
        if migration.has(SUCCEEDED):
            reason, message = "MigrationSucceeded", "The migration has succeeded"
            message += (
                " and the stored versions have been updated"
                if unchanged
                else " but the stored versions have not been updated due to a generation mismatch"
            )
        else:
            reason, message, unchanged = "MigrationFailed", "The migration has failed", False
        stored = [each["name"] for each in definition["spec"]["versions"] if each.get("storage")] if unchanged else []
        await _mark(definition, context, status="False", reason=reason, message=message, stored=stored)
    conditions = [
        Condition(
            type=RUNNING,
            status="False",
            reason="MigrationCompleted",
            message="Migration completed",
            observed_generation=migration.metadata.generation or None,
            last_transition_time=context.clock.now().replace(microsecond=0),
        )
        if each.type == RUNNING
        else each
        for each in migration.status.conditions
    ]
    await _set_status(migration, context, {"conditions": to_json(conditions)})


async def _definition(migration: StorageVersionMigration, context: Context) -> Json | None:
    try:
        return await context.client.get_json(Definition, Key("", migration.spec.resource.name))
    except NotFound:
        return None


async def _mark(
    definition: Json, context: Context, *, status: str, reason: str, message: str, stored: Sequence[str] = ()
) -> None:
    """Set the definition's condition, and the versions that objects are stored in, if it is as it was read."""
    metadata = definition["metadata"]
    condition = {
        "type": MIGRATING,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": format_time(context.clock.now()),
        "observedGeneration": metadata.get("generation", 0),
    }
    others = [each for each in (definition.get("status") or {}).get("conditions") or () if each["type"] != MIGRATING]
    change: Json = {"conditions": [*others, condition], **({"storedVersions": list(stored)} if stored else {})}
    patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": change}
    await context.client.patch(Definition, Key("", metadata["name"]), patch, subresource="status")


async def _conclude(migration: StorageVersionMigration, context: Context, kind: str, reason: str, message: str) -> None:
    conditions = with_condition(migration.status.conditions, kind, "True", reason, message, context.clock.now())
    written = [{"message": "", **each} for each in to_json(conditions)]  # The field is required.
    await _set_status(migration, context, {"conditions": written})


async def _set_status(migration: StorageVersionMigration, context: Context, status: Json) -> None:
    patch = {"metadata": {"resourceVersion": migration.metadata.resource_version}, "status": status}
    await context.client.patch(StorageVersionMigration, migration.key, patch, subresource="status")


def _siblings(
    context: Context, old: StorageVersionMigration | None, new: StorageVersionMigration | None
) -> Iterable[Key]:
    """All migrations of the resource: the end of one is the beginning of the next."""
    item = new or old
    if item is None:
        return ()
    found = context.informer(StorageVersionMigration).index("resource", item.spec.resource.name)
    return [each.key for each in found]


def _prepare(context: Context) -> None:
    context.informer(StorageVersionMigration).add_index("resource", lambda item: (item.spec.resource.name,))


CONTROLLER = Controller(
    "storage-version-migrator-controller",
    (Maps(StorageVersionMigration, _siblings, optional=True),),
    reconcile,
    prepare=_prepare,
)
