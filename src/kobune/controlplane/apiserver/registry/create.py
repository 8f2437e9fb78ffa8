"""The verb create."""

from typing import TYPE_CHECKING

from kobune.api.errors import AlreadyExists, BadRequest, Json, already_exists, invalid
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.gated_fields import drop_disabled
from kobune.controlplane.apiserver.registry.managing import check_account, keep_account
from kobune.controlplane.apiserver.registry.strategy import prepare_create
from kobune.controlplane.store.contract import Conflict

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

NAME_ATTEMPTS = 8  # Source: upstream RetryGenerateName.
MISMATCH = "the namespace of the provided object does not match the namespace sent on the request"


async def create(registry: "Registry", call: Call, obj: Json) -> bytes:
    """Store a new object, defaulted already; its body, as stored.

    Raises:
        BadRequest, AlreadyExists, Invalid, and what admission raises.
    """
    kind, meta = call.kind, obj["metadata"]
    if meta.get("resourceVersion"):
        raise BadRequest("resourceVersion should not be set on objects to be created")
    check_namespace(call, meta)
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "generation"):
        meta.pop(field, None)
    base, given = meta.get("generateName") or "", meta.get("name") or ""
    if base and not given:
        meta["name"] = registry.mint.name(base)
    meta["uid"] = registry.mint.uid()
    meta["creationTimestamp"] = format_time(call.now)
    if call.accounted:
        keep_account(registry, call, obj, None)
    account = meta.get("managedFields")
    attributes = Attributes("CREATE", call, obj, None)
    await registry.admission.admit(attributes)
    check_account(call, obj, account)
    meta = obj["metadata"]  # A webhook may have put another one in its place.
    drop_disabled(kind, obj, None, registry.features)
    prepare_create(kind, obj, user=call.user, now=call.now)
    call.name = meta.get("name") or ""
    if not registry.allocates(kind):
        return await _finish(registry, call, obj, attributes, base, given)
    async with registry.allocated(call, obj, None):
        return await _finish(registry, call, obj, attributes, base, given)


async def _finish(registry: "Registry", call: Call, obj: Json, attributes: Attributes, base: str, given: str) -> bytes:
    """Judge the object and store it."""
    kind, meta = call.kind, obj["metadata"]
    seen = call.seen
    sound = seen is not None and seen.sound is not None and obj.get("spec") == seen.sound
    faults = registry.validate_create(kind, obj, sound_spec=sound)
    if faults:
        raise invalid(kind.name, call.name, *faults, group=kind.group)
    if seen is not None and not sound:
        seen.note_sound(obj["spec"])
    await registry.admission.validate(attributes)
    for attempt in range(NAME_ATTEMPTS):
        if attempt:
            meta["name"] = call.name = registry.mint.name(base)
        try:
            return await _commit(registry, call, obj)
        except AlreadyExists:
            if given or not base:
                raise
    raise AlreadyExists(
        f'{kind.plural} "{call.name}" already exists, the server was not able to generate a unique name for the object',
        group=kind.group, resource=kind.plural, name=call.name, retry_after_seconds=1,
    )  # fmt: skip


async def _commit(registry: "Registry", call: Call, obj: Json) -> bytes:
    kind = call.kind
    if call.options.dry_run:
        if await registry.find_item(kind, call.namespace, call.name) is not None:
            raise already_exists(kind.plural, call.name, group=kind.group)
        return registry.body_of(obj)
    try:
        return await registry.write(kind, obj, expected=0)
    except Conflict as error:
        raise already_exists(kind.plural, call.name, group=kind.group) from error


def check_namespace(call: Call, meta: Json) -> None:
    """Fill in the URL's namespace. Source: upstream EnsureObjectNamespaceMatchesRequestNamespace.

    Raises:
        BadRequest: the object names another namespace.
    """
    if not call.kind.namespaced:
        meta.pop("namespace", None)
    elif not meta.get("namespace"):
        meta["namespace"] = call.namespace
    elif meta["namespace"] != call.namespace:
        raise BadRequest(MISMATCH)
