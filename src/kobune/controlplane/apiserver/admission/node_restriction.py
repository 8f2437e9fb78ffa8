"""NodeRestriction: a kubelet writes only its own node, its own lease, and what runs on it.

Source: upstream plugin/pkg/admission/noderestriction.
"""

from collections.abc import Awaitable, Sequence

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.certificates import subject_names
from kobune.controlplane.apiserver.admission.node_tokens import NodeTokens
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.authorization.authorizer import Authorization
from kobune.controlplane.apiserver.authorization.node import GROUP, USER_PREFIX, references
from kobune.controlplane.apiserver.registry.registry import Registry

MIRROR = "kubernetes.io/config.mirror"
LEASES = "kube-node-lease"
KUBELET_SIGNERS = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")
REPORTED_OF_CLAIMS = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")
WRITTEN_BY_SERVER = ("resourceVersion", "managedFields")
RESTRICTED = "node-restriction.kubernetes.io"
# Labels under Kubernetes' own domains that a kubelet may set on its node. Source: upstream kubeletapis.IsKubeletLabel.
KUBELET_LABELS = frozenset(
    {
        "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone", "topology.kubernetes.io/region", "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os", "beta.kubernetes.io/arch", "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region", "failure-domain.kubernetes.io/zone",
        "failure-domain.kubernetes.io/region", "kubernetes.io/cluster-service",
    }
)  # fmt: skip
KUBELET_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
# AKS's nodes register with these.
ROLE_LABELS = frozenset({"kubernetes.io/role", "node-role.kubernetes.io/agent"})


class NodeRestriction:
    name = "NodeRestriction"
    operations = ("CREATE", "UPDATE", "DELETE")
    resources = (
        "pods", "pods/status", "pods/binding", "pods/ephemeralcontainers", "pods/resize", "nodes", "nodes/status", "leases",
        "csinodes", "persistentvolumeclaims", "persistentvolumeclaims/status", "serviceaccounts/token", "resourceslices",
        "certificatesigningrequests",
    )  # fmt: skip

    def __init__(self, registry: Registry, authorization: Authorization) -> None:
        self._registry = registry
        self._tokens = NodeTokens(registry, authorization)

    def admit(self, attributes: Attributes) -> Awaitable[None] | None:
        return self._admit(attributes) if GROUP in attributes.call.user.groups else None

    async def _admit(self, attributes: Attributes) -> None:
        user = attributes.call.user
        if not user.name.startswith(USER_PREFIX):
            raise refused(attributes, f'could not determine node from user "{user.name}"')
        node = user.name.removeprefix(USER_PREFIX)
        match attributes.call.kind.name:
            case "Pod":
                await self._pod(attributes, node)
            case "Node":
                _node(attributes, node)
            case "Lease":
                _lease(attributes, node)
            case "CSINode" if _name(attributes) != node:
                raise refused(attributes, "can only access CSINode with the same name as the requesting node")
            case "PersistentVolumeClaim":
                _claim(attributes, node)
            case "ServiceAccount":
                await self._tokens.check(attributes, node)
            case "ResourceSlice":
                _slice(attributes, node)
            case "CertificateSigningRequest" if attributes.operation == "CREATE":
                _signing_request(attributes, node)

    def rests_on(self, attributes: Attributes) -> Sequence[Kind] | None:
        return None if GROUP in attributes.call.user.groups else ()

    def validate(self, attributes: Attributes) -> None:
        return None

    async def _pod(self, attributes: Attributes, node: str) -> None:
        subresource, operation = attributes.call.subresource, attributes.operation
        if subresource == "status":
            old, new = attributes.old_object or {}, attributes.object or {}
            if (old.get("spec") or {}).get("nodeName") != node:
                words = f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
                raise refused(attributes, words)
            if (old["metadata"].get("labels") or {}) != (new["metadata"].get("labels") or {}):
                raise refused(attributes, f'node "{node}" cannot update labels through pod status')
        elif subresource:
            words = f"unexpected pod subresource \"{subresource}\", only 'status' and 'eviction' are allowed"
            raise refused(attributes, words)
        elif operation == "CREATE":
            await self._mirror(attributes, node)
        elif operation == "DELETE":
            if ((attributes.old_object or {}).get("spec") or {}).get("nodeName") != node:
                raise refused(attributes, f'node "{node}" can only delete pods with spec.nodeName set to itself')
        else:
            raise refused(attributes, f'unexpected operation "{operation}"')

    async def _mirror(self, attributes: Attributes, node: str) -> None:
        """A kubelet may show what it runs from its own disk, and nothing else."""
        pod: Json = attributes.object or {}
        meta = pod["metadata"]
        if MIRROR not in (meta.get("annotations") or {}):
            words = f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
            raise refused(attributes, words)
        if (pod.get("spec") or {}).get("nodeName") != node:
            raise refused(attributes, f'node "{node}" can only create pods with spec.nodeName set to itself')
        owners = meta.get("ownerReferences") or []
        if len(owners) > 1:
            words = f'node "{node}" can only create pods with a single owner reference set to itself'
            raise refused(attributes, words)
        owner = owners[0] if owners else {}
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            raise refused(attributes, f'node "{node}" can only create pods with an owner reference set to itself')
        if not owner.get("controller"):
            words = f'node "{node}" can only create pods with a controller owner reference set to itself'
            raise refused(attributes, words)
        own = await self._registry.find(self._registry.builtin("", "v1", "Node"), "", node)
        if own is None or own["metadata"]["uid"] != owner.get("uid"):
            expected, found = owner.get("uid"), (own or {"metadata": {"uid": ""}})["metadata"]["uid"]
            raise refused(attributes, f"node {node} UID mismatch: expected {expected} got {found}")
        referred = sorted(references(pod))
        if referred:
            raise refused(attributes, f'node "{node}" can not create pods that reference {referred[0][0]}')


