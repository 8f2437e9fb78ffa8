"""Managed clusters: create, change, show, list, delete, stop, start, rotate, abort.

Source: REST reference of managed clusters; AKS's pages on upgrades, start and stop.
"""

import hashlib
from dataclasses import dataclass, replace

from kobune.aks.arm.auto_upgrade import VERSION_CHANNELS
from kobune.aks.arm.documents import (
    CLUSTER_TYPE,
    KEPT,
    cluster_document,
    find_pool,
    pool_document,
    render_cluster,
    with_pools,
)
from kobune.aks.arm.errors import ArmError, bad_request, invalid_parameter, not_allowed
from kobune.aks.arm.features import CLUSTER_REFUSED, POOL_REFUSED, check_features
from kobune.aks.arm.fleet import View
from kobune.aks.arm.guarding import check_profile
from kobune.aks.arm.locations import check_location
from kobune.aks.arm.operations import abort, accepted, begin, check_idle, check_running, operation_status, preempt
from kobune.aks.arm.quotas import check_quota
from kobune.aks.arm.request import ArmAnswer, ArmRequest, check_precondition, normal_location
from kobune.aks.arm.rules import (
    check_cluster,
    check_cluster_change,
    check_cluster_name,
    check_pool_change,
    check_pools,
)
from kobune.aks.arm.runtimes import choose_runtime
from kobune.aks.arm.service import CLUSTERS, ArmService
from kobune.aks.arm.store import Operation, Resource
from kobune.aks.arm.translate import to_cluster
from kobune.aks.arm.upgrades import check_cluster_upgrade, check_pool_version, unsupported
from kobune.aks.clusters import Cluster
from kobune.api.errors import Invalid, Json

MOST_CLUSTERS = 5000


@dataclass(frozen=True, slots=True)
class Change:
    """What a write of a cluster or a pool amounts to."""

    kind: str  # The provisioningState meanwhile.
    wish: str
    pools: tuple[str, ...]  # Those that change.


def show(service: ArmService, cluster: Resource) -> Json:
    return render_cluster(cluster.document, service.look(cluster), cluster.etag)


