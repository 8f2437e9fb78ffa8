"""Keeps a ServiceAccount `default` in every namespace."""

from contextlib import suppress

from kobune.api.errors import AlreadyExists
from kobune.api.objects.core import Namespace
from kobune.api.objects.lean import AnyObject
from kobune.api.objects.meta import GVK, Key
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps

DEFAULT = "default"


class DefaultServiceAccount(AnyObject):
    """The accounts of that name alone."""

    gvk = GVK("", "v1", "ServiceAccount")


async def reconcile(key: Key, context: Context) -> None:
    """Create the account when the namespace is there and it is not."""
    namespace = context.informer(Namespace).get(key)
    if namespace is None or namespace.is_deleting or namespace.status.phase == "Terminating":
        return
    account = Key(namespace.name, DEFAULT)
    if context.informer(DefaultServiceAccount).get(account) is not None:
        return
    with suppress(AlreadyExists):
        manifest = {"metadata": {"name": DEFAULT, "namespace": namespace.name}}
        await context.client.create(DefaultServiceAccount, manifest)


def namespace_of(_context: Context, old: AnyObject | None, new: AnyObject | None) -> tuple[Key, ...]:
    """For `Maps`: an object that is gone or changed leads to its namespace's key."""
    item = new or old
    return (Key("", item.namespace),) if item is not None and old is not None else ()


CONTROLLER = Controller(
    "serviceaccount-controller",
    (For(Namespace), Maps(DefaultServiceAccount, namespace_of, fields=f"metadata.name={DEFAULT}")),
    reconcile,
)
