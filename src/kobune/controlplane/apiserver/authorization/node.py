"""Node: a kubelet may read only what the pods on its node need. Source: upstream plugin/pkg/auth/authorizer/node."""

from collections.abc import Awaitable, Iterator
from typing import Any

import orjson

from kobune.api.errors import BadRequest, Json
from kobune.api.field_selectors import FieldRequirement, FieldSelector, parse_fields
from kobune.controlplane.apiserver.authorization.authorizer import NO_OPINION, Access, Decision, Verdict
from kobune.controlplane.apiserver.authorization.cluster_roles import CLUSTER_ROLES
from kobune.controlplane.apiserver.authorization.rules import parse_rule
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.apiserver.request import User
from kobune.controlplane.store.cache import Cache
from kobune.controlplane.store.selection import Selection

USER_PREFIX = "system:node:"
GROUP = "system:nodes"
LEASES = "kube-node-lease"
# Resources that are readable only through a pod.
OF_PODS = frozenset(
    {("", "secrets"), ("", "configmaps"), ("", "persistentvolumeclaims"), ("", "persistentvolumes"),
     ("resource.k8s.io", "resourceclaims")}
)  # fmt: skip
OWN_VERBS = ("get", "create", "update", "patch", "delete")  # For leases and CSINodes.
READING = ("get", "list", "watch")
UNSELECTED = "can only list/watch pods with spec.nodeName field selector"
SELECTORS_SINCE = (1, 34)  # Before, a node might read all pods. Source: upstream AuthorizeNodeWithSelectors.
UNSELECTED_SLICES = "can only list/watch/deletecollection resourceslices with nodeName field selector"
SLICE_VERBS = (
    "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, "
    "deletecollection"
)
NO_RELATION = "no relationship found between node '{node}' and this object"


class NodeAuthorizer:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._pods = registry.builtin("", "v1", "Pod")
        self._slices = registry.builtin("resource.k8s.io", "v1", "ResourceSlice")
        self._rules = [parse_rule(line) for line in CLUSTER_ROLES["system:node"]]
        self._cache: Cache | None = None
        self._has_selectors = tuple(map(int, registry.version.split("."))) >= SELECTORS_SINCE
        self._node_column = self._pods.selectable.index("spec.nodeName")

    async def load(self) -> None:
        self._cache = await self._registry.cache(self._pods)

    def authorize(self, access: Access) -> Decision | Awaitable[Decision]:
        node = node_of(access)
        if not node or access.path:
            return NO_OPINION
        return self._authorize(access, node)

    def _authorize(self, access: Access, node: str) -> Decision | Awaitable[Decision]:
        """Waits only for what no cache has at hand, so that nearly all can be answered in the midst of an expression."""
        resource = (access.group, access.resource)
        if resource in OF_PODS and not access.subresource:
            return self._of_pod(access, node)
        if resource == ("", "serviceaccounts") and access.subresource == "token":
            if access.verb != "create" or not access.name:
                return Decision(Verdict.NO_OPINION, "can only create tokens for individual service accounts")
            return self._of_pod(access, node)
        if resource == ("coordination.k8s.io", "leases"):
            if access.verb not in OWN_VERBS:
                return Decision(Verdict.NO_OPINION, "can only get, create, update, patch, or delete a node lease")
            if access.namespace != LEASES:
                return Decision(Verdict.NO_OPINION, f'can only access leases in the "{LEASES}" system namespace')
            if access.verb != "create" and access.name != node:
                return Decision(
                    Verdict.NO_OPINION, "can only access node lease with the same name as the requesting node"
                )
            return Decision(Verdict.ALLOW)
        if resource == ("storage.k8s.io", "csinodes"):
            return _csi_node(access, node)
        if resource == ("resource.k8s.io", "resourceslices"):
            return self._slices_of(access, node)
        if resource == ("", "pods") and not access.subresource and access.verb in READING and self._has_selectors:
            return self._pods_of(access, node)
        allowed = any(rule.allows(access) for rule in self._rules)
        return Decision(Verdict.ALLOW) if allowed else NO_OPINION

    def _pods_of(self, access: Access, node: str) -> Decision:
        """A node reads the pods that are on it."""
        if access.verb != "get" and _selects(access.fields, node):
            return Decision(Verdict.ALLOW)
        if not access.name:
            return Decision(Verdict.NO_OPINION, UNSELECTED)
        item = self._cache.get(access.namespace, access.name) if self._cache is not None else None
        if item is not None and item.fields[self._node_column] == node:
            return Decision(Verdict.ALLOW)
        return Decision(Verdict.NO_OPINION, NO_RELATION.format(node=node))

    def _slices_of(self, access: Access, node: str) -> Decision | Awaitable[Decision]:
        """A node offers its own devices; what it creates is judged in admission."""
        if access.subresource:
            return Decision(Verdict.NO_OPINION, "cannot authorize ResourceSlice subresources")
        if access.verb == "create":
            return Decision(Verdict.ALLOW)
        if access.verb in ("get", "update", "patch", "delete"):
            return self._slice_of(access.name, node)
        if access.verb not in ("watch", "list", "deletecollection"):
            return Decision(Verdict.NO_OPINION, SLICE_VERBS)
        if not self._has_selectors or _selects(access.fields, node):
            return Decision(Verdict.ALLOW)
        return Decision(Verdict.NO_OPINION, UNSELECTED_SLICES)

    async def _slice_of(self, name: str, node: str) -> Decision:
        item = await self._registry.find_item(self._slices, "", name)
        if item is not None and item.fields[self._slices.selectable.index("spec.nodeName")] == node:
            return Decision(Verdict.ALLOW)
        return Decision(Verdict.NO_OPINION, NO_RELATION.format(node=node))

    def _of_pod(self, access: Access, node: str) -> Decision | Awaitable[Decision]:
        token = access.resource == "serviceaccounts"
        if not token and access.verb not in READING:
            return Decision(Verdict.NO_OPINION, "can only read resources of this type")
        if not access.name:
            return Decision(Verdict.NO_OPINION, "can only read namespaced object of this type")
        quoted = f'"{access.name}"'.encode()
        volumes: set[tuple[str, str]] = set()
        for item in self._pods_on(node):
            if access.resource == "persistentvolumes":
                volumes.update((item.namespace, name) for kind, name in references(orjson.loads(item.body))
                               if kind == "persistentvolumeclaims")  # fmt: skip
                continue
            if item.namespace != access.namespace or quoted not in item.body:
                continue
            if (access.resource, access.name) in references(orjson.loads(item.body)):
                return Decision(Verdict.ALLOW)
        if volumes:
            return self._of_claims(access.name, volumes, node)
        return Decision(Verdict.NO_OPINION, NO_RELATION.format(node=node))

    def _pods_on(self, node: str) -> Any:
        if self._cache is None:
            return ()
        return self._cache.list(Selection(fields=FieldSelector([FieldRequirement("spec.nodeName", "=", node)])))

    async def _of_claims(self, volume: str, claims: set[tuple[str, str]], node: str) -> Decision:
        kind = self._registry.builtin("", "v1", "PersistentVolumeClaim")
        for namespace, name in claims:
            claim = await self._registry.find(kind, namespace, name)
            if claim is not None and (claim.get("spec") or {}).get("volumeName") == volume:
                return Decision(Verdict.ALLOW)
        return Decision(Verdict.NO_OPINION, NO_RELATION.format(node=node))