def get(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    return ArmAnswer(200, show(service, cluster), {"ETag": f'"{cluster.etag}"'})


def list_all(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return ArmAnswer(200, {"value": _listed(service, service.scope)})


def list_in_group(service: ArmService, request: ArmRequest) -> ArmAnswer:
    group = service.get_group(request.parameters["group"])
    return ArmAnswer(200, {"value": _listed(service, group.key)})


def put(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Create the cluster, or make it as the body says."""
    name, group = request.parameters["cluster"], service.get_group(request.parameters["group"])
    check_cluster_name(name)
    if group.document["properties"]["provisioningState"] == "Deleting":
        raise ArmError(
            409,
            "ResourceGroupBeingDeleted",
            f"The resource group '{group.document['name']}' is in deprovisioning state and cannot perform this operation.",
        )
    body = request.json()
    existing = service.find_cluster(request)
    check_precondition(request.headers, existing.etag if existing else None)
    if existing is not None:
        return _update(service, request, existing, body)
    return _create(service, request, group, body)


def patch_tags(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Replace the tags; nothing else of a cluster can be patched."""
    cluster = service.get_cluster(request)
    check_precondition(request.headers, cluster.etag)
    check_idle(service, cluster)
    tags = request.json().get("tags") or {}
    saved = service.save(replace(cluster, document=cluster.document | {"tags": tags}))
    return ArmAnswer(200, show(service, saved))


def delete(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Delete the cluster, whatever else goes on with it."""
    service.get_group(request.parameters["group"])
    cluster = service.find_cluster(request)
    if cluster is None:
        return ArmAnswer(204)
    check_precondition(request.headers, cluster.etag)
    waiting = [operation for operation in service.store.unfinished(cluster.key) if operation.wish == "delete"]
    operation = waiting[0] if waiting else start_deletion(service, cluster, request.caller.name)
    return accepted(service, request, operation, cluster.document["location"], status=202)


def start_deletion(service: ArmService, cluster: Resource, caller: str) -> Operation:
    """Ask for the end of a cluster; what else was in progress is over."""
    preempt(service, cluster)
    pools = tuple(pool["name"] for pool in cluster.document["properties"]["agentPoolProfiles"])
    return begin(service, cluster, kind="Deleting", wish="delete", caller=caller, pools=pools, running=False)


def stop(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    check_idle(service, cluster)
    check_running(service, cluster, "stop")
    return _begin(service, request, cluster, kind="Stopping", wish="stop", running=False)


def start(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    check_idle(service, cluster)
    view = service.look(cluster)
    if view is not None and view.wanted_running and cluster.document["properties"]["provisioningState"] == "Succeeded":
        raise not_allowed(
            "managed cluster is in Provisioning State(Succeeded) and Power State(Running). The operation 'start' cannot be "
            "performed."
        )
    return _begin(service, request, cluster, kind="Starting", wish="start", running=True)


def rotate_certificates(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return _rotate(service, request, "certificates", "rotate-certificates")


def rotate_keys(service: ArmService, request: ArmRequest) -> ArmAnswer:
    return _rotate(service, request, "keys", "rotate-keys")


def abort_cluster(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Break off the cluster's operation in progress."""
    cluster = service.get_cluster(request)
    operation = abort(service, cluster, request.caller.name)
    if operation is None:
        raise ArmError(409, "OperationNotAllowed", "There is no operation in progress that could be aborted.")
    return accepted(service, request, operation, cluster.document["location"], status=202)


def latest_operation(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """`az aks operation show-latest`, for the cluster or one of its pools."""
    cluster = service.get_cluster(request)
    wanted = request.parameters.get("operation", "latest")
    if wanted.lower() == "latest":
        found = service.store.latest_operation(cluster.key, request.parameters.get("pool", ""))
    else:
        found = service.store.find_operation(wanted)
    if found is None or found.resource != cluster.key:
        raise ArmError(404, "NotFound", "No such operation is known of this resource.")
    shown = operation_status(found)
    shown |= {"id": f"{cluster.document['id']}/operations/{found.id}", "resourceId": cluster.document["id"]}
    return ArmAnswer(200, shown)


def plan_change(before: Cluster, after: Cluster) -> Change:
    """What has to be done to go from one to the other."""
    old = {pool.name: pool for pool in before.pools}
    changed = tuple(pool.name for pool in after.pools if old.get(pool.name) != pool)
    versions = after.kubernetes_version != before.kubernetes_version or any(
        pool.name in old and old[pool.name].kubernetes_version != pool.kubernetes_version for pool in after.pools
    )
    if versions:
        return Change("Upgrading", "upgrade", changed)
    counts_only = bool(changed) and all(
        pool.name in old and replace(pool, count=old[pool.name].count) == old[pool.name] for pool in after.pools
    )
    if counts_only and replace(after, pools=before.pools) == before and len(after.pools) == len(before.pools):
        return Change("Scaling", "scale", changed)
    return Change("Updating", "update", changed)


def joined_pools(service: ArmService, document: Json, existing: Json | None, bodies: list[Json]) -> Json:
    """The document with its pools: those of the request, joined with those that are kept."""
    pools = []
    for index, body in enumerate(bodies):
        check_features(body, POOL_REFUSED)
        name = str(body.get("name") or "")
        known = find_pool(existing, name) if existing else None
        if existing is None and index == 0 and not body.get("mode"):
            body = body | {"mode": "System"}
        try:
            pool = pool_document(body | {"name": name}, known, document["properties"])
        except Invalid as error:
            version = str(body.get("orchestratorVersion"))
            raise unsupported(version, location=document["location"], pool=name) from error
        if known is not None:
            check_pool_change(known, pool)
        pools.append(pool)
    return choose_runtime(with_pools(document, pools), simulated=service.simulated)


def check_versions(before: Json | None, after: Json, view: View | None) -> None:
    """The version rules for a document that replaces another; `before` is None for a new cluster."""
    wanted = after["properties"][KEPT]["version"]
    if before is not None:
        current = (view.kubernetes_version if view else "") or before["properties"][KEPT]["version"]
        check_cluster_upgrade(current, wanted)
    for pool in after["properties"]["agentPoolProfiles"]:
        known = find_pool(before, pool["name"]) if before else None
        check_pool_version(pool["name"], known[KEPT]["version"] if known else "", pool[KEPT]["version"], wanted)


def _create(service: ArmService, request: ArmRequest, group: Resource, body: Json) -> ArmAnswer:
    name, group_name = request.parameters["cluster"], group.document["name"]
    location = normal_location(str(body.get("location") or ""))
    check_location(location, "Microsoft.ContainerService/managedClusters")
    properties = body.get("properties") or {}
    check_features(properties, CLUSTER_REFUSED)
    bodies = properties.get("agentPoolProfiles") or []
    if not bodies:
        raise invalid_parameter("Required parameter agentPoolProfiles is missing (null).", target="agentPoolProfiles")
    if len(service.store.list(CLUSTERS, service.scope)) >= MOST_CLUSTERS:
        raise ArmError(
            400,
            "ManagedClusterCountExceedsQuotaLimit",
            f"The number of managed clusters in the subscription has reached its limit of {MOST_CLUSTERS}.",
        )
    document = _versioned(body, None, location)
    document |= {
        "id": service.cluster_id(group_name, name).replace("/resourceGroups/", "/resourcegroups/"),
        "name": name,
        "type": CLUSTER_TYPE,
        "location": location,
    }
    document = joined_pools(service, document, None, bodies)
    add_identity(service, document, group_name)
    check_profile(document["properties"], None, service.sign_in.tenant)
    check_cluster(document, service.fleet.tiers)
    check_pools(document)
    check_versions(None, document, None)
    pools = document["properties"]["agentPoolProfiles"]
    check_quota(service, location, [], pools, name=name)
    cluster = Resource(
        key=service.cluster_id(group_name, name).lower(),
        type=CLUSTERS,
        document=document,
        place=service.fleet.new_place(name),
    )
    names = tuple(pool["name"] for pool in pools)
    operation = begin(
        service, cluster, kind="Creating", wish="create", caller=request.caller.name, pools=names, running=True
    )
    saved = service.store.find(cluster.key)
    assert saved is not None
    return accepted(service, request, operation, location, status=201, body=show(service, saved))


def _update(service: ArmService, request: ArmRequest, cluster: Resource, body: Json) -> ArmAnswer:
    before, view = cluster.document, service.look(cluster)
    location = normal_location(str(body.get("location") or before["location"]))
    if location != before["location"]:
        raise ArmError(
            409,
            "InvalidResourceLocation",
            f"The resource '{before['name']}' already exists in location '{before['location']}'. A resource with the same "
            f"name cannot be created in location '{location}'. Please select a new resource name.",
        )
    check_idle(service, cluster)
    check_running(service, cluster, "update")
    properties = body.get("properties") or {}
    check_features(properties, CLUSTER_REFUSED)
    document = _versioned(body, before, location)
    document = joined_pools(service, document, before, _pool_bodies(before, properties.get("agentPoolProfiles") or []))
    check_profile(document["properties"], before["properties"], service.sign_in.tenant)
    check_cluster(document, service.fleet.tiers)
    check_cluster_change(before, document)
    check_pools(document)
    check_versions(before, document, view)
    _check_together(before, document)
    check_quota(
        service,
        location,
        before["properties"]["agentPoolProfiles"],
        document["properties"]["agentPoolProfiles"],
        name=before["name"],
    )
    change = plan_change(_engine_form(service, before, view), _engine_form(service, document, view))
    saved = replace(cluster, document=document)
    operation = begin(
        service, saved, kind=change.kind, wish=change.wish, caller=request.caller.name, pools=change.pools
    )
    found = service.store.find(cluster.key)
    assert found is not None
    return accepted(service, request, operation, location, status=200, body=show(service, found))


def _pool_bodies(before: Json, sent: list[Json]) -> list[Json]:
    """A body for each pool there is. Who leaves one out leaves it as it is: the write of a cluster neither makes nor
    deletes pools."""
    known = [pool["name"] for pool in before["properties"]["agentPoolProfiles"]]
    bodies = {str(body.get("name") or ""): body for body in sent}
    if len(bodies) < len(sent) or not bodies.keys() <= set(known):
        raise bad_request(
            "BadRequest",
            "A new agent pool was introduced. Adding agent pools to an existing cluster is not allowed through managed "
            "cluster operations. For agent pool specific change, please use per agent pool operations: "
            "https://aka.ms/agent-pool-rest-api",
            target="agentPoolProfiles",
        )
    return [bodies.get(name, {"name": name}) for name in known]


def _check_together(before: Json, after: Json) -> None:
    """With automatic upgrades the control plane is not upgraded without its pools."""
    old, new = before["properties"], after["properties"]
    version = new[KEPT]["version"]
    alone = any(pool[KEPT]["version"] != version for pool in new["agentPoolProfiles"])
    if old[KEPT]["version"] != version and alone and new["autoUpgradeProfile"]["upgradeChannel"] in VERSION_CHANNELS:
        raise bad_request(
            "NotAllAgentPoolOrchestratorVersionSpecifiedAndUnchanged",
            "Using managed cluster api, all Agent pools' OrchestratorVersion must be all specified or all unspecified. If all "
            "specified, they must be stay unchanged or the same with control plane.",
            target="agentPoolProfiles",
        )


def _engine_form(service: ArmService, document: Json, view: View | None) -> Cluster:
    return to_cluster(document, group="", subscription=service.subscription, view=view)


def _versioned(body: Json, existing: Json | None, location: str) -> Json:
    try:
        return cluster_document(body, existing)
    except Invalid as error:
        version = str((body.get("properties") or {}).get("kubernetesVersion"))
        raise unsupported(version, location=location) from error


def add_identity(service: ArmService, document: Json, group: str) -> None:
    """What a new cluster gets from the service: addresses, identities, its node resource group."""
    properties, name, location = document["properties"], document["name"], document["location"]
    properties.setdefault("nodeResourceGroup", f"MC_{group}_{name}_{location}")
    tenant = service.sign_in.tenant
    prefix = str(properties.get("dnsPrefix") or properties.get("fqdnSubdomain") or "")
    digest = hashlib.sha256(document["id"].lower().encode()).hexdigest()
    properties |= {
        "fqdn": f"{prefix.lower()}-{digest[:8]}.hcp.{location}.azmk8s.io",
        "azurePortalFQDN": f"{prefix.lower()}-{digest[:8]}.portal.hcp.{location}.azmk8s.io",
        "resourceUID": digest[:24],
    }
    nodes = f"{service.scope}/resourcegroups/{properties['nodeResourceGroup']}/providers"
    properties["identityProfile"] = {
        "kubeletidentity": {
            "resourceId": f"{nodes}/Microsoft.ManagedIdentity/userAssignedIdentities/{name}-agentpool",
            "clientId": service.new_id(),
            "objectId": service.new_id(),
        }
    }
    identity = document.setdefault("identity", {"type": "SystemAssigned"})
    if identity.get("type") == "SystemAssigned":
        document["identity"] = identity | {"principalId": service.new_id(), "tenantId": tenant}
    for known in (identity.get("userAssignedIdentities") or {}).values():
        if isinstance(known, dict):
            known.setdefault("clientId", service.new_id())
            known.setdefault("principalId", service.new_id())
    issuer = properties["oidcIssuerProfile"]
    if issuer.get("enabled"):
        issuer["issuerURL"] = f"https://{location}.oic.prod-aks.azure.com/{tenant}/{digest[:32]}/"
    created = {
        "createdAt": service.now(),
        "createdByType": "Application",
        "createdBy": service.sign_in.principal.client_id,
    }
    document["systemData"] = created


def _listed(service: ArmService, below: str) -> list[Json]:
    return [show(service, cluster) for cluster in service.store.list(CLUSTERS, below)]


def _rotate(service: ArmService, request: ArmRequest, what: str, wish: str) -> ArmAnswer:
    cluster = service.get_cluster(request)
    check_idle(service, cluster)
    check_running(service, cluster, wish)
    properties = cluster.document["properties"]
    kept = properties[KEPT] | {what: properties[KEPT].get(what, 1) + 1}
    document = cluster.document | {"properties": properties | {KEPT: kept}}
    return _begin(service, request, replace(cluster, document=document), kind="Updating", wish=wish)


def _begin(
    service: ArmService, request: ArmRequest, cluster: Resource, *, kind: str, wish: str, running: bool | None = None
) -> ArmAnswer:
    check_precondition(request.headers, cluster.etag)
    pools = tuple(pool["name"] for pool in cluster.document["properties"]["agentPoolProfiles"])
    operation = begin(service, cluster, kind=kind, wish=wish, caller=request.caller.name, pools=pools, running=running)
    return accepted(service, request, operation, cluster.document["location"], status=202)
