"""Long-running operations: begun by a request, carried out by the engine, followed until they end.

An operation is on disk before its wish is written, so a front end that is killed in between writes the wish again.
"""

import logging
from dataclasses import replace

import orjson

from kobune.aks.arm.documents import find_pool, pool_resource, with_pools, with_states
from kobune.aks.arm.errors import ArmError, not_allowed
from kobune.aks.arm.fleet import Outcome, Unplaceable, View
from kobune.aks.arm.request import ArmAnswer, ArmRequest
from kobune.aks.arm.runtimes import simulation_warning
from kobune.aks.arm.service import PROVIDER, ArmService, group_of
from kobune.aks.arm.store import Operation, Resource
from kobune.aks.arm.translate import to_cluster
from kobune.api.errors import Json

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = "1"  # Without it, or with 0, the Python clients wait 30 seconds.
LOOK_SECONDS = 0.1
OPERATION_API_VERSION = "2017-08-31"  # Of the operation's own URL; unrelated to the one of the call.
RUN_COMMAND = "RunCommand"  # The kind of an operation that changes nothing of its cluster.
ENDED = ("Succeeded", "Failed", "Canceled")


def check_idle(service: ArmService, cluster: Resource, *, beside: str = "", pool: str = "") -> None:
    """Raise ArmError while another operation of the cluster is in progress.

    Args:
        beside: a wish that goes on at the same time, provided it is about other pools than `pool`.
    """
    for operation in service.store.unfinished(cluster.key):
        if operation.kind == RUN_COMMAND or (beside and operation.wish == beside and pool not in operation.pools):
            continue
        if operation.kind == "Deleting" and not operation.pools:
            what = "Another operation (Deleting)"
        elif len(operation.pools) == 1 and operation.kind != "Updating":
            what = f"Another agentpool operation ({operation.pools[0]} - {operation.kind})"
        else:
            what = f"Another operation ({operation.kind})"
        raise ArmError(
            409,
            "OperationNotAllowed",
            f"Operation is not allowed: {what} is in progress, please wait for it to finish before starting a new "
            "operation. See https://aka.ms/aks-pending-operation for more details",
            headers={"Retry-After": "10"},
        )


def check_running(service: ArmService, cluster: Resource, what: str) -> None:
    """Raise ArmError when the cluster is stopped."""
    view = service.look(cluster)
    if view is not None and not view.wanted_running:
        state = cluster.document["properties"]["provisioningState"]
        raise not_allowed(
            f"managed cluster is in Provisioning State({state}) and Power State(Stopped). The operation '{what}' cannot be "
            "performed. Start the cluster first; see https://aka.ms/aks-start-stop-cluster."
        )


def begin(
    service: ArmService,
    cluster: Resource,
    *,
    kind: str,
    wish: str,
    caller: str,
    pools: tuple[str, ...] = (),
    removed: tuple[str, ...] = (),
    running: bool | None = None,
) -> Operation:
    """Start an operation on a cluster whose document already says what is wanted.

    Args:
        kind: the provisioningState meanwhile. `wish`: what the engine is asked for. `pools`: those that take part.
        running: whether the cluster runs afterwards; None leaves that as it is.
        caller: who asks; empty: nobody, the service does it by itself.
    Raises:
        ArmError: the machine has no room for a new cluster.
    """
    view = service.look(cluster)
    operation = Operation(
        id=service.new_id(),
        resource=cluster.key,
        kind=kind,
        wish=wish,
        pools=pools,
        removed=removed,
        running=running if running is not None else view.wanted_running if view else True,
        started=service.now(),
        caller=caller,
    )
    is_new = view is None
    with service.store.transaction():
        cluster = service.save(replace(cluster, document=with_states(cluster.document, kind, pools)))
        for other in service.store.unfinished(cluster.key):
            if other.wish == wish:  # One wish for both: the engine carries out what the last one says.
                service.store.put_operation(replace(other, shared=operation.id))
        service.store.put_operation(operation)
    try:
        _ask(service, cluster, operation, view)
    except Unplaceable as error:
        with service.store.transaction():
            if is_new:
                service.store.remove(cluster.key)
            else:
                service.save(replace(cluster, document=with_states(cluster.document, "Failed", pools)))
            service.store.put_operation(
                replace(operation, status="Failed", ended=service.now(), code="AllocationFailed", message=str(error))
            )
        raise ArmError(400, "AllocationFailed", str(error)) from error
    log.info("operation began", extra={"operation": operation.id, "kind": kind, "cluster": cluster.key})
    return operation


