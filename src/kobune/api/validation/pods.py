"""Pods and pod templates. Source: upstream pkg/apis/core/validation, ValidatePodSpec."""

from kobune.api import names
from kobune.api.defaulting.pod_resources import aggregate
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, forbidden, invalid, not_found, not_supported, required, too_long
from kobune.api.validation.addresses import check_ip
from kobune.api.validation.affinity import check_affinity, check_gates, check_spreading, check_tolerations
from kobune.api.validation.annotations import check_pod_annotations, check_profile_annotations
from kobune.api.validation.checks import MAX_INT32, Errors, check_name, check_one_of, check_range
from kobune.api.validation.containers import (
    PodFacts,
    check_containers,
    check_ephemeral_containers,
    check_image_spaces,
    check_init_containers,
)
from kobune.api.validation.metadata import check_annotations, check_labels
from kobune.api.validation.quantities import check_requirements, is_huge_pages, parse
from kobune.api.validation.security import check_host_processes, check_operating_system, check_pod_security, containers
from kobune.api.validation.volumes import check_volumes

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
MAX_NAMESERVERS, MAX_SEARCHES, MAX_SEARCH_TEXT = 3, 32, 2048
LONGEST_HOSTNAME = 64
MIRROR = "kubernetes.io/config.mirror"
USER_NAMESPACE = "when `hostUsers` is false"

# Fields whose value is the name of an object.
_NAMED = (
    ("serviceAccountName", names.is_dns1123_subdomain),
    ("nodeName", names.is_dns1123_subdomain),
    ("hostname", names.is_dns1123_label),
    ("subdomain", names.is_dns1123_label),
    ("priorityClassName", names.is_dns1123_subdomain),
    ("runtimeClassName", names.is_dns1123_subdomain),
)


def check_pod(pod: Json, errors: Errors) -> None:
    """A new pod, beyond its metadata."""
    spec = pod.get("spec") or {}
    check_pod_and_spec(pod, errors)
    if spec.get("ephemeralContainers"):
        errors.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        errors.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    annotations = (pod.get("metadata") or {}).get("annotations")
    if annotations:
        check_profile_annotations(annotations, spec, "spec", errors)


def check_pod_and_spec(pod: Json, errors: Errors) -> None:
    """What holds for a pod at any time."""
    spec, metadata = pod.get("spec") or {}, pod.get("metadata") or {}
    annotations = metadata.get("annotations")
    if annotations:
        check_pod_annotations(annotations, spec, "metadata.annotations", errors)
    check_pod_spec(spec, "spec", errors, pod=pod)
    if not spec.get("serviceAccountName"):
        for index, volume in enumerate(spec.get("volumes") or ()):
            for position, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
                if source.get("serviceAccountToken") is not None:
                    at = f"spec.volumes[{index}].projected.sources[{position}].serviceAccountToken"
                    errors.append(forbidden(at, "must not be specified when serviceAccountName is not set"))
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            check_image_spaces(container, f"spec.{field}[{index}]", errors)


def check_template(template: Json, path: str, errors: Errors) -> None:
    """A pod template: labels, annotations and spec."""
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    check_labels(metadata.get("labels"), f"{path}.labels", errors)
    annotations = metadata.get("annotations")
    if annotations:
        check_annotations(annotations, f"{path}.annotations", errors)
        check_pod_annotations(annotations, spec, f"{path}.annotations", errors)
    check_pod_spec(spec, f"{path}.spec", errors)
    if annotations:
        check_profile_annotations(annotations, spec, f"{path}.spec", errors)
    if spec.get("ephemeralContainers"):
        errors.append(forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))


