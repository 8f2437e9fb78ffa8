"""One namespace's quotas against one write: what it may still take, and what its quotas have used then.

Source: upstream apiserver admission/plugin/resourcequota CheckRequest.
"""

from collections.abc import Sequence
from datetime import datetime

from kobune.api.errors import Json
from kobune.api.quota.amounts import exceeding, increase, only, plus, some, written
from kobune.api.quota.scopes import scopes_of
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.quota.evaluators import Evaluator
from kobune.controlplane.apiserver.admission.quota.limited import Limited, check_covered
from kobune.controlplane.apiserver.admission.refusal import refused


def charge(
    quotas: Sequence[Json],
    attributes: Attributes,
    evaluator: Evaluator,
    now: datetime,
    limited: Sequence[Limited] = (),
) -> dict[str, Json]:
    """The new `status.used` of each quota that the write changes, by its name.

    Raises:
        Forbidden: a quota is exceeded, cannot be judged yet, or wants something said that the object does not say.
    """
    obj, old = attributes.object, attributes.old_object
    assert obj is not None
    concerned = [quota for quota in quotas if _concerns(quota, obj, evaluator)]
    for quota in concerned:
        _judge(quota, attributes, evaluator)
    if not concerned and not limited:
        return {}
    usage = some(evaluator.measure.usage(obj, now))
    grown = usage if old is None else some(increase(usage, evaluator.measure.usage(old, now)))
    if limited and grown:
        check_covered(limited, quotas, concerned, attributes, evaluator, usage)
    changed: dict[str, Json] = {}
    for quota in concerned:
        name, status = quota["metadata"]["name"], quota["status"]
        counted_before = old is not None and _concerns(quota, old, evaluator)
        asked = only(grown if counted_before else usage, status["hard"])
        if not asked:
            continue
        used = plus(status.get("used") or {}, asked)
        # What a controller found out about the object cannot be refused any more.
        over = exceeding(only(used, asked), status["hard"]) if attributes.call.subresource != "status" else []
        if over:
            told = (only(one, over) for one in (asked, status.get("used") or {}, status["hard"]))
            asks, has, limit = map(written, told)
            raise refused(attributes, f"exceeded quota: {name}, requested: {asks}, used: {has}, limited: {limit}")
        changed[name] = used
    return changed


def _concerns(quota: Json, obj: Json, evaluator: Evaluator) -> bool:
    """Whether the quota limits something of the kind and its scopes hold the object."""
    hard = (quota.get("status") or {}).get("hard") or {}
    return any(map(evaluator.measure.covers, hard)) and all(
        evaluator.measure.in_scope(scope, obj) for scope in scopes_of(quota)
    )


def _judge(quota: Json, attributes: Attributes, evaluator: Evaluator) -> None:
    """Raises Forbidden for a quota that cannot be charged."""
    assert attributes.object is not None
    name, status = quota["metadata"]["name"], quota["status"]
    limited = [one for one in status["hard"] if evaluator.measure.covers(one)]
    missing = evaluator.missing(attributes.object, limited)
    if missing:
        raise refused(attributes, f"failed quota: {name}: {missing}")
    used = status.get("used") or {}
    if any(one not in used for one in limited):
        raise refused(attributes, f"status unknown for quota: {name}, resources: {','.join(sorted(limited))}")
