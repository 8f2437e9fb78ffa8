"""ControllerRevisions: the templates that a StatefulSet or DaemonSet has had, for updates to tell apart and undo to find."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

import orjson

from kobune.api.errors import AlreadyExists, Json, NotFound
from kobune.api.objects.apps import ControllerRevision, DaemonSet, StatefulSet
from kobune.api.objects.meta import Key
from kobune.api.selectors import labels_from_json
from kobune.controlplane.controllers.controller import Context
from kobune.controlplane.controllers.deployment.revisions import comparable, safe_hash
from kobune.controlplane.controllers.ownership import claim
from kobune.controlplane.controllers.pods import Unseen, controller_reference

HASH_LABEL = "controller.kubernetes.io/hash"
POD_LABEL = "controller-revision-hash"


class History(NamedTuple):
    """All revisions, oldest first, and the one of the workload's template."""

    revisions: list[ControllerRevision]
    update: ControllerRevision
    collisions: int


async def sync_history(context: Context, owner: StatefulSet | DaemonSet) -> History:
    """The workload's revisions, with one for its template: found, brought to the front again, or created."""
    selector = labels_from_json(owner.spec.selector or None)
    known = sorted(
        await claim(context, owner, selector, ControllerRevision), key=lambda each: (each.revision, each.name)
    )
    collisions = owner.status.collision_count or 0
    wanted = comparable(bytes(owner.spec.template))
    equal = [each for each in known if comparable(template_of(each)) == wanted]
    if equal and equal[-1] is known[-1]:
        return History(known, known[-1], collisions)
    number = known[-1].revision + 1 if known else 1
    if equal:
        again = await context.client.patch(ControllerRevision, equal[-1].key, {"revision": number})
        context.own(Unseen).wrote(owner.key, again, context.clock.monotonic())
        return History([each for each in known if each.uid != again.uid] + [again], again, collisions)
    created, collisions = await _create(context, owner, number, collisions)
    return History([*known, created], created, collisions)


def template_of(revision: ControllerRevision) -> bytes:
    """The pod template that the revision keeps."""
    template = (orjson.loads(bytes(revision.data)).get("spec") or {}).get("template") or {}
    template.pop("$patch", None)
    return orjson.dumps(template)


def hash_of(revision: ControllerRevision) -> str:
    """The short hash that names the revision."""
    labels = revision.metadata.labels
    return labels.get(HASH_LABEL) or labels.get(POD_LABEL) or revision.name


async def truncate(
    context: Context, revisions: Sequence[ControllerRevision], live: Collection[str], limit: int
) -> None:
    """Delete the oldest revisions that are not `live` (by name) beyond the limit."""
    dead = [each for each in revisions if each.name not in live]
    for each in dead[: max(len(dead) - limit, 0)]:
        with suppress(NotFound):
            await context.client.delete(ControllerRevision, each.key, uid=each.uid)


async def _create(
    context: Context, owner: StatefulSet | DaemonSet, number: int, collisions: int
) -> tuple[ControllerRevision, int]:
    template = orjson.loads(bytes(owner.spec.template))
    content = comparable(bytes(owner.spec.template))
    labels = (template.get("metadata") or {}).get("labels") or {}
    # A DaemonSet's revisions bear the label that its pods bear. Source: upstream DaemonSetsController.snapshot.
    hash_label = POD_LABEL if isinstance(owner, DaemonSet) else HASH_LABEL
    # In Go's order of fields: whoever looks for the current revision compares bytes.
    data = orjson.loads(
        orjson.dumps({"spec": {"template": {**template, "$patch": "replace"}}}, option=orjson.OPT_SORT_KEYS)
    )
    while True:
        mark = safe_hash(content + (str(collisions).encode() if collisions else b""))
        manifest: Json = {
            "metadata": {
                "name": f"{owner.name}-{mark}",
                "namespace": owner.namespace,
                "labels": {**labels, hash_label: mark},
                "annotations": owner.metadata.annotations,
                "ownerReferences": [controller_reference(owner)],
            },
            "data": data,
            "revision": number,
        }
        try:
            created = await context.client.create(ControllerRevision, manifest)
        except AlreadyExists:
            found = await context.client.find(ControllerRevision, Key(owner.namespace, f"{owner.name}-{mark}"))
            if found is not None and comparable(template_of(found)) == content:
                return found, collisions
            collisions += 1
            continue
        context.own(Unseen).wrote(owner.key, created, context.clock.monotonic())
        return created, collisions
