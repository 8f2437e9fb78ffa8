"""Kubeconfigs of a cluster, and what else an administrator asks once."""

import base64

from kobune.aks.arm.errors import ArmError, bad_request, invalid_parameter
from kobune.aks.arm.guarding import has_entra
from kobune.aks.arm.request import ArmAnswer, ArmRequest
from kobune.aks.arm.service import ArmService, group_of
from kobune.aks.arm.sign_in import CLOUD_NAME
from kobune.aks.arm.store import Resource
from kobune.aks.guard import CLIENT_APPLICATION, SERVER_APPLICATION
from kobune.api.errors import Json


def admin_credential(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    _check_local_accounts(cluster)
    return ArmAnswer(200, {"kubeconfigs": [_kubeconfig(service, cluster, "clusterAdmin")]})


def user_credential(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """For everybody: without Entra integration AKS's users are administrators; with it they bring their own tokens.

    `format` chooses how kubectl gets them: "exec" (a credential plugin, the default) or "azure" (kubectl's own way, until 1.25).
    """
    cluster, wanted = service.get_cluster(request), request.query.get("format", "exec").lower()
    if wanted not in ("exec", "azure"):
        raise invalid_parameter(f"The value of parameter format is invalid: {wanted!r} is neither azure nor exec.")
    login = _login(service, wanted) if has_entra(cluster) else None
    return ArmAnswer(200, {"kubeconfigs": [_kubeconfig(service, cluster, "clusterUser", login)]})


def monitoring_credential(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    _check_local_accounts(cluster)
    return ArmAnswer(200, {"kubeconfigs": [_kubeconfig(service, cluster, "clusterMonitoringUser")]})


def access_profile(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """The credentials' older form."""
    cluster, role = service.get_cluster(request), request.parameters["role"]
    if role.lower() not in ("clusteradmin", "clusteruser"):
        raise ArmError(404, "NotFound", f"There is no access profile '{role}'.")
    user = "clusterAdmin" if role.lower() == "clusteradmin" else "clusterUser"
    if user == "clusterAdmin":
        _check_local_accounts(cluster)
    login = _login(service, "exec") if user == "clusterUser" and has_entra(cluster) else None
    return ArmAnswer(
        200,
        {
            "id": f"{cluster.document['id']}/accessProfiles/{user}",
            "name": user,
            "type": "Microsoft.ContainerService/ManagedClusters/AccessProfiles",
            "location": cluster.document["location"],
            "properties": {"kubeConfig": _kubeconfig(service, cluster, user, login)["value"]},
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


def _check_local_accounts(cluster: Resource) -> None:
    if cluster.document["properties"].get("disableLocalAccounts"):
        raise bad_request(
            "BadRequest",
            "Getting static credential is not allowed because this cluster is set to disable local accounts.",
        )


def _login(service: ArmService, wanted: str) -> Json:
    """The user's entry of a kubeconfig that asks for tokens."""
    tenant = service.sign_in.tenant
    if wanted == "azure":
        config = {
            "apiserver-id": SERVER_APPLICATION,
            "client-id": CLIENT_APPLICATION,
            "config-mode": "1",
            "environment": CLOUD_NAME,
            "tenant-id": tenant,
        }
        return {"auth-provider": {"name": "azure", "config": config}}
    command, *first = service.fleet.token_helper
    asked = {
        "--environment": CLOUD_NAME,
        "--server-id": SERVER_APPLICATION,
        "--client-id": CLIENT_APPLICATION,
        "--tenant-id": tenant,
        "--login": "devicecode",
    }
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": command,
            "args": [*first, *(word for pair in asked.items() for word in pair)],
            "env": None,
            "provideClusterInfo": False,
        }
    }


def _kubeconfig(service: ArmService, cluster: Resource, user: str, login: Json | None = None) -> Json:
    name = cluster.document["name"]
    try:
        text = service.fleet.kubeconfig(
            cluster.place,
            cluster=name,
            user=f"{user}_{group_of(cluster)}_{name}",
            admin=user != "clusterMonitoringUser",
            login=login,
        )
    except FileNotFoundError as error:
        raise ArmError(
            400,
            "BadRequest",
            f"The credentials of managed cluster '{name}' are not there yet: it is still being created.",
        ) from error
    return {"name": user, "value": base64.b64encode(text.encode()).decode()}
