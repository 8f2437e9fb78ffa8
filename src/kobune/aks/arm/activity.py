"""The activity log: what was done to clusters and groups, by whom and with what outcome, as `az monitor activity-log list` reads it.

Source: REST reference of activity logs, api-version 2015-04-01. Every operation is two events: its start and its end.
"""

from collections.abc import Iterable, Mapping

from kobune.aks.arm.filters import Fields, lets_through, parse_filter
from kobune.aks.arm.groups import DELETES_GROUP
from kobune.aks.arm.operations import RUN_COMMAND
from kobune.aks.arm.request import ArmAnswer, ArmRequest
from kobune.aks.arm.service import ArmService
from kobune.aks.arm.store import Operation
from kobune.api.errors import Json

MANAGED_CLUSTERS = "Microsoft.ContainerService/managedClusters"
RESOURCE_GROUPS = "Microsoft.Resources/subscriptions/resourceGroups"
# What a wish is called; all others are writes of the cluster.
ACTIONS = {
    "delete": "delete", "stop": "stop/action", "start": "start/action", "abort": "abort/action",
    "rotate-certificates": "rotateClusterCertificates/action", "rotate-keys": "rotateServiceAccountSigningKeys/action",
    "node-image": "agentPools/upgradeNodeImageVersion/action", "delete-machines": "agentPools/deleteMachines/action",
}  # fmt: skip


def list_events(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """The newest first, as far as the filter lets them through."""
    asked = parse_filter(request.query.get("$filter", ""), _FIELDS)
    terms = [term for term in asked if term.field != "eventchannels"]  # All are of the same channels.
    events = [event for operation in service.store.all_operations() for event in _events(service, operation)]
    found = [event for event in events if lets_through(terms, event, _FIELDS)]
    return ArmAnswer(200, {"value": sorted(found, key=lambda event: str(event["eventTimestamp"]), reverse=True)})


def _events(service: ArmService, operation: Operation) -> Iterable[Json]:
    yield _event(service, operation, "Started", operation.started)
    if operation.ended:
        yield _event(service, operation, operation.status, operation.ended)


def _event(service: ArmService, operation: Operation, status: str, at: str) -> Json:
    type_, action = _what(operation)
    ended = status != "Started"
    properties: Mapping[str, str] = {
        "provisioningState": operation.kind,
        "agentPools": ", ".join(operation.pools),
        "automatic": str(not operation.caller).lower(),
        **({"statusCode": operation.code, "statusMessage": operation.message} if ended and operation.code else {}),
        **({"warning": operation.warning} if ended and operation.warning else {}),
    }
    return {
        "id": f"{operation.resource}/events/{operation.id}/{'end' if ended else 'begin'}",
        "eventDataId": f"{operation.id}-{'end' if ended else 'begin'}",
        "correlationId": operation.id,
        "operationId": operation.id,
        "eventName": _named("EndRequest" if ended else "BeginRequest"),
        "category": _named("Administrative"),
        "level": _level(operation, status),
        "resourceGroupName": operation.resource.split("/")[4],
        "resourceProviderName": _named(type_.partition("/")[0]),
        "resourceId": operation.resource,
        "resourceType": _named(type_),
        "operationName": _named(f"{type_}/{action}"),
        "status": _named(status),
        "subStatus": _named(operation.code if ended else ""),
        "eventTimestamp": at,
        "submissionTimestamp": at,
        "subscriptionId": service.subscription,
        "tenantId": service.sign_in.tenant,
        "caller": operation.caller or "Azure Kubernetes Service",
        "properties": properties,
    }


def _level(operation: Operation, status: str) -> str:
    if status == "Failed":
        return "Error"
    return "Warning" if status != "Started" and operation.warning else "Informational"


def _what(operation: Operation) -> tuple[str, str]:
    """The type of the resource, and what is done to it."""
    if operation.kind == DELETES_GROUP:
        return RESOURCE_GROUPS, "delete"
    if operation.kind == RUN_COMMAND:
        return MANAGED_CLUSTERS, "runCommand/action"
    return MANAGED_CLUSTERS, ACTIONS.get(operation.wish, "write")


def _named(value: str) -> Json:
    return {"value": value, "localizedValue": value}


# How a filter names the fields of an event.
_FIELDS: Fields = {
    "eventtimestamp": lambda event: event["eventTimestamp"],
    "resourcegroupname": lambda event: event["resourceGroupName"],
    "resourceid": lambda event: event["resourceId"],
    "resourceuri": lambda event: event["resourceId"],
    "resourceprovider": lambda event: event["resourceProviderName"]["value"],
    "correlationid": lambda event: event["correlationId"],
    "caller": lambda event: event["caller"],
    "status": lambda event: event["status"]["value"],
    "eventchannels": lambda event: "",
}
