"""What every operation of the front end works with, and the resources it finds by their ids."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from kobune.aks.arm.errors import ArmError
from kobune.aks.arm.fleet import Fleet, View
from kobune.aks.arm.log_store import LogStore
from kobune.aks.arm.request import ArmRequest
from kobune.aks.arm.sign_in import SignIn
from kobune.aks.arm.store import ArmStore, Resource
from kobune.aks.arm.throttling import DEFAULT_FACTOR
from kobune.api.clock import Clock

GROUPS = "microsoft.resources/resourcegroups"
CLUSTERS = "microsoft.containerservice/managedclusters"
PROVIDER = "Microsoft.ContainerService"
MOST_COMMANDS = 16  # Waiting to be run in pods.


@dataclass(frozen=True, slots=True)
class Command:
    """What is waiting to be run."""

    operation: str
    place: str
    text: str
    files: bytes
    token: str  # As whom it speaks with the API server; empty: as an administrator.


@dataclass(slots=True)
class ArmService:
    """The front end of one machine, with one tenant and one subscription.

    Args:
        new_id: makes GUIDs. `cores_quota`: cores of each VM family that a region has.
        throttle: times Azure's limits of requests; 0: none.
        simulated: whether new pools get nodes without containers unless asked otherwise.
    """

    store: ArmStore
    fleet: Fleet
    sign_in: SignIn
    clock: Clock
    new_id: Callable[[], str]
    subscription: str
    cores_quota: int
    logs: LogStore
    simulated: bool = False
    throttle: float = DEFAULT_FACTOR
    commands: asyncio.Queue[Command] = field(default_factory=lambda: asyncio.Queue(MOST_COMMANDS))

    @property
    def scope(self) -> str:
        return f"/subscriptions/{self.subscription}"

    def now(self) -> str:
        return rfc3339(self.clock.now())

    def group_id(self, name: str) -> str:
        return f"{self.scope}/resourceGroups/{name}"

    def cluster_id(self, group: str, name: str) -> str:
        return f"{self.group_id(group)}/providers/{PROVIDER}/managedClusters/{name}"

    def find_group(self, name: str) -> Resource | None:
        return self.store.find(self.group_id(name))

    def get_group(self, name: str) -> Resource:
        """Raises ArmError: ResourceGroupNotFound."""
        found = self.find_group(name)
        if found is None:
            raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
        return found

    def find_node_group_owner(self, name: str) -> Resource | None:
        """The cluster whose nodes are in the group of this name."""
        for cluster in self.store.list(CLUSTERS, self.scope):
            if cluster.document["properties"]["nodeResourceGroup"].lower() == name.lower():
                return cluster
        return None

    def find_cluster(self, request: ArmRequest) -> Resource | None:
        return self.store.find(self.cluster_id(request.parameters["group"], request.parameters["cluster"]))

    def get_cluster(self, request: ArmRequest) -> Resource:
        """The cluster of the request's path. Raises ArmError: ResourceGroupNotFound or ResourceNotFound."""
        group, name = request.parameters["group"], request.parameters["cluster"]
        found = self.find_cluster(request)
        if found is None:
            self.get_group(group)
            raise ArmError(
                404,
                "ResourceNotFound",
                f"The Resource 'Microsoft.ContainerService/managedClusters/{name}' under resource group '{group}' was not "
                "found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
            )
        return found

    def look(self, cluster: Resource) -> View | None:
        return self.fleet.look(cluster.place)

    def save(self, resource: Resource) -> Resource:
        """Keep a changed document under a new etag."""
        return self.store.put(replace(resource, etag=self.new_id()))


def group_of(cluster: Resource) -> str:
    """The resource group's name in a cluster's id, as it was first written."""
    return str(cluster.document["id"].split("/")[4])


def rfc3339(time: datetime) -> str:
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")