def check_pod_spec(spec: Json, path: str, errors: Errors, *, pod: Json | None = None) -> None:
    """Args: pod: the pod whose spec it is; None for a template."""
    metadata = (pod.get("metadata") or {}) if pod is not None else {}
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is None:
        errors.append(required(f"{path}.terminationGracePeriodSeconds"))
    volumes = spec.get("volumes")
    sound = (
        check_volumes(volumes, metadata.get("name") or "", f"{path}.volumes", errors, is_pod=pod is not None)
        if volumes
        else {}
    )
    claims = frozenset(claim.get("name") or "" for claim in spec.get("resourceClaims") or ()) - {""}
    if "resourceClaims" in spec:
        _check_claims(spec["resourceClaims"], metadata, f"{path}.resourceClaims", errors)
    restart = spec.get("restartPolicy") or ""
    os = (spec.get("os") or {}).get("name") or ""
    facts = PodFacts(sound, claims, grace, restart, spec.get("hostUsers", True), os)
    own = spec.get("containers") or []
    check_containers(own, facts, f"{path}.containers", errors)
    if spec.get("initContainers"):
        check_init_containers(spec["initContainers"], own, facts, f"{path}.initContainers", errors)
    if spec.get("ephemeralContainers"):
        check_ephemeral_containers(spec, facts, f"{path}.ephemeralContainers", errors)
    if spec.get("resources"):
        _check_pod_level(spec, claims, os, f"{path}.resources", errors)
    if spec.get("hostNetwork"):
        _check_host_network(own, f"{path}.containers", errors, is_pod=pod is not None)
    if restart not in RESTART_POLICIES:
        check_one_of(restart, RESTART_POLICIES, f"{path}.restartPolicy", errors)
    dns = spec.get("dnsPolicy")
    if dns not in DNS_POLICIES:
        check_one_of(dns, DNS_POLICIES, f"{path}.dnsPolicy", errors)
    if "nodeSelector" in spec:
        check_labels(spec["nodeSelector"], f"{path}.nodeSelector", errors)
    if spec.get("securityContext"):
        check_pod_security(spec["securityContext"], spec, f"{path}.securityContext", errors)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid(f"{path}.securityContext.shareProcessNamespace", True, detail))
    if "affinity" in spec:
        check_affinity(spec["affinity"], f"{path}.affinity", errors)
    if "dnsConfig" in spec or dns == "None":
        _check_dns(spec.get("dnsConfig"), dns, f"{path}.dnsConfig", errors)
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        check_name(
            names.is_qualified_name,
            gate.get("conditionType") or "",
            f"{path}.readinessGates[{index}].conditionType",
            errors,
        )
    if "schedulingGates" in spec:
        check_gates(spec["schedulingGates"], f"{path}.schedulingGates", errors)
    if "topologySpreadConstraints" in spec:
        check_spreading(spec["topologySpreadConstraints"], f"{path}.topologySpreadConstraints", errors)
    check_host_processes(spec, path, errors)
    if spec.get("hostUsers") is False:
        _check_user_namespace(spec, path, errors)
    if "hostnameOverride" in spec:
        _check_hostname_override(spec, path, errors)
    for field, check in _NAMED:
        if spec.get(field):
            check_name(check, spec[field], f"{path}.{field}", errors)
    check_range(spec.get("activeDeadlineSeconds"), 1, MAX_INT32, f"{path}.activeDeadlineSeconds", errors)
    if "tolerations" in spec:
        check_tolerations(spec["tolerations"], f"{path}.tolerations", errors)
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        check_ip(alias.get("ip") or "", f"{path}.hostAliases[{index}].ip", errors)
        for position, hostname in enumerate(alias.get("hostnames") or ()):
            check_name(
                names.is_dns1123_subdomain, hostname, f"{path}.hostAliases[{index}].hostnames[{position}]", errors
            )
    if "preemptionPolicy" in spec:
        check_one_of(spec["preemptionPolicy"], ("PreemptLowerPriority", "Never"), f"{path}.preemptionPolicy", errors)
    if spec.get("overhead"):
        check_requirements({"limits": spec["overhead"]}, (), f"{path}.overhead", errors)
    if "os" in spec:
        check_operating_system(spec, path, errors)
    if "schedulingGroup" in spec:
        _check_group(spec["schedulingGroup"], f"{path}.schedulingGroup", errors)
    _check_file_keys(spec, path, errors)


