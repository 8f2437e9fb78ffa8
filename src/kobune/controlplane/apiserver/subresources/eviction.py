"""pods/eviction: deletes a pod if its disruption budget allows. Source: upstream EvictionREST."""

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import ApiError, BadRequest, Conflict, FieldError, Json, TooManyRequests, forbidden
from kobune.api.selectors import labels_from_json
from kobune.api.timestamps import format_time
from kobune.controlplane.apiserver.options import DeleteOptions, delete_options
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.delete import delete
from kobune.controlplane.apiserver.registry.update import change, counted
from kobune.controlplane.apiserver.request import Request, Response
from kobune.controlplane.apiserver.resources import new_call
from kobune.controlplane.apiserver.routes import RequestInfo
from kobune.controlplane.apiserver.subresources.conditions import set_condition
from kobune.controlplane.apiserver.subresources.posted import SUCCESS, read_posted
from kobune.controlplane.store.selection import Selection

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

EVICTION = Kind("policy", "v1", "Eviction", "evictions")
VIOLATION = "Cannot evict pod as it would violate the pod's disruption budget."
SINGULAR = "poddisruptionbudget"  # As upstream's refusals name it.
ATTEMPTS = 20  # Source: upstream EvictionsRetry, 20 steps.
MOST_DISRUPTED = 2000  # Pods in a budget's disruptedPods. Source: upstream MaxDisruptedPodSize.


async def evict(server: "ApiServer", request: Request, info: RequestInfo) -> Response:
    """Raises TooManyRequests while the budget forbids it."""
    eviction = read_posted(server, request, info, EVICTION)
    call = new_call(server, request, info)
    call.subresource = ""
    name = eviction["metadata"].get("name")
    if name != call.name:
        raise BadRequest("name in URL does not match name in Eviction object")
    options = delete_options(request.query, eviction.get("deleteOptions"))
    for attempt in range(ATTEMPTS):
        pod = await server.registry.find(call.kind, call.namespace, call.name)
        if pod is None:
            raise call.not_found()
        if not _is_beyond_budgets(pod):
            await _evict_guarded(server, call, pod, options)
            break
        try:
            await _delete(server, call, options if _is_ending(pod) else _as_seen(options, pod))
            break
        except Conflict:
            # The pod is another one by now: perhaps one that a budget guards.
            if options.resource_version or attempt + 1 == ATTEMPTS:
                raise
    return Response(201, SUCCESS)


def _is_ending(pod: Json) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed") or bool(pod["metadata"].get("deletionTimestamp"))


def _is_beyond_budgets(pod: Json) -> bool:
    """Nothing is disrupted by its deletion: it has ended or has not begun."""
    return _is_ending(pod) or (pod.get("status") or {}).get("phase") == "Pending"


def _as_seen(options: DeleteOptions, pod: Json) -> DeleteOptions:
    """To delete the pod only while it is what was judged."""
    return replace(options, resource_version=options.resource_version or pod["metadata"]["resourceVersion"])


async def _evict_guarded(server: "ApiServer", call: Call, pod: Json, options: DeleteOptions) -> None:
    budget = await _budget_of(server, pod)
    if budget is None:
        await _delete(server, call, options)
    elif not _spares(budget, pod):
        await _spend(server, call, budget, pod, dry_run=options.dry_run or call.options.dry_run)
        await _delete(server, call, options)
    else:
        try:
            await _delete(server, call, _as_seen(options, pod))
        except Conflict:
            if options.resource_version:
                raise
            # It may have become ready, and then the budget guards it.
            raise _not_counted_yet(budget["metadata"]["name"]) from None