def follow(service: ArmService) -> None:
    """One look at everything in progress: write wishes that were lost, take note of what has ended."""
    for operation in service.store.unfinished():
        cluster = service.store.find(operation.resource)
        if not operation.wish:
            continue  # Carried out by the front end itself; see run_command.py.
        if cluster is None:
            end(service, operation, "Canceled", "AKSOperationPreemptedByDelete", "The cluster is gone.")
            continue
        view = service.fleet.look(cluster.place)
        if operation.wish == "delete" and view is None:
            _deleted(service, cluster, operation)
        elif view is None or view.wish != operation.wish_id:
            _again(service, cluster, operation, view)
        elif view.operation is not None and view.operation.id == operation.wish_id:
            _take_note(service, cluster, operation, view, view.operation)


def end(
    service: ArmService,
    operation: Operation,
    status: str,
    code: str = "",
    message: str = "",
    *,
    result: Json | None = None,
) -> None:
    """The operation has ended; the cluster's document is not touched. `result` is what its Location answers."""
    text = orjson.dumps(result).decode() if result is not None else ""
    service.store.put_operation(
        replace(
            operation,
            status=status,
            ended=service.now(),
            code=code,
            message=message,
            percent=100 if status == "Succeeded" else operation.percent,
            result=text,
        )
    )
    log.info("operation ended", extra={"operation": operation.id, "status": status, "code": code, "problem": message})


def abort(service: ArmService, cluster: Resource, caller: str) -> Operation | None:
    """Break off what is in progress; None when nothing is. What was done stays done."""
    running = [operation for operation in service.store.unfinished(cluster.key) if operation.wish not in ("", "abort")]
    if not running:
        return None
    aborted = running[-1]
    operation = replace(
        aborted, id=service.new_id(), kind="Canceling", wish="abort", started=service.now(), percent=0, caller=caller
    )
    with service.store.transaction():
        for other in running:
            end(service, other, "Canceled", "OperationCanceled", "The operation was aborted on request.")
        service.save(replace(cluster, document=with_states(cluster.document, "Canceling", aborted.pools)))
        service.store.put_operation(operation)
    _ask(service, cluster, operation, service.look(cluster))
    return operation


def preempt(service: ArmService, cluster: Resource) -> None:
    """A deletion takes over from whatever is in progress."""
    for operation in service.store.unfinished(cluster.key):
        end(
            service,
            operation,
            "Canceled",
            "AKSOperationPreemptedByDelete",
            "The operation was preempted by the deletion of the cluster.",
        )


def accepted(service: ArmService, request: ArmRequest, operation: Operation, location: str, *, status: int,
             body: Json | None = None, result: bool = False) -> ArmAnswer:  # fmt: skip
    """The answer that tells the client where to ask on. `result`: whether the final answer is at the Location."""
    scope = f"{request.base}{service.scope}/providers/{PROVIDER}/locations/{location}"
    version = f"?api-version={OPERATION_API_VERSION}"
    headers = {
        "Azure-AsyncOperation": f"{scope}/operations/{operation.id}{version}",
        "Retry-After": RETRY_AFTER_SECONDS,
    }
    if result or body is None:
        headers["Location"] = f"{scope}/operationresults/{operation.id}{version}"
    return ArmAnswer(status, body, headers)


def operation_status(operation: Operation) -> Json:
    """What the operation's own URL answers."""
    shown: Json = {
        "name": operation.id,
        "status": operation.status,
        "startTime": operation.started,
        "percentComplete": float(operation.percent),
    }
    if operation.ended:
        shown["endTime"] = operation.ended
    if operation.code:
        shown["error"] = {"code": operation.code, "message": operation.message}
    return shown


