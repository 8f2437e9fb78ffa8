"""The verbs delete and deletecollection. Source: upstream registry.Store.Delete and rest.BeforeDelete."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import orjson

from kobune.api.errors import ApiError, Json, NotFound, conflict
from kobune.api.timestamps import format_time, parse_time
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.customresources.status import marked
from kobune.controlplane.apiserver.options import DeleteOptions
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.strategy import ORPHANS_BY_DEFAULT, WITHOUT_DEPENDENTS
from kobune.controlplane.store.contract import Conflict
from kobune.controlplane.store.selection import Item

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
AT_ONCE = 32  # Objects of a collection being deleted at the same time.


class Deleted(NamedTuple):
    body: bytes
    gone: bool  # Else the object waits for finalizers or for its grace period.


class _Plan(NamedTuple):
    """What a delete does to an object: `store` it in a new state first (None: no need), then maybe remove it."""

    store: Json | None
    remove: bool


async def delete(registry: "Registry", call: Call, options: DeleteOptions) -> Deleted:
    """Delete an object, or mark it for those who must let it go first. Raises NotFound, Conflict."""
    while True:
        item = await registry.find_item(call.kind, call.namespace, call.name)
        if item is None:
            raise call.not_found()
        try:
            return await _attempt(registry, call, options, item)
        except Conflict:
            continue
        except ApiError:
            # What was refused by a state that has passed is judged anew.
            if not await registry.is_past(call.kind, item):
                raise


async def _attempt(registry: "Registry", call: Call, options: DeleteOptions, item: Item) -> Deleted:
    """Delete or mark the object in this state. Raises store Conflict when the state has passed."""
    kind = call.kind
    old: Json = orjson.loads(registry.body_in(kind, item.body))
    _check_preconditions(call, options, old["metadata"])
    attributes = Attributes("DELETE", call, None, old, delete_options=options)
    await registry.admission.admit(attributes)
    await registry.admission.validate(attributes)
    plan = plan_delete(call, options, old)
    if plan is None:
        return Deleted(registry.body_in(kind, item.body), gone=False)
    body = registry.body_in(kind, item.body) if plan.store is None else registry.body_of(plan.store)
    if options.dry_run:
        return Deleted(body, gone=plan.remove)
    if plan.remove:
        # One write instead of upstream's two: nobody has use for the state in between.
        await registry.delete(kind, plan.store or old, expected=item.revision)
        return Deleted(body, gone=True)
    if plan.store is not None and plan.store != old:
        body = await registry.write(kind, plan.store, expected=item.revision)
    return Deleted(body, gone=False)


def plan_delete(call: Call, options: DeleteOptions, old: Json) -> _Plan | None:
    """None: a deletion is already under way, and this one changes nothing about it."""
    new: Json = {**old, "metadata": dict(old["metadata"])}
    meta = new["metadata"]
    kind = (call.kind.group, call.kind.name)
    graceful = False
    if kind == ("", "Pod"):
        grace = _grace(options, old)
        pending = meta.get("deletionGracePeriodSeconds")
        if meta.get("deletionTimestamp"):
            if pending:
                if options.grace_seconds is None or max(options.grace_seconds, 0) >= pending:
                    return None
                _shorten(call, meta, pending, options.grace_seconds if options.grace_seconds >= 0 else 1)
                graceful = True
        else:
            graceful = True
            meta["deletionTimestamp"] = format_time(call.now + timedelta(seconds=grace))
            meta["deletionGracePeriodSeconds"] = grace
            meta["generation"] = meta.get("generation", 0) + 1
    if kind == ("apiextensions.k8s.io", "CustomResourceDefinition") and not meta.get("deletionTimestamp"):
        new = marked(new, call.now)
        meta = new["metadata"]
    finalizers = _finalizers(kind, options, meta.get("finalizers") or [])
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)
    held = bool(finalizers)
    if kind == ("", "Namespace") and (old.get("spec") or {}).get("finalizers"):
        held = True
        new["status"] = {**(old.get("status") or {}), "phase": "Terminating"}
    if not graceful:
        if held:
            _mark(call, meta)
            return _Plan(new, remove=False)
        return _Plan(None, remove=True)
    return _Plan(new, remove=not held and not meta["deletionGracePeriodSeconds"])


async def delete_collection(registry: "Registry", call: Call, options: DeleteOptions, items: list[Item]) -> list[bytes]:
    """Delete these objects; the bodies of those that were there."""
    bodies: list[bytes | None] = [None] * len(items)
    places = iter(enumerate(items))

    async def work() -> None:
        for position, item in places:
            one = Call(
                call.kind, item.namespace, item.name, call.user, call.now, call.options,
                verb=call.verb, warnings=call.warnings,
            )  # fmt: skip
            try:
                bodies[position] = (await delete(registry, one, options)).body
            except NotFound:
                continue  # Somebody else was faster.

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(items))):
                group.create_task(work(), name="deletecollection")
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [body for body in bodies if body is not None]


def answers_object(call: Call, deleted: Deleted) -> bool:
    """Whether the client is told the object; else a Status."""
    return not deleted.gone or call.kind.answers_deleted


def _check_preconditions(call: Call, options: DeleteOptions, meta: Json) -> None:
    if options.uid and options.uid != meta["uid"]:
        raise conflict(
            call.kind.plural, call.name,
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({meta['uid']}). "
            "The object might have been deleted and then recreated",
            group=call.kind.group,
        )  # fmt: skip
    if options.resource_version and options.resource_version != meta["resourceVersion"]:
        raise conflict(
            call.kind.plural, call.name,
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({meta['resourceVersion']}). The object might have been modified",
            group=call.kind.group,
        )  # fmt: skip


def _grace(options: DeleteOptions, pod: Json) -> int:
    """How many seconds a pod has to end; none when nothing of it runs."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Failed", "Succeeded"):
        return 0
    grace = options.grace_seconds
    if grace is None:
        grace = spec.get("terminationGracePeriodSeconds") or 0
    return int(grace) if grace >= 0 else 1


def _shorten(call: Call, meta: Json, pending: int, grace: int) -> None:
    """A deletion under way can only be made faster."""
    end = parse_time(meta["deletionTimestamp"]) + timedelta(seconds=grace - pending)
    if end < call.now:
        end = call.now
        grace = min(grace, 1)
    meta["deletionTimestamp"], meta["deletionGracePeriodSeconds"] = format_time(end), grace


def _mark(call: Call, meta: Json) -> None:
    now = format_time(call.now)
    if not meta.get("deletionTimestamp"):
        if meta.get("generation"):
            meta["generation"] += 1
        meta["deletionTimestamp"] = now
    elif meta["deletionTimestamp"] > now:
        meta["deletionTimestamp"] = now
    meta["deletionGracePeriodSeconds"] = 0


def _finalizers(kind: tuple[str, str], options: DeleteOptions, finalizers: list[str]) -> list[str]:
    """The finalizers with those that the garbage collector must act on."""
    kept = [name for name in finalizers if name not in (ORPHAN, FOREGROUND)]
    if kind in WITHOUT_DEPENDENTS:
        return kept
    if options.propagation:
        orphan, foreground = options.propagation == "Orphan", options.propagation == "Foreground"
    else:
        foreground = FOREGROUND in finalizers
        orphan = ORPHAN in finalizers or (not foreground and kind in ORPHANS_BY_DEFAULT)
    if orphan:
        kept.append(ORPHAN)
    if foreground:
        kept.append(FOREGROUND)
    return kept
