"""What AKS's API servers audit. Source: AKS's page on monitoring; the audit policy that Kubernetes' own scripts set up."""

from kobune.api.errors import Json

_READS = ["get", "list", "watch"]
_QUIET_PATHS = ["/healthz*", "/livez*", "/readyz*", "/version", "/swagger*", "/openapi*", "/metrics"]


def _core(*resources: str) -> list[Json]:
    return [{"group": "", "resources": list(resources)}]


POLICY: Json = {
    "kind": "Policy",
    "apiVersion": "audit.k8s.io/v1",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": [
        # What every node and component asks all day says nothing about people.
        {"level": "None", "users": ["aksService"], "verbs": _READS},
        {"level": "None", "users": ["system:kube-proxy"], "verbs": ["watch"],
         "resources": [*_core("endpoints", "services"), {"group": "discovery.k8s.io", "resources": ["endpointslices"]}]},
        {"level": "None", "userGroups": ["system:nodes"], "verbs": ["get"], "resources": _core("nodes", "nodes/status")},
        {"level": "None", "users": ["system:kube-controller-manager", "system:kube-scheduler"], "verbs": ["get", "update"],
         "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
        {"level": "None", "userGroups": ["system:nodes"],
         "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
        {"level": "None", "nonResourceURLs": _QUIET_PATHS},
        # These may hold secrets.
        {"level": "Metadata", "resources": [*_core("secrets", "configmaps", "serviceaccounts", "serviceaccounts/token", "events"),
                                            {"group": "authentication.k8s.io", "resources": ["tokenreviews"]},
                                            {"group": "events.k8s.io", "resources": ["events"]}]},
        {"level": "Request", "verbs": ["update", "patch"], "resources": _core("nodes/status", "pods/status")},
        {"level": "Request", "verbs": ["deletecollection", *_READS]},
        {"level": "RequestResponse"},
    ],
}  # fmt: skip
