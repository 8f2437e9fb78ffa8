"""The verb update, and what patch and the subresources share with it: read, change, check, compare and swap."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import orjson

from kobune.api.errors import ApiError, BadRequest, FieldError, Json, invalid
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.create import check_namespace, create
from kobune.controlplane.apiserver.registry.gated_fields import drop_disabled
from kobune.controlplane.apiserver.registry.managing import check_account, keep_account, only_times_differ
from kobune.controlplane.apiserver.registry.strategy import (
    CONDITIONAL_UPDATE,
    CREATE_ON_UPDATE,
    count_generation,
    prepare_status,
    prepare_update,
)
from kobune.controlplane.store.contract import Conflict
from kobune.controlplane.store.selection import Item

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

NO_NAME = "name must be provided"
MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
# The new object from the old one, both in the version of the call; the old one must not be changed.
Change = Callable[[Json], Awaitable[Json]]
# Writes the next state of an item: the body as stored, or None when it changes nothing. Raises store Conflict when the
# state has passed.
Attempt = Callable[[Item], Awaitable[bytes | None]]
# What an update may change, given the new object and the old one: the result.
Prepare = Callable[[Call, Json, Json], Json]


class Outcome(NamedTuple):
    body: bytes
    created: bool = False


def whole(call: Call, new: Json, old: Json) -> Json:
    """An update of the object itself."""
    prepare_update(call.kind, new, old, now=call.now)
    return new


def status(call: Call, new: Json, old: Json) -> Json:
    """An update of the status alone."""
    return prepare_status(call.kind, new, old)


def counted(call: Call, new: Json, old: Json) -> Json:
    """An update by a subresource that has already taken care of what may change."""
    count_generation(call.kind, new, old)
    return new


async def update(registry: "Registry", call: Call, obj: Json, *, prepare: Prepare = whole) -> Outcome:
    """Replace an object by one that the client sent. Raises BadRequest, Conflict, Invalid, NotFound."""
    meta = obj["metadata"]
    check_name(call, meta)
    check_namespace(call, meta)
    kind = (call.kind.group, call.kind.name)
    if kind in CREATE_ON_UPDATE and prepare is whole:
        existing = await registry.find_item(call.kind, call.namespace, call.name)
        if existing is None and not meta.get("uid"):
            meta.pop("resourceVersion", None)
            return Outcome(await create(registry, call, obj), created=True)

    async def replace(old: Json) -> Json:
        new: Json = orjson.loads(orjson.dumps(obj))
        given = new["metadata"].get("resourceVersion")
        if not given or given == "0":
            if kind in CONDITIONAL_UPDATE or call.kind.custom:
                fault = FieldError(
                    "metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0: must be specified for an update"
                )
                raise invalid(call.kind.plural, call.name, fault, group=call.kind.group)
        elif given != old["metadata"]["resourceVersion"]:
            raise call.conflict(MODIFIED)
        return new

    return Outcome(await change(registry, call, replace, prepare=prepare))


async def change(
    registry: "Registry", call: Call, make: Change, *, prepare: Prepare = whole, checks: bool = True
) -> bytes:
    """Apply `make` to the newest state until nobody has been faster; the body as stored.

    Args:
        checks: admission and validation; the server's own changes need none.
    Raises:
        NotFound, Conflict, Invalid, and what `make` and admission raise.
    """
    return await settle(registry, call, partial(_attempt, registry, call, make, prepare, checks=checks))


async def settle(registry: "Registry", call: Call, attempt: Attempt) -> bytes:
    """Try with the newest state until nobody has been faster; the body as stored. Raises NotFound, and what `attempt` raises."""
    kind = call.kind
    while True:
        item = await registry.find_item(kind, call.namespace, call.name)
        if item is None:
            raise call.not_found()
        try:
            body = await attempt(item)
            if body is not None:
                return body
            if not await registry.is_past(kind, item):
                return registry.body_in(kind, item.body)  # Nothing changes: no write, the same resourceVersion.
        except Conflict:
            continue
        except ApiError:
            # What was refused by a state that has passed is judged anew.
            if not await registry.is_past(kind, item):
                raise


async def _attempt(
    registry: "Registry", call: Call, make: Change, prepare: Prepare, item: Item, *, checks: bool
) -> bytes | None:
    """Apply `make` to this state; None: it changes nothing. Raises store Conflict when the state has passed."""
    kind = call.kind
    old: Json = orjson.loads(registry.body_in(kind, item.body))
    made = await make(old)
    _check_uid(call, made, old)
    if call.accounted:
        keep_account(registry, call, made, old)
    account = made["metadata"].get("managedFields")
    new = prepare(call, made, old)
    drop_disabled(kind, new, old, registry.features)
    if account:
        new["metadata"]["managedFields"] = account  # The account is of everything that the client wanted.
    else:
        new["metadata"].pop("managedFields", None)
    attributes = Attributes("UPDATE", call, new, old)
    if checks:
        await registry.admission.admit(attributes)
        check_account(call, new, account)
    _keep_system_fields(new["metadata"], old["metadata"])
    if not registry.allocates(kind):
        return await _finish(registry, attributes, item, checks=checks)
    async with registry.allocated(call, new, old):
        return await _finish(registry, attributes, item, checks=checks)


async def _finish(registry: "Registry", attributes: Attributes, item: Item, *, checks: bool) -> bytes | None:
    """Judge the new object and store it in the place of `item`; None: it is as it was."""
    call, new, old = attributes.call, attributes.object, attributes.old_object
    assert new is not None
    assert old is not None
    kind = call.kind
    if checks:
        faults = registry.validate_update(kind, new, old, subresource=call.subresource)
        if faults:
            raise invalid(kind.name, call.name, *faults, group=kind.group)
        await registry.admission.validate(attributes)
    if is_finished(new, old):
        if not call.options.dry_run:
            await registry.delete(kind, new, expected=item.revision)
        return registry.body_of(new)
    if call.options.dry_run:
        return registry.body_of(new)
    # What is still stored in a former version is written anew, though its readers see no change.
    stale = kind.custom and registry.custom.is_stale(kind, item.body)
    if not stale and (new == old or only_times_differ(new, old)):
        return None
    return await registry.write(kind, new, expected=item.revision)


def check_name(call: Call, meta: Json) -> None:
    """The object's name is the URL's. Raises BadRequest."""
    name = meta.get("name") or ""
    if not name:
        raise BadRequest(f"the name of the object ({call.name} based on URL) was undeterminable: {NO_NAME}")
    if name != call.name:
        raise BadRequest(f"the name of the object ({name}) does not match the name on the URL ({call.name})")
    namespace = meta.get("namespace") or ""
    if namespace and call.namespace and namespace != call.namespace:
        raise BadRequest(
            f"the namespace of the object ({namespace}) does not match the namespace on the request ({call.namespace})"
        )


def is_finished(new: Json, old: Json) -> bool:
    """Whether this update lets go of an object that only waited to be deleted.

    Source: upstream ShouldDeleteDuringUpdate, and the one of namespaces, whose spec holds a finalizer too.
    """
    meta = old["metadata"]
    if not meta.get("deletionTimestamp") or new["metadata"].get("finalizers"):
        return False
    if new["kind"] == "Namespace" and new["apiVersion"] == "v1" and (new.get("spec") or {}).get("finalizers"):
        return False
    return not meta.get("deletionGracePeriodSeconds")


def _check_uid(call: Call, new: Json, old: Json) -> None:
    given, current = new["metadata"].get("uid"), old["metadata"]["uid"]
    if given and given != current:
        raise call.conflict(f"Precondition failed: UID in precondition: {given}, UID in object meta: {current}")


def _keep_system_fields(new: Json, old: Json) -> None:
    """What no client changes. Source: upstream BeforeUpdate."""
    for field in ("uid", "creationTimestamp", "deletionTimestamp", "generateName"):
        if field in old:
            new[field] = old[field]
        elif field != "generateName":
            new.pop(field, None)
    if "deletionGracePeriodSeconds" in old:
        new.setdefault("deletionGracePeriodSeconds", old["deletionGracePeriodSeconds"])
    else:
        new.pop("deletionGracePeriodSeconds", None)
    new["resourceVersion"] = old["resourceVersion"]
