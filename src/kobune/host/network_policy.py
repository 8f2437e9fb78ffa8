"""What nodes may read in a cluster whose NetworkPolicies are enforced, and only there."""

import logging
from typing import ClassVar

from kobune.api.clock import Clock
from kobune.api.errors import AlreadyExists, ApiError, Json, NotFound
from kobune.api.objects.meta import GVK, Key, Object
from kobune.client.client import Client
from kobune.host.instances import follow
from kobune.host.layout import ClusterLayout
from kobune.host.spec import read_spec

log = logging.getLogger(__name__)

NAME = "kobune:network-policy"
RETRY_SECONDS = 1.0
READ = ["get", "list", "watch"]


class ClusterRole(Object):
    gvk: ClassVar[GVK] = GVK("rbac.authorization.k8s.io", "v1", "ClusterRole")


class ClusterRoleBinding(Object):
    gvk: ClassVar[GVK] = GVK("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding")


def manifests() -> list[tuple[type[Object], Json]]:
    """The role, and its binding to all nodes."""
    rules = [
        {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": READ},
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": READ},
    ]
    api = "rbac.authorization.k8s.io"
    reference = {"apiGroup": api, "kind": "ClusterRole", "name": NAME}
    subjects = [{"apiGroup": api, "kind": "Group", "name": "system:nodes"}]
    return [
        (ClusterRole, {"metadata": {"name": NAME}, "rules": rules}),
        (ClusterRoleBinding, {"metadata": {"name": NAME}, "roleRef": reference, "subjects": subjects}),
    ]


async def keep_role(cluster: ClusterLayout, client: Client, clock: Clock) -> None:
    """Have the role while the cluster is to have policies enforced; asked again with every operation."""
    given: bool | None = None
    async for _ in follow(cluster, clock):
        spec = read_spec(cluster)
        wanted = spec is not None and spec.cluster.network_policy != "none"
        while wanted is not given:
            try:
                await _give(client) if wanted else await _take(client)
                given = wanted
            except ApiError as failure:
                log.info("the role for network policies has to wait", extra={"failure": str(failure)})
                await clock.sleep(RETRY_SECONDS)


async def _give(client: Client) -> None:
    for view, manifest in manifests():
        try:
            await client.create(view, manifest)
        except AlreadyExists:
            continue


async def _take(client: Client) -> None:
    for view, _ in reversed(manifests()):
        try:
            await client.delete(view, Key("", NAME))
        except NotFound:
            continue
