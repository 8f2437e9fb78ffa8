"""Maintenance configurations: kept and shown; nothing is maintained by itself here."""

from kobune.aks.arm.errors import ArmError, invalid_parameter
from kobune.aks.arm.request import ArmAnswer, ArmRequest
from kobune.aks.arm.service import ArmService
from kobune.aks.arm.store import Resource
from kobune.api.errors import Json

TYPE = "microsoft.containerservice/managedclusters/maintenanceconfigurations"
SHOWN_TYPE = "Microsoft.ContainerService/managedClusters/maintenanceConfigurations"
NAMES = ("default", "aksManagedAutoUpgradeSchedule", "aksManagedNodeOSUpgradeSchedule")
SCHEDULES = ("daily", "weekly", "absoluteMonthly", "relativeMonthly")
DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
SHORTEST_HOURS, LONGEST_HOURS = 4, 24


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
    properties = request.json().get("properties") or {}
    _check(name, properties)
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


def _check(name: str, properties: Json) -> None:
    window = properties.get("maintenanceWindow")
    if window is None:
        if name != "default":
            raise invalid_parameter(f"maintenanceWindow must be given for {name}.", target="maintenanceWindow")
        for slot in properties.get("timeInWeek") or ():
            if slot.get("day") not in DAYS or not all(0 <= int(hour) <= 23 for hour in slot.get("hourSlots") or ()):
                raise invalid_parameter(
                    f"timeInWeek: {slot} is not a day with hours from 0 to 23.", target="timeInWeek"
                )
        return
    schedule = window.get("schedule") or {}
    chosen = [kind for kind in SCHEDULES if schedule.get(kind)]
    if len(chosen) != 1:
        raise invalid_parameter(f"maintenanceWindow.schedule must have exactly one of {', '.join(SCHEDULES)}.")
    if name == "default" and chosen != ["weekly"]:
        raise invalid_parameter("The configuration 'default' takes a weekly schedule only.")
    hours = int(window.get("durationHours") or 0)
    if not SHORTEST_HOURS <= hours <= LONGEST_HOURS:
        raise invalid_parameter(
            f"maintenanceWindow.durationHours {hours} is not between {SHORTEST_HOURS} and {LONGEST_HOURS}."
        )
