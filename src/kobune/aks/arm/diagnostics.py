"""Diagnostic settings, workspaces and their queries: which logs of a cluster are kept as tables, and how they are asked.

Source: REST references of Microsoft.Insights and Microsoft.OperationalInsights, and of the Log Analytics query API.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from kobune.aks.arm.documents import KEPT
from kobune.aks.arm.errors import ArmError, bad_request, invalid_parameter
from kobune.aks.arm.kept import Kept
from kobune.aks.arm.kql import KqlError
from kobune.aks.arm.log_reader import AUDIT, AUDIT_ADMIN, CATEGORIES, read_new
from kobune.aks.arm.log_store import Rows, TooMuchWork
from kobune.aks.arm.operations import begin
from kobune.aks.arm.request import ArmAnswer, ArmRequest, normal_location
from kobune.aks.arm.service import CLUSTERS, ArmService
from kobune.aks.arm.store import Resource
from kobune.api.errors import Json

SETTINGS = "microsoft.insights/diagnosticsettings"
WORKSPACES = "microsoft.operationalinsights/workspaces"
workspaces = Kept("Microsoft.OperationalInsights/workspaces", "workspace")
GROUPS = {"alllogs": CATEGORIES, "audit": (AUDIT, AUDIT_ADMIN)}
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


def list_categories(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    shown = [
        {
            "id": f"{cluster.document['id']}/providers/microsoft.insights/diagnosticSettingsCategories/{name}",
            "name": name,
            "type": "microsoft.insights/diagnosticSettingsCategories",
            "properties": {"categoryType": "Logs", "categoryGroups": [g for g in GROUPS if name in GROUPS[g]]},
        }
        for name in CATEGORIES
    ]
    return ArmAnswer(200, {"value": shown})


def put_setting(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster, name = service.get_cluster(request), request.parameters["setting"]
    properties = request.json().get("properties") or {}
    for entry in properties.get("logs") or ():
        category, group = entry.get("category"), str(entry.get("categoryGroup") or "").lower()
        if not (category in CATEGORIES or group in GROUPS):
            raise bad_request(
                "BadRequest",
                f"Category '{category or group}' is not supported. The categories are {', '.join(CATEGORIES)}.",
            )
    workspace = properties.get("workspaceId")
    if workspace and service.store.find(str(workspace)) is None:
        raise ArmError(404, "ResourceNotFound", f"The Resource '{workspace}' was not found.")
    document = {
        "id": f"{cluster.document['id']}/providers/microsoft.insights/diagnosticSettings/{name}",
        "name": name,
        "type": "Microsoft.Insights/diagnosticSettings",
        "properties": {"logs": [], "metrics": [], **properties},
    }
    key = f"{cluster.key}/providers/microsoft.insights/diagnosticsettings/{name}"
    service.save(Resource(key=key, type=SETTINGS, document=document))
    follow_audit(service)
    return ArmAnswer(200, document)


def get_setting(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return ArmAnswer(200, _setting(service, request).document)


def list_settings(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    return ArmAnswer(200, {"value": [found.document for found in service.store.list(SETTINGS, cluster.key)]})


def delete_setting(service: ArmService, request: ArmRequest) -> ArmAnswer:
    try:
        found = _setting(service, request)
    except ArmError:
        return ArmAnswer(204)
    service.store.remove(found.key)
    return ArmAnswer(200)


def put_workspace(service: ArmService, request: ArmRequest) -> ArmAnswer:
    group = service.get_group(request.parameters["group"])
    body, name = request.json(), request.parameters["workspace"]
    key = f"{group.document['id']}/providers/Microsoft.OperationalInsights/workspaces/{name}"
    existing = service.store.find(key)
    customer = existing.document["properties"]["customerId"] if existing else service.new_id()
    document = {
        "id": key,
        "name": name,
        "type": "Microsoft.OperationalInsights/workspaces",
        "location": normal_location(str(body.get("location") or group.document["location"])),
        "tags": body.get("tags") or {},
        "properties": {
            "retentionInDays": 30,
            "sku": {"name": "PerGB2018"},
            **(body.get("properties") or {}),
            "customerId": customer,
            "provisioningState": "Succeeded",
        },
    }
    service.save(Resource(key=key, type=WORKSPACES, document=document))
    return ArmAnswer(200 if existing else 201, document)


def query_workspace(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Ask a workspace, by the id that Log Analytics calls the customer's. All workspaces are one database here."""
    wanted = request.parameters["customer"].lower()
    known = service.store.list(WORKSPACES, service.scope)
    if not any(found.document["properties"]["customerId"].lower() == wanted for found in known):
        raise ArmError(404, "WorkspaceNotFoundError", f"The workspace '{wanted}' could not be found.")
    return _query(service, request, "")


