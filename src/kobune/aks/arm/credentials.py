"""Kubeconfigs of a cluster, and what else an administrator asks once."""

import base64

from kobune.aks.arm.errors import ArmError, bad_request
from kobune.aks.arm.request import ArmAnswer, ArmRequest
from kobune.aks.arm.service import ArmService, group_of
from kobune.aks.arm.store import Resource
from kobune.api.errors import Json


def admin_credential(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    if cluster.document["properties"].get("disableLocalAccounts"):
        raise bad_request(
            "BadRequest",
            "Getting static credential is not allowed because this cluster is set to disable local accounts.",
        )
    return ArmAnswer(200, {"kubeconfigs": [_kubeconfig(service, cluster, "clusterAdmin")]})


def user_credential(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """For everybody: without Entra integration AKS's users are administrators, and Terraform reads every cluster so."""
    cluster = service.get_cluster(request)
    return ArmAnswer(200, {"kubeconfigs": [_kubeconfig(service, cluster, "clusterUser")]})


def monitoring_credential(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    return ArmAnswer(200, {"kubeconfigs": [_kubeconfig(service, cluster, "clusterMonitoringUser")]})


def access_profile(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """The credentials' older form."""
    cluster, role = service.get_cluster(request), request.parameters["role"]
    if role.lower() not in ("clusteradmin", "clusteruser"):
        raise ArmError(404, "NotFound", f"There is no access profile '{role}'.")
    user = "clusterAdmin" if role.lower() == "clusteradmin" else "clusterUser"
    return ArmAnswer(
        200,
        {
            "id": f"{cluster.document['id']}/accessProfiles/{user}",
            "name": user,
            "type": "Microsoft.ContainerService/ManagedClusters/AccessProfiles",
            "location": cluster.document["location"],
            "properties": {"kubeConfig": _kubeconfig(service, cluster, user)["value"]},
        },
    )


def nothing_to_reset(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Service principals and Entra applications of a cluster call no Azure API here: there is nothing to renew."""
    service.get_cluster(request)
    return ArmAnswer(200)


def outbound_endpoints(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Nodes here depend on no endpoint outside the machine."""
    service.get_cluster(request)
    return ArmAnswer(200, {"value": []})


def empty_list(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """What a cluster could have, and has none of."""
    service.get_cluster(request)
    return ArmAnswer(200, {"value": []})


def empty_global_list(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return ArmAnswer(200, {"value": []})


def _kubeconfig(service: ArmService, cluster: Resource, user: str) -> Json:
    name = cluster.document["name"]
    try:
        text = service.fleet.kubeconfig(
            cluster.place,
            cluster=name,
            user=f"{user}_{group_of(cluster)}_{name}",
            admin=user != "clusterMonitoringUser",
        )
    except FileNotFoundError as error:
        raise ArmError(
            400,
            "BadRequest",
            f"The credentials of managed cluster '{name}' are not there yet: it is still being created.",
        ) from error
    return {"name": user, "value": base64.b64encode(text.encode()).decode()}
