"""Entra integration of clusters: what the front end tells each cluster's guard, and the rules of `aadProfile`.

Source: REST reference of ManagedClusterAADProfile; AKS's page on managed Entra integration.
"""

from kobune.aks.arm.access import grants
from kobune.aks.arm.errors import bad_request, invalid_parameter
from kobune.aks.arm.request import GUID
from kobune.aks.arm.service import CLUSTERS, ArmService
from kobune.aks.arm.store import Resource
from kobune.aks.guard import Grant, Guard
from kobune.api.errors import Json

NAMESPACES = "/namespaces/"  # Between a cluster's id and a namespace, in the scope of a role assignment.


def has_entra(cluster: Resource) -> bool:
    return bool((cluster.document["properties"].get("aadProfile") or {}).get("managed"))


def follow_guards(service: ArmService) -> None:
    """Tell the guards what has changed."""
    for cluster in service.store.list(CLUSTERS):
        if has_entra(cluster) and service.look(cluster) is not None:
            service.fleet.set_guard(cluster.place, guard_of(service, cluster))


def guard_of(service: ArmService, cluster: Resource) -> Guard:
    profile = cluster.document["properties"]["aadProfile"]
    decides = bool(profile.get("enableAzureRBAC"))
    return Guard(
        tenant=service.sign_in.tenant,
        keys=service.sign_in.issuer.keys,
        admin_groups=tuple(str(group).lower() for group in profile.get("adminGroupObjectIDs") or ()),
        decides=decides,
        grants=tuple(_grants(service, cluster.key)) if decides else (),
    )


def check_profile(properties: Json, before: Json | None, tenant: str) -> None:
    """The rules of a cluster's aadProfile; fills in the tenant. `before`: the kept properties, None for a new cluster.

    Raises:
        ArmError: InvalidParameter or BadRequest.
    """
    profile = properties.get("aadProfile")
    had = bool(before and (before.get("aadProfile") or {}).get("managed"))
    if not profile:
        return
    if any(profile.get(field) for field in ("clientAppID", "serverAppID", "serverAppSecret")):
        raise bad_request(
            "BadRequest",
            "Legacy Microsoft Entra integration with applications of one's own is retired; set aadProfile.managed. See "
            "https://aka.ms/aks/aad-legacy.",
        )
    if not profile.get("managed"):
        if had:
            raise bad_request("BadRequest", "Microsoft Entra integration cannot be turned off once it is enabled.")
        if profile.get("enableAzureRBAC"):
            raise bad_request("BadRequest", "aadProfile.enableAzureRBAC needs a managed Microsoft Entra integration.")
        return
    for group in profile.get("adminGroupObjectIDs") or ():
        if not GUID.fullmatch(str(group)):
            raise invalid_parameter(
                f"The value of parameter aadProfile.adminGroupObjectIDs is invalid: {group!r} is not a GUID.",
                target="aadProfile.adminGroupObjectIDs",
            )
    if profile.setdefault("tenantID", tenant) != tenant:
        raise invalid_parameter(
            f"The value of parameter aadProfile.tenantID is invalid: this service has the tenant {tenant} alone.",
            target="aadProfile.tenantID",
        )
    profile.setdefault("enableAzureRBAC", False)


def _grants(service: ArmService, key: str) -> list[Grant]:
    """Roles with actions inside the cluster, assigned at the cluster, above it, or at one of its namespaces."""
    found = []
    for grant in grants(service):
        if not grant.role.data_actions:
            continue
        namespace = (
            grant.scope.removeprefix(f"{key}{NAMESPACES}") if grant.scope.startswith(f"{key}{NAMESPACES}") else ""
        )
        if namespace or grant.covers(key):
            actions = tuple(grant.role.data_actions), tuple(grant.role.not_data_actions)
            found.append(Grant(grant.principal, namespace, *actions))
    return found