def query_cluster(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Ask the logs of one cluster."""
    return _query(service, request, service.get_cluster(request).key)


def collect(service: ArmService) -> None:
    """Take in what the clusters have logged since the last look."""
    for cluster in service.store.list(CLUSTERS, service.scope):
        wanted = categories_of(service, cluster)
        logs = service.fleet.logs(cluster.place)
        if wanted and logs is not None:
            labels = {
                "_ResourceId": cluster.key,
                "_SubscriptionId": service.subscription,
                "SourceSystem": "Azure",
                "TenantId": service.sign_in.tenant,
            }
            while read_new(service.logs, logs, wanted, labels):
                pass


def categories_of(service: ArmService, cluster: Resource) -> frozenset[str]:
    """What a cluster's settings ask for together."""
    wanted: set[str] = set()
    for setting in service.store.list(SETTINGS, cluster.key):
        for entry in setting.document["properties"]["logs"]:
            if entry.get("enabled"):
                group = str(entry.get("categoryGroup") or "").lower()
                wanted.update(GROUPS.get(group, (entry.get("category"),)))
    return frozenset(wanted)


def follow_audit(service: ArmService) -> None:
    """Have API servers audit where that is asked for, and no longer where it is not; as soon as nothing else is going on."""
    for cluster in service.store.list(CLUSTERS, service.scope):
        audited = bool({AUDIT, AUDIT_ADMIN} & categories_of(service, cluster))
        properties = cluster.document["properties"]
        view = service.look(cluster)
        if audited is properties[KEPT].get("audited", False) or view is None or not view.wanted_running:
            continue
        if not service.store.unfinished(cluster.key):
            kept = properties[KEPT] | {"audited": audited}
            document = cluster.document | {"properties": properties | {KEPT: kept}}
            begin(service, replace(cluster, document=document), kind="Updating", wish="update", caller="")


def _query(service: ArmService, request: ArmRequest, resource: str) -> ArmAnswer:
    body = request.json()
    text = str(body.get("query") or request.query.get("query") or "")
    if not text.strip():
        raise invalid_parameter("The query is missing.", target="query")
    now = service.clock.now()
    collect(service)
    try:
        found = service.logs.query(text, now, resource=resource, since=_since(body, request, now))
    except KqlError as error:
        raise ArmError(400, "BadArgumentError", f"The request had some invalid properties: {error}") from error
    except TooMuchWork as error:
        raise ArmError(504, "GatewayTimeout", str(error)) from error
    return ArmAnswer(200, {"tables": [_table(found)]})


def _table(found: Rows) -> Json:
    return {
        "name": "PrimaryResult",
        "columns": [{"name": column.name, "type": column.type} for column in found.columns],
        "rows": [list(row) for row in found.rows],
    }


def _since(body: Json, request: ArmRequest, now: datetime) -> datetime | None:
    """The beginning of the timespan: an ISO 8601 duration, or two times with a slash between."""
    text = str(body.get("timespan") or request.query.get("timespan") or "")
    if not text:
        return None
    duration = _DURATION.fullmatch(text)
    if duration and any(duration.groups()):
        days, hours, minutes, seconds = (int(part or 0) for part in duration.groups())
        return now - timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    try:
        time = datetime.fromisoformat(text.partition("/")[0].replace("Z", "+00:00"))
    except ValueError as error:
        raise invalid_parameter(f"The timespan '{text}' is no ISO 8601 duration.", target="timespan") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _setting(service: ArmService, request: ArmRequest) -> Resource:
    cluster, name = service.get_cluster(request), request.parameters["setting"]
    found = service.store.find(f"{cluster.key}/providers/microsoft.insights/diagnosticsettings/{name}")
    if found is None:
        raise ArmError(404, "ResourceNotFound", f"The diagnostic setting '{name}' does not exist.")
    return found
