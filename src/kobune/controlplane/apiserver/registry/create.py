"""The verb create."""

from typing import TYPE_CHECKING

from kobune.api.errors import AlreadyExists, BadRequest, Json, already_exists, invalid
from kobune.api.timestamps import format_time
from kobune.api.validation import is_valid_name
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.gated_fields import drop_disabled
from kobune.controlplane.apiserver.registry.managing import check_account, keep_account
from kobune.controlplane.apiserver.registry.patterns import Seen
from kobune.controlplane.apiserver.registry.strategy import prepare_create
from kobune.controlplane.store.contract import Conflict

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

NAME_ATTEMPTS = 8  # Source: upstream RetryGenerateName.
MISMATCH = "the namespace of the provided object does not match the namespace sent on the request"


async def repeat(registry: "Registry", call: Call, seen: Seen) -> bytes | None:
    """Store an object like others before; its body, as stored. None: it must go the long way.

    Raises:
        AlreadyExists.
    """
    pattern, kind = registry.patterns.find(seen, call.user), call.kind
    if pattern is None:
        return None
    name = seen.name or registry.mint.name(seen.base)
    if not is_valid_name(kind, name):
        return None
    call.name, uid, mint = name, registry.mint.uid(), registry.mint
    value = pattern.fill(name, uid, format_time(call.now), [prefix + mint.suffix() for prefix in pattern.made_up])
    call.annotations.update(pattern.annotations)
    cache = await registry.cache(kind)
    try:
        item = await cache.write_encoded(
            call.namespace, name, value, pattern.facts(name), expected=0, durable=True, seconds=0.0
        )
    except Conflict as error:
        if not seen.name:
            return None  # Other names are tried there.
        raise already_exists(kind.plural, name, group=kind.group) from error
    return item.body


async def create(registry: "Registry", call: Call, obj: Json, seen: Seen | None = None) -> bytes:
    """Store a new object, defaulted already; its body, as stored.

    Args:
        seen: what later ones may be like.
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
        body = await _finish(registry, call, obj, attributes, base, given)
    else:
        async with registry.allocated(call, obj, None):
            body = await _finish(registry, call, obj, attributes, base, given)
    if seen is not None and registry.patterns.wants(seen):
        kinds = registry.admission.rests_on(attributes)
        if kinds is not None:
            rests = [await registry.cache(one) for one in kinds]
            registry.patterns.learn(seen, call, obj, await registry.cache(kind), rests)
    return body


async def _finish(registry: "Registry", call: Call, obj: Json, attributes: Attributes, base: str, given: str) -> bytes:
    """Judge the object and store it."""
    kind, meta = call.kind, obj["metadata"]
    faults = registry.validate_create(kind, obj)
    if faults:
        raise invalid(kind.name, call.name, *faults, group=kind.group)
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
