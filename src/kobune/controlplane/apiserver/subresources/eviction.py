"""pods/eviction: deletes a pod if its disruption budget allows. Source: upstream EvictionREST."""

from typing import TYPE_CHECKING

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import ApiError, BadRequest, FieldError, Forbidden, Json, TooManyRequests
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
    pod = await server.registry.find(call.kind, call.namespace, call.name)
    if pod is None:
        raise call.not_found()
    phase = (pod.get("status") or {}).get("phase")
    if phase not in ("Succeeded", "Failed", "Pending") and not pod["metadata"].get("deletionTimestamp"):
        await _spend_budget(server, call, pod, dry_run=options.dry_run or call.options.dry_run)
    await _delete(server, call, options)
    return Response(201, SUCCESS)


async def _spend_budget(server: "ApiServer", call: Call, pod: Json, *, dry_run: bool) -> None:
    budgets = await _budgets(server, pod)
    if len(budgets) > 1:
        raise ApiError(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    if not budgets:
        return
    budget = budgets[0]
    status = budget.get("status") or {}
    if not _is_ready(pod):
        if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
            return
        if status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0:
            return
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
        raise TooManyRequests(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            FieldError("", "DisruptionBudget", f"The disruption budget {name} is still being processed by the server."),
            retry_after_seconds=10,
        )
    allowed = status.get("disruptionsAllowed", 0)
    if allowed < 0:
        raise Forbidden(f'poddisruptionbudgets.policy "{name}" is forbidden: pdb disruptions allowed is negative')
    disrupted = dict(status.get("disruptedPods") or {})
    if len(disrupted) > MOST_DISRUPTED:
        raise Forbidden(
            f'poddisruptionbudgets.policy "{name}" is forbidden: '
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        )
    if allowed == 0:
        healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
        why = f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        raise TooManyRequests(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            FieldError("", "DisruptionBudget", why),
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
            version = marked["metadata"]["resourceVersion"]
            options = DeleteOptions(options.grace_seconds, options.uid, version, options.propagation, options.dry_run)
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
