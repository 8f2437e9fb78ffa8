"""Agent pools and their machines. Source: REST reference of agent pools and machines."""

from collections.abc import Callable
from dataclasses import replace

from kobune.aks.arm.clusters import check_versions, joined_pools, plan_change
from kobune.aks.arm.documents import KEPT, find_pool, newest_image, pool_resource, with_pool
from kobune.aks.arm.errors import ArmError, bad_request, invalid_parameter
from kobune.aks.arm.fleet import Machine, View
from kobune.aks.arm.operations import abort, accepted, begin, check_idle, check_running
from kobune.aks.arm.quotas import check_quota
from kobune.aks.arm.request import ArmAnswer, ArmRequest, check_precondition
from kobune.aks.arm.rules import check_pools
from kobune.aks.arm.runtimes import machine_tags
from kobune.aks.arm.service import ArmService
from kobune.aks.arm.store import Resource
from kobune.aks.arm.translate import to_cluster
from kobune.aks.arm.upgrades import (
    available_pool_versions,
    cluster_upgrade_profile,
    pool_upgrade_profile,
)
from kobune.api.errors import Json

MACHINE_TYPE = "Microsoft.ContainerService/managedClusters/agentPools/machines"


def get(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    return ArmAnswer(200, _shown(service, cluster, _pool(cluster, request)))


def list_all(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    pools = cluster.document["properties"]["agentPoolProfiles"]
    return ArmAnswer(200, {"value": [_shown(service, cluster, pool) for pool in pools]})


def put(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Create the pool, or make it as the body says."""
    cluster, name = service.get_cluster(request), request.parameters["pool"]
    body = request.json().get("properties") or {}
    before, view = cluster.document, service.look(cluster)
    known = find_pool(before, name)
    check_precondition(request.headers, known.get("eTag") if known else None)
    check_idle(service, cluster)
    check_running(service, cluster, "agent pool update")
    others = [{"name": pool["name"]} for pool in before["properties"]["agentPoolProfiles"]]
    body = body | {"name": known["name"] if known else name}
    bodies = [body if other["name"] == body["name"] else other for other in others]
    document = joined_pools(service, before, before, bodies if known else [*others, body])
    pool = find_pool(document, body["name"])
    assert pool is not None
    document = with_pool(document, pool | {"eTag": service.new_id()})
    check_pools(document)
    check_versions(before, document, view)
    check_quota(
        service,
        before["location"],
        before["properties"]["agentPoolProfiles"],
        document["properties"]["agentPoolProfiles"],
        name=before["name"],
    )
    if known is None:
        kind, wish = "Creating", "update"
    else:
        kind, wish = _kind_of_change(service, before, document, view, name)
    operation = begin(
        service,
        replace(cluster, document=document),
        kind=kind,
        wish=wish,
        caller=request.caller.name,
        pools=(pool["name"],),
    )
    return accepted(
        service,
        request,
        operation,
        before["location"],
        status=200 if known else 201,
        body=_refreshed(service, cluster, pool["name"]),
    )


def delete(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    pool = find_pool(cluster.document, request.parameters["pool"])
    if pool is None:
        return ArmAnswer(204)
    check_precondition(request.headers, pool.get("eTag"))
    check_idle(service, cluster)
    check_running(service, cluster, "agent pool delete")
    others = [other for other in cluster.document["properties"]["agentPoolProfiles"] if other is not pool]
    if pool["mode"] == "System" and not any(other["mode"] == "System" for other in others):
        raise bad_request(
            "MustDefineAtLeastOneSystemPool",
            f"Must define at least one system pool. Agent pool {pool['name']!r} is the last one of mode 'System' and cannot be "
            "deleted; add another system pool first.",
        )
    operation = begin(
        service, cluster, kind="Deleting", wish="update", caller=request.caller.name, pools=(pool["name"],)
    )
    return accepted(service, request, operation, cluster.document["location"], status=202)


def abort_pool(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Break off the pool's operation in progress."""
    cluster = service.get_cluster(request)
    pool = _pool(cluster, request)
    if not any(pool["name"] in operation.pools for operation in service.store.unfinished(cluster.key)):
        raise ArmError(409, "OperationNotAllowed", "There is no operation in progress that could be aborted.")
    operation = abort(service, cluster, request.caller.name)
    if operation is None:
        raise ArmError(409, "OperationNotAllowed", "The operation is already being aborted.")
    return accepted(service, request, operation, cluster.document["location"], status=202)


def upgrade_node_image(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Give the pool's nodes the newest image of their version."""
    cluster = service.get_cluster(request)
    pool = _pool(cluster, request)
    # az asks for one pool after the other, without waiting.
    check_idle(service, cluster, beside="node-image", pool=pool["name"])
    check_running(service, cluster, "node image upgrade")
    kept = pool[KEPT] | {"image": newest_image(pool[KEPT]["version"], pool)}
    document = with_pool(cluster.document, pool | {KEPT: kept, "eTag": service.new_id()})
    operation = begin(
        service,
        replace(cluster, document=document),
        kind="UpgradingNodeImageVersion",
        wish="node-image",
        caller=request.caller.name,
        pools=(pool["name"],),
    )
    body = _refreshed(service, cluster, pool["name"])
    return accepted(service, request, operation, document["location"], status=202, body=body, result=True)


def delete_machines(service: ArmService, request: ArmRequest) -> ArmAnswer:
    """Delete these very machines; the pool's count goes down with them."""
    cluster = service.get_cluster(request)
    pool = _pool(cluster, request)
    check_idle(service, cluster)
    check_running(service, cluster, "machine delete")
    wanted = [str(name) for name in request.json().get("machineNames") or ()]
    machines = {machine.name: machine for machine in _machines(service.look(cluster), pool)}
    by_number = {str(machine.number): machine.name for machine in machines.values()}
    names = tuple(dict.fromkeys(by_number.get(name, name) for name in wanted))
    missing = [name for name in names if name not in machines]
    if not names or missing:
        raise invalid_parameter(
            f"The value of parameter machineNames is invalid: {', '.join(missing) or 'it is empty'}. The machines of agent pool "
            f"{pool['name']!r} are {', '.join(sorted(machines))}.",
            target="machineNames",
        )
    document = with_pool(cluster.document, pool | {"count": pool["count"] - len(names), "eTag": service.new_id()})
    check_pools(document)
    operation = begin(
        service,
        replace(cluster, document=document),
        kind="Scaling",
        wish="delete-machines",
        caller=request.caller.name,
        pools=(pool["name"],),
        removed=names,
    )
    return accepted(service, request, operation, document["location"], status=202)


def upgrade_profile(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    pool = _pool(cluster, request)
    latest = newest_image(pool[KEPT]["version"], pool)
    return ArmAnswer(200, pool_upgrade_profile(cluster.document, pool, _current(service, cluster), latest))


def cluster_profile(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    return ArmAnswer(200, cluster_upgrade_profile(cluster.document, _current(service, cluster)))


def available_versions(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    return ArmAnswer(200, available_pool_versions(cluster.document, _current(service, cluster)))


def list_machines(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    pool = _pool(cluster, request)
    shown = _machine_renderer(service, cluster, pool)
    return ArmAnswer(200, {"value": [shown(machine) for machine in _machines(service.look(cluster), pool)]})


def get_machine(service: ArmService, request: ArmRequest) -> ArmAnswer:
    cluster = service.get_cluster(request)
    pool = _pool(cluster, request)
    for machine in _machines(service.look(cluster), pool):
        if machine.name.lower() == request.parameters["machine"].lower():
            return ArmAnswer(200, _machine_renderer(service, cluster, pool)(machine))
    raise ArmError(
        404, "NotFound", f"Could not find the machine '{request.parameters['machine']}' of agent pool '{pool['name']}'."
    )


def _pool(cluster: Resource, request: ArmRequest) -> Json:
    pool = find_pool(cluster.document, request.parameters["pool"])
    if pool is None:
        raise ArmError(
            404,
            "NotFound",
            f"Could not find the agent pool: '{request.parameters['pool']}' in managed cluster '{cluster.document['name']}'.",
        )
    return pool


def _current(service: ArmService, cluster: Resource) -> str:
    """The version that the control plane runs."""
    view = service.look(cluster)
    return (view.kubernetes_version if view else "") or str(cluster.document["properties"][KEPT]["version"])


def _shown(service: ArmService, cluster: Resource, pool: Json) -> Json:
    return pool_resource(cluster.document, pool, service.look(cluster))


def _refreshed(service: ArmService, cluster: Resource, name: str) -> Json:
    """The pool as it is kept by now."""
    saved = service.store.find(cluster.key)
    assert saved is not None
    pool = find_pool(saved.document, name)
    assert pool is not None
    return _shown(service, saved, pool)


def _kind_of_change(service: ArmService, before: Json, after: Json, view: View | None, name: str) -> tuple[str, str]:
    """The pool's provisioningState meanwhile, and the wish."""
    old, new = find_pool(before, name), find_pool(after, name)
    assert old is not None
    assert new is not None
    powered = old["powerState"].get("code"), new["powerState"].get("code")
    if powered == ("Running", "Stopped"):
        return "Stopping", "update"
    if powered == ("Stopped", "Running"):
        return "Starting", "update"
    change = plan_change(
        to_cluster(before, group="", subscription="", view=view),
        to_cluster(after, group="", subscription="", view=view),
    )
    return change.kind, change.wish


def _machines(view: View | None, pool: Json) -> list[Machine]:
    return [machine for machine in view.nodes if machine.pool == pool["name"]] if view else []


def _machine_renderer(service: ArmService, cluster: Resource, pool: Json) -> Callable[[Machine], Json]:
    document = cluster.document
    group, name = document["properties"]["nodeResourceGroup"], pool["name"]

    def render(machine: Machine) -> Json:
        scale_set = machine.name.rpartition("vmss")[0] + "vmss"
        return {
            "id": f"{document['id']}/agentPools/{name}/machines/{machine.name}",
            "name": machine.name,
            "type": MACHINE_TYPE,
            "zones": [machine.zone] if machine.zone else [],
            "properties": {
                "provisioningState": "Succeeded" if machine.state == "Running" else machine.state,
                "resourceId": (
                    f"{service.scope}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachineScaleSets/{scale_set}"
                    f"/virtualMachines/{machine.number}"
                ),
                "kubernetes": {
                    "orchestratorVersion": machine.kubernetes_version,
                    "currentOrchestratorVersion": machine.kubernetes_version,
                    "maxPods": pool["maxPods"],
                    "nodeName": machine.name,
                },
                "hardware": {"vmSize": machine.vm_size},
                "operatingSystem": {"osType": pool["osType"], "osSKU": pool["osSKU"]},
                "mode": pool["mode"],
                "nodeImageVersion": machine.image_version,
                "priority": pool["scaleSetPriority"],
                "status": {"ready": machine.ready, "state": machine.state},
                "tags": machine_tags(pool, machine),
            },
        }

    return render
