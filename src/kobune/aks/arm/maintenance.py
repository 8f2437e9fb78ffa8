"""Maintenance configurations: when the service may upgrade a cluster by itself; `auto_upgrade.py` asks them."""

from dataclasses import dataclass
from datetime import datetime

from kobune.aks.arm.errors import ArmError, invalid_parameter
from kobune.aks.arm.request import ArmAnswer, ArmRequest
from kobune.aks.arm.schedules import check_slots, opened, parse_offset, parse_window, slot_opened
from kobune.aks.arm.service import ArmService
from kobune.aks.arm.store import Resource
from kobune.api.errors import Json

TYPE = "microsoft.containerservice/managedclusters/maintenanceconfigurations"
SHOWN_TYPE = "Microsoft.ContainerService/managedClusters/maintenanceConfigurations"
NAMES = ("default", "aksManagedAutoUpgradeSchedule", "aksManagedNodeOSUpgradeSchedule")


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether maintenance may begin.

    Attributes:
        planned: there is a window; without one any time is as good.
        since: when the window that is open now opened; None: it is closed.
    """

    planned: bool
    since: datetime | None


def get(service: ArmService, request: ArmRequest) -> ArmAnswer:
    found = service.store.find(_id(service, request))
    if found is None:
        raise ArmError(
            404, "NotFound", f"Could not find the maintenance configuration '{request.parameters['configuration']}'."
        )
    return ArmAnswer(200, found.document)


def list_all(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    return ArmAnswer(200, {"value": [found.document for found in service.store.list(TYPE, cluster.key)]})


def put(service: ArmService, request: ArmRequest) -> ArmAnswer:
    name = next((known for known in NAMES if known.lower() == request.parameters["configuration"].lower()), None)
    if name is None:
        raise invalid_parameter(
            f"The value of parameter configName is invalid: {request.parameters['configuration']!r} is none of "
            f"{', '.join(NAMES)}.",
            target="configName",
        )
    properties = _checked(name, request.json().get("properties") or {}, service.clock.now())
    cluster = service.get_cluster(request)
    shown = f"{cluster.document['id']}/maintenanceConfigurations/{name}"
    document = {"id": shown, "name": name, "type": SHOWN_TYPE, "properties": properties}
    service.save(Resource(key=f"{cluster.key}/maintenanceconfigurations/{name}", type=TYPE, document=document))
    return ArmAnswer(200, document)


def delete(service: ArmService, request: ArmRequest) -> ArmAnswer:
    found = service.store.find(_id(service, request))
    if found is None:
        return ArmAnswer(204)
    service.store.remove(found.key)
    return ArmAnswer(200)


def _id(service: ArmService, request: ArmRequest) -> str:
    return f"{service.get_cluster(request).key}/maintenanceconfigurations/{request.parameters['configuration']}"


def find_opening(service: ArmService, cluster: Resource, name: str) -> Opening:
    """Whether the configuration of this name lets something begin now; in its place the one named `default` is asked."""
    for known in (name, "default"):
        found = service.store.find(f"{cluster.key}/maintenanceconfigurations/{known}")
        if found is not None:
            properties, now = found.document["properties"], service.clock.now()
            window = properties.get("maintenanceWindow")
            if window is None:
                return Opening(planned=True, since=slot_opened(properties, now))
            return Opening(planned=True, since=opened(parse_window(window, default_date=now.date()), now))
    return Opening(planned=False, since=None)


def _checked(name: str, properties: Json, now: datetime) -> Json:
    """The properties as they are kept: with the defaults of a window. Raises ArmError."""
    window = properties.get("maintenanceWindow")
    if window is None:
        if name != "default":
            raise invalid_parameter(f"maintenanceWindow must be given for {name}.", target="maintenanceWindow")
        check_slots(properties)
        return properties
    today = now.astimezone(parse_offset(window)).date()
    parsed = parse_window(window, default_date=today)
    if name == "default" and parsed.kind != "weekly":
        raise invalid_parameter("The configuration 'default' takes a weekly schedule only.")
    window = window | {"startDate": parsed.first.isoformat(), "utcOffset": window.get("utcOffset") or "+00:00"}
    return properties | {"maintenanceWindow": window}