def get_status(service: ArmService, request: ArmRequest) -> ArmAnswer:
    operation = _find(service, request)
    headers = {} if operation.ended else {"Retry-After": RETRY_AFTER_SECONDS}
    return ArmAnswer(200, operation_status(operation) | {"id": request.path}, headers)


def get_result(service: ArmService, request: ArmRequest) -> ArmAnswer:
    operation = _find(service, request)
    if not operation.ended:
        location = f"{request.base}{request.path}?api-version={request.query.get('api-version', OPERATION_API_VERSION)}"
        return ArmAnswer(202, None, {"Location": location, "Retry-After": RETRY_AFTER_SECONDS})
    if operation.status != "Succeeded":
        raise ArmError(409, operation.code or "OperationFailed", operation.message)
    if operation.result:
        return ArmAnswer(200, orjson.loads(operation.result))
    cluster = service.store.find(operation.resource)
    if operation.wish == "node-image" and cluster is not None:
        pool = find_pool(cluster.document, operation.pools[0])
        if pool is not None:
            return ArmAnswer(200, pool_resource(cluster.document, pool, service.look(cluster)))
    return ArmAnswer(204)


def _find(service: ArmService, request: ArmRequest) -> Operation:
    found = service.store.find_operation(request.parameters["operation"])
    if found is None:
        raise ArmError(404, "NotFound", f"The operation '{request.parameters['operation']}' is not known.")
    return found


def _ask(service: ArmService, cluster: Resource, operation: Operation, view: View | None) -> None:
    document = cluster.document
    if operation.kind == "Deleting" and operation.wish != "delete":
        staying = [pool for pool in document["properties"]["agentPoolProfiles"] if pool["name"] not in operation.pools]
        document = with_pools(document, staying)
    wanted = to_cluster(
        document,
        group=group_of(cluster),
        subscription=service.subscription,
        view=view,
        removed=operation.removed,
    )
    service.fleet.ask(cluster.place, wanted, wish=operation.wish_id, kind=operation.wish, running=operation.running)


def _again(service: ArmService, cluster: Resource, operation: Operation, view: View | None) -> None:
    """The front end was killed before it wrote the wish."""
    try:
        _ask(service, cluster, operation, view)
    except Unplaceable as error:
        _ended(service, cluster, operation, "Failed")
        end(service, operation, "Failed", "AllocationFailed", str(error))


def _take_note(service: ArmService, cluster: Resource, operation: Operation, view: View, outcome: Outcome) -> None:
    if outcome.state not in ENDED:
        if outcome.percent != operation.percent:
            service.store.put_operation(replace(operation, percent=outcome.percent))
        return
    if operation.wish == "delete" and outcome.state == "Succeeded":
        _deleted(service, cluster, operation)
        return
    aborted = operation.wish == "abort" and outcome.state != "Failed"
    status = "Succeeded" if aborted else outcome.state  # An abort has done its work when the other one is canceled.
    code = "" if status == "Succeeded" else outcome.code or "InternalOperationError"
    operation = replace(operation, warning=simulation_warning(cluster.document, view, operation.pools))
    with service.store.transaction():
        _ended(service, cluster, operation, "Canceled" if aborted else outcome.state)
        end(service, operation, status, code, outcome.message if code else "")


def _ended(service: ArmService, cluster: Resource, operation: Operation, state: str) -> None:
    """The document's states after an operation: pools that were deleted go, the others show how it ended."""
    document = cluster.document
    if operation.kind == "Deleting" and state == "Succeeded":
        staying = [pool for pool in document["properties"]["agentPoolProfiles"] if pool["name"] not in operation.pools]
        document = with_pools(document, staying)
    service.save(replace(cluster, document=with_states(document, state, operation.pools)))


def _deleted(service: ArmService, cluster: Resource, operation: Operation) -> None:
    service.fleet.forget(cluster.place)
    with service.store.transaction():
        service.store.remove(cluster.key)
        end(service, operation, "Succeeded")
