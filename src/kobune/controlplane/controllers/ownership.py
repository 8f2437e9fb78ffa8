"""Who manages what: a workload adopts matching objects that nobody manages and releases its own that match no more."""

from collections.abc import Callable
from typing import Any, TypeVar

from kobune.api.errors import Invalid, Json, NotFound
from kobune.api.objects.meta import Key, Object
from kobune.api.selectors import LabelSelector
from kobune.client.client import Patch
from kobune.client.informer import Informer
from kobune.controlplane.controllers.controller import Context
from kobune.controlplane.controllers.pods import controller_reference, orphans_of

T = TypeVar("T", bound=Object)


async def claim(context: Context, owner: Object, selector: LabelSelector, view: type[T]) -> list[T]:
    """The objects of one kind that `owner` manages, after adopting and releasing. Source: upstream ControllerRefManager.

    The informer of `view` must be indexed by controller. What is being deleted is neither adopted nor released; an owner
    that is being deleted adopts nothing.
    """
    informer: Informer[T] = context.informer(view)
    claimed = []
    for item in informer.index("controller", owner.uid):
        if selector.matches(item.metadata.labels):
            claimed.append(item)
        elif not owner.is_deleting and not item.is_deleting:
            await _release(context, owner, item)
    if owner.is_deleting:
        return claimed
    may_adopt: bool | None = None
    for item in informer.index("controller", orphans_of(owner.namespace)):
        if item.is_deleting or not selector.matches(item.metadata.labels):
            continue
        if may_adopt is None:
            may_adopt = await _is_still_there(context, owner)
        if may_adopt and await _adopt(context, owner, item):
            claimed.append(item)
    return claimed


def owners_matching(
    view: type[Object], selects: Callable[[Any], LabelSelector]
) -> Callable[[Context, Object | None, Object | None], list[Key]]:
    """For `Maps`: an object that nobody manages leads to every owner in its namespace whose selector matches it."""

    def keys(context: Context, old: Object | None, new: Object | None) -> list[Key]:
        item = new or old
        if item is None or item.metadata.controller is not None:
            return []
        owners = context.informer(view).index("namespace", item.namespace)
        return [owner.key for owner in owners if selects(owner).matches(item.metadata.labels)]

    return keys


def index_by_namespace(context: Context, view: type[Object]) -> None:
    """Let objects be found by namespace."""
    context.informer(view).add_index("namespace", lambda item: (item.metadata.namespace,))


async def _is_still_there(context: Context, owner: Object) -> bool:
    """Asked of the server: an owner deleted a moment ago must not adopt."""
    fresh = await context.client.find(type(owner), owner.key)
    return fresh is not None and fresh.uid == owner.uid and not fresh.is_deleting


async def _adopt(context: Context, owner: Object, item: Object) -> bool:
    patch: Json = {"metadata": {"uid": item.uid, "ownerReferences": [controller_reference(owner)]}}
    try:
        await context.client.patch(type(item), item.key, patch, how=Patch.STRATEGIC)
    except (NotFound, Invalid):
        return False  # It is gone, or another is quicker.
    return True


async def _release(context: Context, owner: Object, item: Object) -> None:
    gone = [{"$patch": "delete", "uid": owner.uid}]
    try:
        patch: Json = {"metadata": {"uid": item.uid, "ownerReferences": gone}}
        await context.client.patch(type(item), item.key, patch, how=Patch.STRATEGIC)
    except (NotFound, Invalid):
        pass  # It is gone, or no longer ours.