def _node(attributes: Attributes, node: str) -> None:
    name = _name(attributes)
    if name != node:
        raise refused(attributes, f'node "{node}" is not allowed to modify node "{name}"')
    if attributes.operation == "DELETE":
        return
    new, old = attributes.object or {}, attributes.old_object
    before = old or {"metadata": {}}
    labels, known = new["metadata"].get("labels") or {}, before["metadata"].get("labels") or {}
    changed = {key for key in {**labels, **known} if labels.get(key) != known.get(key)}
    wrong = sorted(key for key in changed if _is_forbidden(key))
    if old is None:
        if wrong:
            words = f'node "{node}" is not allowed to set the following labels: {", ".join(wrong)}'
            raise refused(attributes, words)
        return
    if (new.get("spec") or {}).get("taints") != (old.get("spec") or {}).get("taints"):
        raise refused(attributes, f'node "{node}" is not allowed to modify taints')
    if new["metadata"].get("ownerReferences") != old["metadata"].get("ownerReferences"):
        raise refused(attributes, f'node "{node}" is not allowed to modify ownerReferences')
    if wrong:
        raise refused(attributes, f"is not allowed to modify labels: {', '.join(wrong)}")


def _lease(attributes: Attributes, node: str) -> None:
    if attributes.call.namespace != LEASES:
        raise refused(attributes, f'can only access leases in the "{LEASES}" system namespace')
    if _name(attributes) != node:
        raise refused(attributes, "can only access node lease with the same name as the requesting node")


def _claim(attributes: Attributes, node: str) -> None:
    if attributes.call.subresource != "status":
        raise refused(attributes, "may only update PVC status")
    new, old = _without_growth(attributes.object or {}), _without_growth(attributes.old_object or {})
    if new != old:
        words = f'node "{node}" is not allowed to update fields other than status.quantity and status.conditions'
        different = sorted(field for field in {*new, *old} if new.get(field) != old.get(field))
        raise refused(attributes, f"{words}: {', '.join(different)}")


def _without_growth(claim: Json) -> Json:
    """Without what a kubelet reports of an expansion."""
    metadata = {name: value for name, value in claim["metadata"].items() if name not in WRITTEN_BY_SERVER}
    status = {name: value for name, value in (claim.get("status") or {}).items() if name not in REPORTED_OF_CLAIMS}
    return {**claim, "metadata": metadata, "status": status}


def _slice(attributes: Attributes, node: str) -> None:
    """Updates are judged by the authorizer, which knows the stored slice."""
    verbs = {"CREATE": ("create", attributes.object), "DELETE": ("delete", attributes.old_object)}
    verb, found = verbs.get(attributes.operation, ("", None))
    if verb and ((found or {}).get("spec") or {}).get("nodeName") != node:
        raise refused(attributes, f"can only {verb} ResourceSlice with the same NodeName as the requesting node")


def _signing_request(attributes: Attributes, node: str) -> None:
    spec: Json = (attributes.object or {}).get("spec") or {}
    if spec.get("signerName") not in KUBELET_SIGNERS:
        return
    names = subject_names(attributes, spec, "CN")
    if names != [f"{USER_PREFIX}{node}"]:
        raise refused(attributes, f"can only create a node CSR with CN={USER_PREFIX}{node}")


def _is_forbidden(label: str) -> bool:
    domain = label.rpartition("/")[0]
    if _within(domain, RESTRICTED):
        return True
    if not (_within(domain, "kubernetes.io") or _within(domain, "k8s.io")):
        return False
    allowed = label in KUBELET_LABELS or label in ROLE_LABELS
    return not allowed and not any(_within(domain, one) for one in KUBELET_DOMAINS)


def _within(domain: str, parent: str) -> bool:
    return domain == parent or domain.endswith(f".{parent}")


def _name(attributes: Attributes) -> str:
    return attributes.call.name or str(((attributes.object or {}).get("metadata") or {}).get("name", ""))