def _check_claims(claims: list[Json], metadata: Json, path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for index, claim in enumerate(claims):
        at, name = f"{path}[{index}]", claim.get("name") or ""
        if MIRROR in (metadata.get("annotations") or {}):
            errors.append(forbidden("", "static pods do not support resource claims"))
            continue
        if not name:
            errors.append(required(f"{at}.name"))
        elif name in seen:
            errors.append(duplicate(f"{at}.name", name))
        else:
            check_name(names.is_dns1123_label, name, f"{at}.name", errors)
            seen.add(name)
        present = [
            field for field in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(field) is not None
        ]
        if len(present) > 1:
            detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            errors.append(invalid(at, claim, detail))
        elif not present:
            errors.append(invalid(at, claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
        for field in present:
            check_name(names.is_dns1123_subdomain, claim[field], f"{at}.{field}", errors)


def _check_pod_level(spec: Json, claims: frozenset[str], os: str, path: str, errors: Errors) -> None:
    resources = spec["resources"]
    if os == "windows":
        errors.append(forbidden(path, "may not be set for a windows pod"))
        return
    if resources.get("claims"):
        errors.append(forbidden(f"{path}.claims", "claims may not be set for Resources at pod-level"))
    check_requirements(resources, claims, path, errors, pod_level=True)
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    try:
        needed, bounds = aggregate(spec, "requests"), aggregate(spec, "limits")
    except ValueError:
        return
    for name, amount in needed.items():
        if name in requests and parse(amount) > parse(requests[name]):
            detail = f"must be greater than or equal to aggregate container requests of {amount}"
            errors.append(invalid(f"{path}.requests[{name}]", requests[name], detail))
    for name, amount in bounds.items():
        if is_huge_pages(name) and name in limits and parse(amount) > parse(limits[name]):
            detail = f"must be greater than or equal to aggregate container limits of {amount}"
            errors.append(invalid(f"{path}.limits[{name}]", limits[name], detail))
    for index, container in enumerate(spec.get("containers") or ()):
        for name, amount in ((container.get("resources") or {}).get("limits") or {}).items():
            if name in limits and parse(amount) > parse(limits[name]):
                at = f"{path}.containers[{index}][{name}].limits"
                errors.append(invalid(at, amount, f"must be less than or equal to pod limits of {limits[name]}"))


def _check_host_network(own: list[Json], path: str, errors: Errors, *, is_pod: bool) -> None:
    for index, container in enumerate(own):
        for position, port in enumerate(container.get("ports") or ()):
            host = port.get("hostPort", 0)
            if (is_pod or host) and host != port.get("containerPort", 0):
                at = f"{path}[{index}].ports[{position}].hostPort"
                errors.append(invalid(at, host, "must match `containerPort` when `hostNetwork` is true"))


def _check_dns(config: Json | None, policy: str | None, path: str, errors: Errors) -> None:
    if policy == "None":
        if config is None:
            errors.append(required(path, "must provide `dnsConfig` when `dnsPolicy` is None"))
        elif not config.get("nameservers"):
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            errors.append(required(f"{path}.nameservers", detail))
            return
    if config is None:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > MAX_NAMESERVERS:
        errors.append(invalid(f"{path}.nameservers", servers, f"must not have more than {MAX_NAMESERVERS} nameservers"))
    for index, server in enumerate(servers):
        check_ip(server, f"{path}.nameservers[{index}]", errors)
    if len(searches) > MAX_SEARCHES:
        errors.append(invalid(f"{path}.searches", searches, f"must not have more than {MAX_SEARCHES} search paths"))
    if len(" ".join(searches)) > MAX_SEARCH_TEXT:
        detail = f"must not have more than {MAX_SEARCH_TEXT} characters (including spaces) in the search list"
        errors.append(invalid(f"{path}.searches", searches, detail))
    for index, search in enumerate(searches):
        if search != ".":
            check_name(
                names.is_dns1123_subdomain_with_underscore,
                search.removesuffix("."),
                f"{path}.searches[{index}]",
                errors,
            )
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errors.append(required(f"{path}.options[{index}]", "must not be empty"))


def _check_user_namespace(spec: Json, path: str, errors: Errors) -> None:
    for field, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(field):
            errors.append(forbidden(f"{path}.{shown}", USER_NAMESPACE))
    for at, container in containers(spec, path):
        if container.get("volumeDevices"):
            errors.append(forbidden(f"{at}.volumeDevices", USER_NAMESPACE))


def _check_hostname_override(spec: Json, path: str, errors: Errors) -> None:
    at, value = f"{path}.hostnameOverride", spec["hostnameOverride"]
    if spec.get("setHostnameAsFQDN"):
        errors.append(forbidden(at, "may not be specified when setHostnameAsFQDN is true"))
    if spec.get("hostNetwork"):
        errors.append(forbidden(at, "may not be specified when hostNetwork is true"))
    if len(value) > LONGEST_HOSTNAME:
        errors.append(too_long(at, LONGEST_HOSTNAME))
    check_name(names.is_dns1123_subdomain, value, at, errors)


def _check_group(group: Json, path: str, errors: Errors) -> None:
    if group.get("podGroupName") is None:
        errors.append(invalid(f"{path}.podGroupName", None, "must specify one of: `podGroupName`"))
    else:
        check_name(names.is_dns1123_subdomain, group["podGroupName"], f"{path}.podGroupName", errors)


def _check_file_keys(spec: Json, path: str, errors: Errors) -> None:
    """A variable that is read from a file needs a volume that a container can write."""
    for at, container in containers(spec, path):
        for index, variable in enumerate(container.get("env") or ()):
            reference = (variable.get("valueFrom") or {}).get("fileKeyRef")
            if reference is None:
                continue
            name = reference.get("volumeName") or ""
            field = f"{at}.env[{index}].valueFrom.fileKeyRef.volumeName"
            volume = next((each for each in spec.get("volumes") or () if each.get("name") == name), None)
            if volume is None:
                errors.append(not_found(field, name))
            elif "emptyDir" not in volume:
                errors.append(invalid(field, name, "referenced volume must be of type emptyDir"))


def check_template_policy(template: Json, kind: str, path: str, errors: Errors) -> None:
    """What the templates of controllers that keep pods running must be."""
    spec = template.get("spec") or {}
    if spec.get("restartPolicy") != "Always":
        errors.append(not_supported(f"{path}.spec.restartPolicy", spec.get("restartPolicy") or "", ("Always",)))
    if "activeDeadlineSeconds" in spec:
        detail = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(forbidden(f"{path}.spec.activeDeadlineSeconds", detail))