def _csi_node(access: Access, node: str) -> Decision:
    if access.verb not in OWN_VERBS:
        return Decision(Verdict.NO_OPINION, "can only get, create, update, patch, or delete a CSINode")
    if access.subresource:
        return Decision(Verdict.NO_OPINION, "cannot authorize CSINode subresources")
    if access.verb != "create" and access.name != node:
        return Decision(Verdict.NO_OPINION, "can only access CSINode with the same name as the requesting node")
    return Decision(Verdict.ALLOW)


def _selects(fields: str, node: str) -> bool:
    """Whether a field selector chooses what is on the node, and nothing else."""
    try:
        return bool(fields) and parse_fields(fields).exact("spec.nodeName") == node
    except BadRequest:
        return False


def node_of(access: Access) -> str:
    """The name of the node that asks; "" when it is none."""
    return access.user.name.removeprefix(USER_PREFIX) if is_node(access.user) else ""


def is_node(user: User) -> bool:
    return GROUP in user.groups and user.name.startswith(USER_PREFIX)


def references(pod: Json) -> set[tuple[str, str]]:
    """(plural, name) of everything in its namespace that a pod needs from the API server."""
    return set(_references(pod.get("spec") or {}, pod))


def _references(spec: Json, pod: Json) -> Iterator[tuple[str, str]]:
    if spec.get("serviceAccountName"):
        yield "serviceaccounts", spec["serviceAccountName"]
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", secret.get("name", "")
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            for variable in container.get("env") or ():
                source = variable.get("valueFrom") or {}
                yield from _named(source, ("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps"))
            for source in container.get("envFrom") or ():
                yield from _named(source, ("secretRef", "secrets"), ("configMapRef", "configmaps"))
    for volume in spec.get("volumes") or ():
        yield from _of_volume(volume, pod)
    for claim in (pod.get("status") or {}).get("resourceClaimStatuses") or ():
        yield "resourceclaims", claim.get("resourceClaimName", "")
    for claim in spec.get("resourceClaims") or ():
        yield "resourceclaims", claim.get("resourceClaimName", "")


def _of_volume(volume: Json, pod: Json) -> Iterator[tuple[str, str]]:
    if "secret" in volume:
        yield "secrets", volume["secret"].get("secretName", "")
    if "configMap" in volume:
        yield "configmaps", volume["configMap"].get("name", "")
    if "persistentVolumeClaim" in volume:
        yield "persistentvolumeclaims", volume["persistentVolumeClaim"].get("claimName", "")
    if "ephemeral" in volume:
        yield "persistentvolumeclaims", f"{pod['metadata']['name']}-{volume['name']}"
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield from _named(source, ("secret", "secrets"), ("configMap", "configmaps"))
    for driver in ("csi", "cephfs", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos", "azureFile"):
        if driver in volume:
            detail = volume[driver]
            reference = detail.get("secretRef") or detail.get("nodePublishSecretRef") or {}
            yield "secrets", reference.get("name") or detail.get("secretName") or ""


def _named(source: Json, *pairs: tuple[str, str]) -> Iterator[tuple[str, str]]:
    for field, plural in pairs:
        if source.get(field):
            yield plural, source[field].get("name", "")
