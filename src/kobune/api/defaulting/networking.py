"""Ingresses, IngressClasses, NetworkPolicies and EndpointSlices."""

from kobune.api.errors import Json


def default_ingress(ingress: Json) -> None:
    ingress.setdefault("status", {}).setdefault("loadBalancer", {})


def default_ingress_v1beta1(ingress: Json) -> None:
    for rule in (ingress.get("spec") or {}).get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            path.setdefault("pathType", "ImplementationSpecific")


def default_ingress_class(ingress_class: Json) -> None:
    parameters = (ingress_class.get("spec") or {}).get("parameters")
    if parameters is not None:
        parameters.setdefault("scope", "Cluster")


def default_network_policy(policy: Json) -> None:
    spec = policy.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for field in ("ingress", "egress"):
        for rule in spec.get(field) or ():
            for port in rule.get("ports") or ():
                port.setdefault("protocol", "TCP")


def default_endpoint_slice(endpoint_slice: Json) -> None:
    for port in endpoint_slice.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


DEFAULTS = {
    "EndpointSlice": default_endpoint_slice,
    "Ingress": default_ingress,
    "IngressClass": default_ingress_class,
    "NetworkPolicy": default_network_policy,
    "v1beta1/Ingress": default_ingress_v1beta1,
}
