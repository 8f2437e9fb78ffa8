"""Clusters that come and go without ARM, by `kobune up` and `kobune down --purge`, are resources all the same."""

from kobune.aks.arm.clusters import add_identity
from kobune.aks.arm.documents import CLUSTER_TYPE, with_states
from kobune.aks.arm.groups import GROUP_TYPE
from kobune.aks.arm.service import CLUSTERS, GROUPS, ArmService
from kobune.aks.arm.store import Resource
from kobune.aks.arm.translate import adopted_document
from kobune.aks.clusters import Cluster


def adopt(service: ArmService) -> None:
    """Take in what is new, and let go of what is no more."""
    known = {cluster.place: cluster for cluster in service.store.list(CLUSTERS, service.scope)}
    for place in service.fleet.places():
        if place not in known:
            view = service.fleet.look(place)
            if view is not None:
                _take_in(service, place, view.cluster)
    for place, cluster in known.items():
        if service.fleet.look(place) is None and not service.store.unfinished(cluster.key):
            service.store.remove(cluster.key)


def _take_in(service: ArmService, place: str, cluster: Cluster) -> None:
    key = service.cluster_id(cluster.resource_group, cluster.name)
    if service.store.find(key) is not None:
        return  # Another one has the name; this one is reached by the command line alone.
    document = adopted_document(cluster) | {
        "id": key.replace("/resourceGroups/", "/resourcegroups/"),
        "name": cluster.name,
        "type": CLUSTER_TYPE,
        "location": cluster.location,
    }
    add_identity(service, document, cluster.resource_group)
    pools = tuple(pool.name for pool in cluster.pools)
    with service.store.transaction():
        if service.find_group(cluster.resource_group) is None:
            group_id = service.group_id(cluster.resource_group)
            group = {
                "id": group_id,
                "name": cluster.resource_group,
                "type": GROUP_TYPE,
                "location": cluster.location,
                "tags": {},
                "properties": {"provisioningState": "Succeeded"},
            }
            service.save(Resource(key=group_id, type=GROUPS, document=group))
        document = with_states(document, "Succeeded", pools)
        service.save(Resource(key=key, type=CLUSTERS, document=document, place=place))
