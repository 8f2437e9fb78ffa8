"""Which ReplicaSet is a Deployment's newest, what it is called and marked with, and which old ones may go. All pure."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from kobune.api.errors import Json
from kobune.api.objects.apps import Deployment, ReplicaSet
from kobune.controlplane.controllers.deployment.rolling import DESIRED, MAXIMUM, age_order, replicas_annotations
from kobune.controlplane.controllers.pods import controller_reference

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
HISTORY_LIMIT = 2000  # Characters. Source: upstream maxRevHistoryLengthInChars.
NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION,
        HISTORY,
        DESIRED,
        MAXIMUM,
    }
)
NAME_LIMIT = 253
SAFE = "bcdfghjklmnpqrstvwxz2456789"  # No vowels, so that no hash is a word. Source: upstream SafeEncodeString.


class Generations(NamedTuple):
    new: ReplicaSet | None  # The one with the Deployment's template.
    old: list[ReplicaSet]


def by_template(deployment: Deployment, sets: Sequence[ReplicaSet]) -> Generations:
    """The newest ReplicaSet (of several with the template the oldest) and all others, oldest first."""
    wanted = comparable(bytes(deployment.spec.template))
    in_order = sorted(sets, key=age_order)
    new = next((each for each in in_order if comparable(bytes(each.spec.template)) == wanted), None)
    return Generations(new, [each for each in in_order if each is not new])


@lru_cache(maxsize=8192)
def comparable(template: bytes) -> bytes:
    """The template in a form that is equal for templates that mean the same: without the hash label, nulls and order."""
    parts = orjson.loads(template)
    ((parts.get("metadata") or {}).get("labels") or {}).pop(HASH_LABEL, None)
    return orjson.dumps(_without_nulls(parts), option=orjson.OPT_SORT_KEYS)


def template_hash(template: bytes, collisions: int) -> str:
    """The template's short hash; another one for each collision."""
    return safe_hash(comparable(template) + (str(collisions).encode() if collisions else b""))


def safe_hash(content: bytes) -> str:
    """Up to ten letters and digits that name content, in upstream's alphabet."""
    number = int.from_bytes(hashlib.blake2b(content, digest_size=4).digest(), "big")
    return "".join(SAFE[ord(digit) % len(SAFE)] for digit in str(number))


def new_replica_set(deployment: Deployment, old: Sequence[ReplicaSet], replicas: int) -> Json:
    """The manifest of the ReplicaSet for the Deployment's template."""
    template = orjson.loads(bytes(deployment.spec.template))
    mark = template_hash(bytes(deployment.spec.template), deployment.status.collision_count or 0)
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: mark}
    template["metadata"] = {**(template.get("metadata") or {}), "labels": labels}
    selector: dict[str, Any] = dict(deployment.spec.selector or {})
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: mark}
    annotations = {
        **_copied(deployment),
        **replicas_annotations(deployment),
        REVISION: str(highest_revision(old) + 1),
    }
    return {
        "metadata": {
            "name": f"{deployment.name[: NAME_LIMIT - 1 - len(mark)]}-{mark}",
            "namespace": deployment.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [controller_reference(deployment)],
        },
        "spec": {
            "replicas": replicas,
            **({"minReadySeconds": ready} if (ready := deployment.spec.min_ready_seconds) else {}),
            "selector": selector,
            "template": template,
        },
    }


def annotations_to_set(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> dict[str, str]:
    """What the newest ReplicaSet's annotations lack: the Deployment's own, and its revision when it became newest again.

    Source: upstream SetNewReplicaSetAnnotations.
    """
    have = new.metadata.annotations
    lacking = {name: value for name, value in _copied(deployment).items() if have.get(name) != value}
    before, now = revision_of(new), highest_revision(old) + 1
    if before is None or before >= now:
        return lacking
    lacking[REVISION] = str(now)
    if REVISION in have:
        history = _history(have.get(HISTORY, ""), have[REVISION])
        if history is not None:
            lacking[HISTORY] = history
    return lacking


def revision_of(item: ReplicaSet) -> int | None:
    """Its revision; 0 without one, None when what is written is no number."""
    text = item.metadata.annotations.get(REVISION, "0")
    return int(text) if text.isdigit() else None


def highest_revision(sets: Sequence[ReplicaSet]) -> int:
    """The highest revision among them; 0 for none."""
    return max((revision_of(each) or 0 for each in sets), default=0)


def to_clean_up(deployment: Deployment, old: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """The oldest of the ReplicaSets beyond the history limit, as far as they are empty and settled."""
    limit = deployment.spec.revision_history_limit
    if limit is None or limit == 2**31 - 1:
        return []
    alive = sorted((each for each in old if not each.is_deleting), key=lambda each: revision_of(each) or 0)
    surplus = alive[: max(len(alive) - limit, 0)]
    return [
        each
        for each in surplus
        if each.status.replicas == 0
        and each.spec.replicas == 0
        and each.metadata.generation <= each.status.observed_generation
    ]


def _copied(deployment: Deployment) -> dict[str, str]:
    return {name: value for name, value in deployment.metadata.annotations.items() if name not in NOT_COPIED}


def _history(history: str, revision: str) -> str | None:
    """The history with one more revision, the oldest forgotten as needed; None when it does not fit at all."""
    if not history:
        return revision
    entries = [*history.split(","), revision]
    while len(entries) > 1 and len(",".join(entries)) > HISTORY_LIMIT:
        entries.pop(0)
    text = ",".join(entries)
    return text if len(text) <= HISTORY_LIMIT else None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value
