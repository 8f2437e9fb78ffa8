"""Empties a namespace that is being deleted, then lets it go; says what remains while it cannot."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import NamedTuple

from kobune.api.catalogue import Resource
from kobune.api.errors import ApiError, Json, MethodNotAllowed, NotFound
from kobune.api.objects.core import Namespace
from kobune.api.objects.lean import AnyObject, Pod
from kobune.api.objects.meta import Condition, Key
from kobune.client.client import Client
from kobune.client.discovery import discover
from kobune.controlplane.controllers.conditions import to_json
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps
from kobune.controlplane.controllers.ownership import index_by_namespace

FINALIZER = "kubernetes"
PODS, EVENTS_AGAIN = ("", "pods"), ("events.k8s.io", "events")  # These are the core group's events by another name.
RETRY_SECONDS = 5.0  # While something remains. Upstream waits half its estimate, 15 s unless pods want longer.

# Condition type: what it says when all is well (reason, message). Source: upstream namespaceConditionUpdater.
WELL = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
}


class Remains(NamedTuple):
    """What a pass left behind."""

    undiscovered: list[str]  # Group versions.
    failures: list[str]
    counts: dict[Resource, int]
    finalizers: Counter[str]

    @property
    def is_empty(self) -> bool:
        return not self.undiscovered and not self.failures and not self.counts


async def reconcile(key: Key, context: Context) -> float | None:
    """One pass over a namespace that is being deleted: delete all, and finalize when nothing is left."""
    namespace = context.informer(Namespace).get(key)
    if namespace is None or not namespace.is_deleting or FINALIZER not in namespace.spec.finalizers:
        return None
    remains = await _empty(context, namespace)
    conditions = plan_conditions(namespace.status.conditions, remains, context.clock.now())
    if conditions != namespace.status.conditions or namespace.status.phase != "Terminating":
        status = {"phase": "Terminating", "conditions": to_json(conditions)}
        if not remains.is_empty:  # A namespace about to go needs no report.
            await context.client.patch_status(Namespace, key, status)
    if not remains.is_empty:
        return RETRY_SECONDS
    left = [each for each in namespace.spec.finalizers if each != FINALIZER]
    body: Json = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace.name, "uid": namespace.uid},
        "spec": {"finalizers": left},
    }
    with suppress(NotFound):
        await context.client.update(Namespace, body, subresource="finalize")
    return None


def plan_conditions(before: Sequence[Condition], remains: Remains, now: datetime) -> list[Condition]:
    """All five conditions, True for what is amiss. A condition that says the same keeps its time."""
    amiss: dict[str, tuple[str, str]] = {}
    if remains.undiscovered:
        count, names = len(remains.undiscovered), ", ".join(remains.undiscovered)
        message = f"Discovery failed for some groups, {count} failing: unable to retrieve the complete list of server APIs: {names}"
        amiss["NamespaceDeletionDiscoveryFailure"] = ("DiscoveryFailed", message)
    if remains.failures:
        listed = ", ".join(remains.failures)
        message = f"Failed to delete all resource types, {len(remains.failures)} remaining: {listed}"
        amiss["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", message)
    if remains.counts:
        listed = ", ".join(
            sorted(
                f"{each.plural}.{each.group} has {count} resource instances" for each, count in remains.counts.items()
            )
        )
        amiss["NamespaceContentRemaining"] = ("SomeResourcesRemain", f"Some resources are remaining: {listed}")
    if remains.finalizers:
        listed = ", ".join(
            sorted(f"{name} in {count} resource instances" for name, count in remains.finalizers.items())
        )
        message = f"Some content in the namespace has finalizers remaining: {listed}"
        amiss["NamespaceFinalizersRemaining"] = ("SomeFinalizersRemain", message)
    known = {each.type: each for each in before}
    conditions = [each for each in before if each.type not in WELL]
    moment = now.replace(microsecond=0)
    for kind, well in WELL.items():
        reason, message = amiss.get(kind, well)
        status = "True" if kind in amiss else "False"
        old = known.get(kind)
        if old is not None and (old.status, old.reason, old.message) == (status, reason, message):
            conditions.append(old)
        else:
            conditions.append(
                Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=moment)
            )
    return conditions


async def _empty(context: Context, namespace: Namespace) -> Remains:
    found = await discover(context.client)
    remains = Remains(found.failed, [], {}, Counter())
    resources = [
        each
        for each in found.resources
        if each.resource.namespaced and "delete" in each.verbs and _name(each.resource) != EVENTS_AGAIN
    ]
    # Pods first, and nothing else while one is there: what guards them (policies, secrets) outlives them.
    # None is made anew, since a namespace on its way out takes nothing in. Source: KEP-5080, ordered namespace deletion.
    pods = [each for each in resources if _name(each.resource) == PODS]
    others = [each for each in resources if each not in pods]
    for stage in (pods, others):
        async with asyncio.TaskGroup() as group:
            for each in stage:
                group.create_task(_delete_all(context, namespace.name, each.resource, each.verbs, remains))
        if remains.counts:
            break
    return remains


async def _delete_all(
    context: Context, namespace: str, resource: Resource, verbs: tuple[str, ...], remains: Remains
) -> None:
    """Delete every object of one resource, and count what is still there. Failures are noted, not raised."""
    if "list" not in verbs:
        return
    listed = partial(context.client.list, AnyObject, namespace, resource=resource)
    try:
        # Most kinds have nothing here, so it is looked at before anything is deleted. One object tells, since of some kinds
        # there are tens of thousands; where it is on its way already all may be, which takes a look at every one.
        items = (await listed(limit=1)).items
        if items and items[0].is_deleting:
            items = (await listed()).items
        if any(not item.is_deleting for item in items):
            await _delete_those_there(context.client, namespace, resource, verbs)
            items = (await listed()).items
        if items:
            remains.counts[resource] = len(items)
            remains.finalizers.update(finalizer for item in items for finalizer in item.metadata.finalizers)
    except NotFound:
        return  # The kind has just ceased to be served.
    except ApiError as error:
        remains.failures.append(str(error))


async def _delete_those_there(client: Client, namespace: str, resource: Resource, verbs: tuple[str, ...]) -> None:
    if "deletecollection" in verbs:
        options = b'{"apiVersion":"v1","kind":"DeleteOptions","propagationPolicy":"Background"}'
        try:
            await client.call("DELETE", resource.path(namespace), body=options)
        except MethodNotAllowed:
            pass
        else:
            return
    for item in (await client.list(AnyObject, namespace, resource=resource)).items:
        with suppress(NotFound):
            await client.delete(AnyObject, item.key, uid=item.uid, propagation="Background", resource=resource)


def _name(resource: Resource) -> tuple[str, str]:
    return resource.group, resource.plural


def _emptied(context: Context, old: Pod | None, new: Pod | None) -> tuple[Key, ...]:
    """The last pod of a namespace that goes is what everything else in it has waited for."""
    if new is not None or old is None:
        return ()
    key = Key("", old.metadata.namespace)
    namespace = context.informer(Namespace).get(key)
    if namespace is None or not namespace.is_deleting or context.informer(Pod).index_size("namespace", key.name):
        return ()
    return (key,)


def _prepare(context: Context) -> None:
    index_by_namespace(context, Pod)


CONTROLLER = Controller(
    "namespace-controller", (For(Namespace), Maps(Pod, _emptied)), reconcile, workers=10, prepare=_prepare
)
