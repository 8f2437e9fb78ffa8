"""Services."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, forbidden, invalid, not_supported, required
from kobune.api.validation.addresses import check_cidr, check_endpoint_ip, check_ip, is_dual_stack, is_ipv6, parse_ip
from kobune.api.validation.checks import (
    Errors,
    check_name,
    check_one_of,
    check_port,
    check_port_or_name,
    check_supported,
)
from kobune.api.validation.containers import PROTOCOLS
from kobune.api.validation.metadata import check_labels

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
TRAFFIC_POLICIES = ("Cluster", "Local")
DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
LONGEST_STICKY = 86400  # Seconds.
HINTS, MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
ONLY_BALANCERS = "may only be used when `type` is 'LoadBalancer'"
FIXED = "may not change once set"


def check_service(service: Json, errors: Errors, old: Json | None = None) -> None:
    spec, annotations = service.get("spec") or {}, (service.get("metadata") or {}).get("annotations") or {}
    before = (old.get("spec") or {}) if old is not None else {}
    if MODE in annotations and HINTS in annotations and annotations[MODE] != annotations[HINTS]:
        detail = f"must match annotations[{HINTS}] when both are specified"
        errors.append(invalid(f"metadata.annotations[{MODE}]", annotations[MODE], detail))
    ports, kind, headless = spec.get("ports") or [], spec.get("type") or "", is_headless(spec)
    if not ports and not headless and kind != "ExternalName":
        errors.append(required("spec.ports"))
    if headless and kind in ("LoadBalancer", "NodePort"):
        errors.append(invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    if kind == "ExternalName":
        _check_external_name(spec, errors)
    _check_ports(ports, kind, errors)
    if "selector" in spec:
        check_labels(spec["selector"], "spec.selector", errors)
    _check_stickiness(spec, errors)
    if kind != "ExternalName":
        _check_cluster_ips(spec, before.get("clusterIPs") or (), errors)
    known = before.get("externalIPs") or ()
    for index, ip in enumerate(spec.get("externalIPs") or ()):
        count = len(errors)
        check_ip(ip, f"spec.externalIPs[{index}]", errors, known)
        if len(errors) == count:
            check_endpoint_ip(ip, f"spec.externalIPs[{index}]", errors)
    check_one_of(kind, TYPES, "spec.type", errors)
    _check_source_ranges(service, old, errors)
    _check_balancer(spec, kind, errors)
    _check_traffic(spec, kind, errors)


def check_service_update(new: Json, old: Json, errors: Errors) -> None:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if "ExternalName" not in (after.get("type"), before.get("type")):
        _check_ip_changes(after, before, errors)
        _check_family_changes(after, before, errors)
    balanced = after.get("type") == before.get("type") == "LoadBalancer"
    if balanced and after.get("loadBalancerClass") != before.get("loadBalancerClass"):
        errors.append(invalid("spec.loadBalancerClass", after.get("loadBalancerClass"), FIXED))
    checked = needs_health_check(after) and needs_health_check(before)
    if checked and after.get("healthCheckNodePort", 0) != before.get("healthCheckNodePort", 0):
        errors.append(forbidden("spec.healthCheckNodePort", "field is immutable"))
    check_service(new, errors, old)


def check_service_status(new: Json, old: Json, errors: Errors) -> None:
    balancer = (new.get("status") or {}).get("loadBalancer") or {}
    before = ((old.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    check_balancer_ingress(balancer, before, (new.get("spec") or {}).get("type") or "", errors)


def check_balancer_ingress(balancer: Json, before: list[Json] | tuple[Json, ...], kind: str, errors: Errors) -> None:
    entries, path = balancer.get("ingress") or [], "status.loadBalancer.ingress"
    if entries and kind != "LoadBalancer":
        errors.append(forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'"))
        return
    known = [each["ip"] for each in before if each.get("ip")]
    for index, entry in enumerate(entries):
        at, ip, mode, hostname = f"{path}[{index}]", entry.get("ip"), entry.get("ipMode"), entry.get("hostname")
        if ip:
            check_ip(ip, f"{at}.ip", errors, known)
        if mode is None:
            if ip:
                errors.append(required(f"{at}.ipMode", "must be specified when `ip` is set"))
        elif not ip:
            errors.append(forbidden(f"{at}.ipMode", "may not be specified when `ip` is not set"))
        else:
            check_supported(mode, ("Proxy", "VIP"), f"{at}.ipMode", errors)
        if hostname:
            check_name(names.is_dns1123_subdomain, hostname, f"{at}.hostname", errors)
            if parse_ip(hostname) is not None:
                errors.append(invalid(f"{at}.hostname", hostname, "must be a DNS name, not an IP address"))


def is_headless(spec: Json) -> bool:
    return (spec.get("clusterIPs") or []) == ["None"]


def needs_health_check(spec: Json) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def is_external(spec: Json) -> bool:
    kind = spec.get("type")
    return kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def _check_external_name(spec: Json, errors: Errors) -> None:
    for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(field):
            errors.append(forbidden(f"spec.{field}", "may not be set for ExternalName services"))
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        errors.append(required("spec.externalName"))
    else:
        check_name(names.is_dns1123_subdomain, name, "spec.externalName", errors)


def _check_ports(ports: list[Json], kind: str, errors: Errors) -> None:
    seen: set[str] = set()
    taken: set[tuple[str, int]] = set()
    node_ports: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        at, name, protocol = f"spec.ports[{index}]", port.get("name") or "", port.get("protocol") or ""
        if name:
            check_name(names.is_dns1123_label, name, f"{at}.name", errors)
            if name in seen:
                errors.append(duplicate(f"{at}.name", name))
            seen.add(name)
        elif len(ports) > 1:
            errors.append(required(f"{at}.name"))
        check_port(port.get("port"), f"{at}.port", errors)
        check_one_of(protocol, PROTOCOLS, f"{at}.protocol", errors)
        check_port_or_name(port.get("targetPort"), f"{at}.targetPort", errors)
        if port.get("appProtocol") is not None:
            check_name(names.is_qualified_name, port["appProtocol"], f"{at}.appProtocol", errors)
    for index, port in enumerate(ports):
        at, node_port, protocol = f"spec.ports[{index}]", port.get("nodePort", 0), port.get("protocol") or ""
        if node_port:
            if kind == "ClusterIP":
                errors.append(forbidden(f"{at}.nodePort", "may not be used when `type` is 'ClusterIP'"))
            if (protocol, node_port) in node_ports:
                errors.append(duplicate(f"{at}.nodePort", node_port))
            node_ports.add((protocol, node_port))
        key = (protocol, port.get("port", 0))
        if key in taken:
            errors.append(duplicate(at, {"port": key[1], "protocol": key[0]}))
        taken.add(key)


def _check_stickiness(spec: Json, errors: Errors) -> None:
    affinity, config = spec.get("sessionAffinity") or "", spec.get("sessionAffinityConfig")
    check_one_of(affinity, ("ClientIP", "None"), "spec.sessionAffinity", errors)
    at = "spec.sessionAffinityConfig"
    if affinity == "ClientIP":
        detail = "when session affinity type is ClientIP"
        if config is None:
            errors.append(required(at, detail))
        elif config.get("clientIP") is None:
            errors.append(required(f"{at}.clientIP", detail))
        elif config["clientIP"].get("timeoutSeconds") is None:
            errors.append(required(f"{at}.clientIP.timeoutSeconds", detail))
        elif not 0 < config["clientIP"]["timeoutSeconds"] <= LONGEST_STICKY:
            seconds, detail = (
                config["clientIP"]["timeoutSeconds"],
                f"must be greater than 0 and less than {LONGEST_STICKY}",
            )
            errors.append(invalid(f"{at}.clientIP.timeoutSeconds", seconds, detail))
    elif affinity == "None" and config is not None:
        errors.append(forbidden(at, "must not be set when session affinity is None"))


def _check_cluster_ips(spec: Json, known: list[str] | tuple[str, ...], errors: Errors) -> None:
    first, ips, families = spec.get("clusterIP") or "", spec.get("clusterIPs") or [], spec.get("ipFamilies") or []
    at = "spec.clusterIPs"
    if first:
        if not ips:
            errors.append(required(at))
        elif ips[0] != first:
            errors.append(invalid(at, ips, "first value must match `clusterIP`"))
    elif ips:
        errors.append(invalid(at, ips, "must be empty when `clusterIP` is not specified"))
    for index, family in enumerate(families):
        check_supported(family, FAMILIES, f"spec.ipFamilies[{index}]", errors)
        if family in families[:index]:
            errors.append(duplicate(f"spec.ipFamilies[{index}]", family))
    if spec.get("ipFamilyPolicy") is not None:
        check_supported(spec["ipFamilyPolicy"], FAMILY_POLICIES, "spec.ipFamilyPolicy", errors)
    count = len(errors)
    for index, ip in enumerate(ips):
        if index == 0 and ip == "None":
            if len(ips) > 1:
                errors.append(invalid(at, ips, "'None' must be the first and only value"))
        else:
            check_ip(ip, f"{at}[{index}]", errors, known)
    sound = len(errors) == count
    if len(ips) > 2:
        errors.append(invalid(at, ips, "may only hold up to 2 values"))
    if not sound:
        return
    if len(ips) > 1 and not is_dual_stack(ips):
        errors.append(invalid(at, ips, "may specify no more than one IP for each IP family"))
    if not is_headless(spec):
        for index, (ip, family) in enumerate(zip(ips, families, strict=False)):
            if family in FAMILIES and is_ipv6(ip) is not (family == "IPv6"):
                detail = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
                errors.append(invalid(f"{at}[{index}]", ip, detail))


def _check_source_ranges(service: Json, old: Json | None, errors: Errors) -> None:
    spec, ranges = service.get("spec") or {}, (service.get("spec") or {}).get("loadBalancerSourceRanges")
    annotations = (service.get("metadata") or {}).get("annotations") or {}
    balanced = spec.get("type") == "LoadBalancer"
    if ranges:
        at = "spec.LoadBalancerSourceRanges"
        if not balanced:
            errors.append(forbidden(at, ONLY_BALANCERS))
        before = ((old or {}).get("spec") or {}).get("loadBalancerSourceRanges") or ()
        known = [value.strip() for value in before]
        for index, value in enumerate(ranges):
            check_cidr(value.strip(), f"{at}[{index}]", errors, known)
    elif SOURCE_RANGES in annotations:
        at, text = f"metadata.annotations[{SOURCE_RANGES}]", annotations[SOURCE_RANGES]
        if not balanced:
            errors.append(forbidden(at, ONLY_BALANCERS))
        before_text = (((old or {}).get("metadata") or {}).get("annotations") or {}).get(SOURCE_RANGES)
        if text != before_text and text.strip():
            for value in text.split(","):
                check_cidr(value.strip(), at, errors)


def _check_balancer(spec: Json, kind: str, errors: Errors) -> None:
    balanced = kind == "LoadBalancer"
    if "allocateLoadBalancerNodePorts" in spec:
        if not balanced:
            errors.append(forbidden("spec.allocateLoadBalancerNodePorts", ONLY_BALANCERS))
    elif balanced:
        errors.append(required("allocateLoadBalancerNodePorts"))
    name = spec.get("loadBalancerClass")
    if name is not None:
        if balanced:
            check_name(names.is_qualified_name, name, "spec.loadBalancerClass", errors)
        else:
            errors.append(forbidden("spec.loadBalancerClass", ONLY_BALANCERS))


def _check_traffic(spec: Json, kind: str, errors: Errors) -> None:
    policy, port = spec.get("externalTrafficPolicy") or "", spec.get("healthCheckNodePort", 0)
    if is_external(spec):
        check_one_of(policy, TRAFFIC_POLICIES, "spec.externalTrafficPolicy", errors)
    elif policy:
        errors.append(
            invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services")
        )
    if needs_health_check(spec):
        if not port:
            errors.append(required("spec.healthCheckNodePort"))
        else:
            check_port(port, "spec.healthCheckNodePort", errors)
    elif port:
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(invalid("spec.healthCheckNodePort", port, detail))
    internal = spec.get("internalTrafficPolicy")
    if internal is not None:
        check_supported(internal, TRAFFIC_POLICIES, "spec.internalTrafficPolicy", errors)
    elif kind in ("ClusterIP", "LoadBalancer", "NodePort"):
        errors.append(required("spec.internalTrafficPolicy"))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in DISTRIBUTIONS:
        errors.append(not_supported("spec.trafficDistribution", distribution, DISTRIBUTIONS))


def _check_ip_changes(after: Json, before: Json, errors: Errors) -> None:
    if is_headless(after) and is_headless(before):
        return
    new, old = after.get("clusterIPs") or [], before.get("clusterIPs") or []
    at = "spec.clusterIPs"
    if len(new) == len(old):
        for index, ip in enumerate(old):
            if ip != new[index]:
                errors.append(invalid(f"{at}[{index}]", new, FIXED))
        return
    if len(old) > len(new):
        if not new:
            errors.append(invalid(f"{at}[0]", new or None, "primary clusterIP can not be unset"))
        if len(new) == 1 and after.get("ipFamilyPolicy") != "SingleStack":
            detail = "must be set to 'SingleStack' when releasing the secondary clusterIP"
            errors.append(invalid("spec.ipFamilyPolicy", after.get("ipFamilyPolicy"), detail))
    if old and new and old[0] != new[0]:
        errors.append(invalid(f"{at}[0]", new, FIXED))


def _check_family_changes(after: Json, before: Json, errors: Errors) -> None:
    if is_headless(after) or is_headless(before):
        return
    new, old = after.get("ipFamilies") or [], before.get("ipFamilies") or []
    at = "spec.ipFamilies[0]"
    if len(new) == len(old):
        for index, family in enumerate(old):
            if family != new[index]:
                errors.append(invalid(at, new, FIXED))
        return
    if len(old) > len(new):
        if not after.get("clusterIPs"):
            errors.append(invalid(at, new or None, "primary ipFamily can not be unset"))
        if len(new) == 1 and after.get("ipFamilyPolicy") != "SingleStack":
            detail = "must be set to 'SingleStack' when releasing the secondary ipFamily"
            errors.append(invalid("spec.ipFamilyPolicy", after.get("ipFamilyPolicy"), detail))
    if old and new and old[0] != new[0]:
        errors.append(invalid(at, after.get("clusterIPs"), FIXED))