async def _budget_of(server: "ApiServer", pod: Json) -> Json | None:
    """The budget that guards the pod. Raises ApiError when there are several."""
    budgets = await _budgets(server, pod)
    if len(budgets) > 1:
        raise ApiError(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    return budgets[0] if budgets else None


def _spares(budget: Json, pod: Json) -> bool:
    """Whether the pod may go at no cost: it is not among the healthy ones, and the policy lets such pods go."""
    if _is_ready(pod):
        return False
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    return bool(status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0)


async def _spend(server: "ApiServer", call: Call, budget: Json, pod: Json, *, dry_run: bool) -> None:
    kind = server.registry.builtin("policy", "v1", "PodDisruptionBudget")
    meta = budget["metadata"]
    spending = Call(kind, meta["namespace"], meta["name"], call.user, call.now, call.options, subresource="status")

    async def decrement(old: Json) -> Json:
        return decremented(old, pod["metadata"]["name"], format_time(call.now))

    if dry_run:
        decremented(budget, pod["metadata"]["name"], format_time(call.now))
    else:
        await change(server.registry, spending, decrement, prepare=counted, checks=False)


def decremented(budget: Json, pod: str, now: str) -> Json:
    """The budget with one disruption less. Raises TooManyRequests, Forbidden. Source: upstream checkAndDecrement."""
    meta, status = budget["metadata"], dict(budget.get("status") or {})
    name = meta["name"]
    if status.get("observedGeneration", 0) < meta.get("generation", 0):
        raise _not_counted_yet(name)
    allowed = status.get("disruptionsAllowed", 0)
    if allowed < 0:
        raise forbidden(SINGULAR, name, "pdb disruptions allowed is negative", group="policy")
    disrupted = dict(status.get("disruptedPods") or {})
    if len(disrupted) > MOST_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise forbidden(SINGULAR, name, why, group="policy")
    if allowed == 0:
        raise TooManyRequests(
            VIOLATION, FieldError("", "DisruptionBudget", f"The disruption budget {name} {_why(status)}")
        )
    disrupted[pod] = now
    status["disruptionsAllowed"], status["disruptedPods"] = allowed - 1, disrupted
    if allowed == 1:
        condition = {
            "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
            "observedGeneration": status.get("observedGeneration", 0),
        }  # fmt: skip
        set_condition(status, condition, now)
    return {**budget, "metadata": dict(meta), "status": status}


def _why(status: Json) -> str:
    """What keeps a budget from allowing anything."""
    found: Json = next((each for each in status.get("conditions") or () if each["type"] == "DisruptionAllowed"), {})
    said = found.get("message") if found.get("status") == "False" else ""
    if said and found.get("reason") == "SyncFailed":  # The numbers are not to be trusted then.
        return f"does not allow evicting pods currently because it failed sync: {said}"
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    if healthy <= desired:
        return f"needs {desired} healthy pods and has {healthy} currently"
    if said:
        return f"does not allow evicting pods currently ({found.get('reason', '')}): {said}"
    return "does not allow evicting pods currently"


def _not_counted_yet(name: str) -> TooManyRequests:
    why = f"The disruption budget {name} is still being processed by the server."
    return TooManyRequests(VIOLATION, FieldError("", "DisruptionBudget", why), retry_after_seconds=10)


async def _delete(server: "ApiServer", call: Call, options: DeleteOptions) -> None:
    if not (options.dry_run or call.options.dry_run):
        condition = {
            "type": "DisruptionTarget", "status": "True", "lastProbeTime": None,
            "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
        }  # fmt: skip

        async def mark(old: Json) -> Json:
            for given, field in ((options.uid, "uid"), (options.resource_version, "resourceVersion")):
                if given and given != old["metadata"][field]:
                    raise call.conflict(f"the {field} in the precondition ({given}) does not match")
            new = {**old, "metadata": dict(old["metadata"]), "status": dict(old.get("status") or {})}
            set_condition(new["status"], condition, format_time(call.now))
            return new

        call.accounted = False
        body = await change(server.registry, call, mark, prepare=counted, checks=False)
        if options.resource_version:
            marked: Json = orjson.loads(body)
            options = replace(options, resource_version=marked["metadata"]["resourceVersion"])
    await delete(server.registry, call, options)


async def _budgets(server: "ApiServer", pod: Json) -> list[Json]:
    kind = server.registry.builtin("policy", "v1", "PodDisruptionBudget")
    cache = await server.registry.cache(kind)
    meta = pod["metadata"]
    budgets: list[Json] = [orjson.loads(item.body) for item in cache.list(Selection(meta["namespace"]))]
    labels = meta.get("labels") or {}
    return [one for one in budgets if labels_from_json((one.get("spec") or {}).get("selector")).matches(labels)]


def _is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
