"""The containers of a pod: the pod's own, init containers and ephemeral ones."""

from typing import NamedTuple

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, forbidden, invalid, not_found, not_supported, required, too_many
from kobune.api.validation.checks import Errors, check_one_of, check_required_name
from kobune.api.validation.environment import check_environment, check_environment_sources
from kobune.api.validation.handlers import check_lifecycle, check_probes
from kobune.api.validation.paths import check_descending
from kobune.api.validation.quantities import check_container_requirements, check_requirements
from kobune.api.validation.security import check_container_security
from kobune.api.validation.volumes import PULL_POLICIES

PROTOCOLS = ("SCTP", "TCP", "UDP")
MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
RESTART_POLICIES = ("Always", "Never", "OnFailure")
RESTART_ACTIONS = ("Restart", "RestartAllContainers")
MAX_RULES, MAX_EXIT_CODES = 20, 255
PROBED = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
ONLY_SIDECARS = "may not be set for init containers without restartPolicy=Always"
NOT_EPHEMERAL = "cannot be set for an Ephemeral Container"
EPHEMERAL_FORBIDDEN = (
    "ports", "resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy", "restartPolicy",
    "restartPolicyRules",
)  # fmt: skip


class PodFacts(NamedTuple):
    """What containers must know of their pod."""

    volumes: dict[str, Json]  # The sound ones.
    claims: frozenset[str]
    grace: int | None
    restart_policy: str
    host_users: bool
    os: str


def check_containers(containers: list[Json], pod: PodFacts, path: str, errors: Errors) -> None:
    if not containers:
        errors.append(required(path))
        return
    seen: set[str] = set()
    for index, container in enumerate(containers):
        at = f"{path}[{index}]"
        check_container(container, pod, at, errors)
        _check_unique(container, seen, at, errors)
        if "lifecycle" in container:
            check_lifecycle(container["lifecycle"], pod.grace, pod.os, f"{at}.lifecycle", errors)
        check_probes(container, pod.grace, at, errors)
        if "restartPolicy" in container or "restartPolicyRules" in container:
            _check_restart(container, at, errors)
    _check_host_ports(containers, path, errors)


def check_init_containers(init: list[Json], containers: list[Json], pod: PodFacts, path: str, errors: Errors) -> None:
    seen = {container.get("name") or "" for container in containers}
    for index, container in enumerate(init):
        at = f"{path}[{index}]"
        check_container(container, pod, at, errors)
        sidecar = container.get("restartPolicy") == "Always"
        if "restartPolicy" in container or "restartPolicyRules" in container:
            _check_restart(container, at, errors)
        _check_unique(container, seen, at, errors)
        _check_host_ports([container], path, errors)
        if sidecar:
            if "lifecycle" in container:
                check_lifecycle(container["lifecycle"], pod.grace, pod.os, f"{at}.lifecycle", errors)
            check_probes(container, pod.grace, at, errors)
        else:
            errors.extend(forbidden(f"{at}.{field}", ONLY_SIDECARS) for field in PROBED if field in container)
            for position, policy in enumerate(container.get("resizePolicy") or ()):
                if policy.get("restartPolicy") == "RestartContainer":
                    detail = "must not be set to 'RestartContainer' for non-sidecar initContainers"
                    errors.append(invalid(f"{at}.resizePolicy[{position}].restartPolicy", "RestartContainer", detail))


def check_ephemeral_containers(spec: Json, pod: PodFacts, path: str, errors: Errors) -> None:
    others = {each.get("name") for field in ("containers", "initContainers") for each in spec.get(field) or ()}
    seen = set(others)
    for index, container in enumerate(spec["ephemeralContainers"]):
        at = f"{path}[{index}]"
        check_container(container, pod, at, errors)
        check_image_spaces(container, at, errors)
        name, target = container.get("name") or "", container.get("targetContainerName")
        if name in seen:
            errors.append(duplicate(f"{at}.name", name))
        seen.add(name)
        if target and target not in others:
            errors.append(not_found(f"{at}.targetContainerName", target))
        errors.extend(
            forbidden(f"{at}.{field}", NOT_EPHEMERAL) for field in EPHEMERAL_FORBIDDEN if container.get(field)
        )
        for position, mount in enumerate(container.get("volumeMounts") or ()):
            for field in ("subPath", "subPathExpr"):
                if mount.get(field):
                    errors.append(forbidden(f"{at}.volumeMounts[{position}].{field}", NOT_EPHEMERAL))


def check_container(container: Json, pod: PodFacts, path: str, errors: Errors) -> None:
    """What holds for containers of every sort."""
    check_required_name(names.is_dns1123_label, container.get("name"), f"{path}.name", errors)
    if not container.get("image"):
        errors.append(required(f"{path}.image"))
    if container.get("terminationMessagePolicy") not in MESSAGE_POLICIES:
        check_one_of(
            container.get("terminationMessagePolicy"), MESSAGE_POLICIES, f"{path}.terminationMessagePolicy", errors
        )
    if "ports" in container:
        _check_ports(container["ports"], f"{path}.ports", errors)
    if "env" in container:
        check_environment(container["env"], f"{path}.env", errors)
    if "envFrom" in container:
        check_environment_sources(container["envFrom"], f"{path}.envFrom", errors)
    if "volumeMounts" in container:
        _check_mounts(container, pod.volumes, f"{path}.volumeMounts", errors)
    if "volumeDevices" in container:
        _check_devices(container, pod.volumes, f"{path}.volumeDevices", errors)
    if container.get("imagePullPolicy") not in PULL_POLICIES:
        check_one_of(container.get("imagePullPolicy"), PULL_POLICIES, f"{path}.imagePullPolicy", errors)
    resources = container.get("resources")
    if resources:
        if "claims" in resources:
            check_requirements(resources, pod.claims, f"{path}.resources", errors)
        else:
            check_container_requirements(resources, f"{path}.resources", errors)
    if "resizePolicy" in container:
        _check_resize(container["resizePolicy"], pod.restart_policy, f"{path}.resizePolicy", errors)
    if container.get("securityContext"):
        check_container_security(
            container["securityContext"], f"{path}.securityContext", errors, host_users=pod.host_users
        )


def check_image_spaces(container: Json, path: str, errors: Errors) -> None:
    """Only pods mind; templates with such images exist."""
    image = container.get("image") or ""
    if image != image.strip():
        errors.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))


def _check_unique(container: Json, seen: set[str], path: str, errors: Errors) -> None:
    name = container.get("name") or ""
    if name in seen:
        errors.append(duplicate(f"{path}.name", name))
    seen.add(name)


def _check_ports(ports: list[Json], path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        at, name = f"{path}[{index}]", port.get("name")
        if name:
            if wrong := names.is_port_name(name):
                errors.extend(invalid(f"{at}.name", name, message) for message in wrong)
            elif name in seen:
                errors.append(duplicate(f"{at}.name", name))
            seen.add(name)
        number, host = port.get("containerPort", 0), port.get("hostPort", 0)
        if not number:
            errors.append(required(f"{at}.containerPort"))
        elif not 1 <= number <= 65535:
            errors.append(invalid(f"{at}.containerPort", number, names.in_range(1, 65535)))
        if not 0 <= host <= 65535:
            errors.append(invalid(f"{at}.hostPort", host, names.in_range(1, 65535)))
        if port.get("protocol") not in PROTOCOLS:
            check_one_of(port.get("protocol"), PROTOCOLS, f"{at}.protocol", errors)


def _check_host_ports(containers: list[Json], path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for index, container in enumerate(containers):
        for position, port in enumerate(container.get("ports") or ()):
            if port.get("hostPort"):
                key = f"{port.get('protocol')}/{port.get('hostIP') or ''}/{port['hostPort']}"
                if key in seen:
                    errors.append(duplicate(f"{path}[{index}].ports[{position}].hostPort", key))
                seen.add(key)


def _check_mounts(container: Json, volumes: dict[str, Json], path: str, errors: Errors) -> None:
    devices = {each.get("name"): each.get("devicePath") for each in container.get("volumeDevices") or ()}
    taken: set[str] = set()
    for index, mount in enumerate(container["volumeMounts"]):
        at, name, target = f"{path}[{index}]", mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            errors.append(required(f"{at}.name"))
        if name not in volumes:
            errors.append(not_found(f"{at}.name", name))
        if not target:
            errors.append(required(f"{at}.mountPath"))
        if target in taken:
            errors.append(invalid(f"{at}.mountPath", target, "must be unique"))
        taken.add(target)
        if devices:
            if name in devices:
                errors.append(invalid(f"{at}.name", name, "must not already exist in volumeDevices"))
            if target in devices.values():
                errors.append(invalid(f"{at}.mountPath", target, "must not already exist as a path in volumeDevices"))
        if len(mount) > 2:
            _check_mount_options(mount, container, path, at, errors)


def _check_mount_options(mount: Json, container: Json, path: str, at: str, errors: Errors) -> None:
    if mount.get("subPath"):
        check_descending(mount["subPath"], f"{path}.subPath", errors)
    if mount.get("subPathExpr"):
        if mount.get("subPath"):
            detail = "subPathExpr and subPath are mutually exclusive"
            errors.append(invalid(f"{at}.subPathExpr", mount["subPathExpr"], detail))
        check_descending(mount["subPathExpr"], f"{path}.subPathExpr", errors)
    propagation = mount.get("mountPropagation")
    if propagation is not None:
        supported = ("Bidirectional", "HostToContainer", "None")
        if propagation not in supported:
            errors.append(not_supported(f"{path}.mountPropagation", propagation, supported))
        if propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
            detail = "Bidirectional mount propagation is available only to privileged containers"
            errors.append(forbidden(f"{path}.mountPropagation", detail))
    recursive = mount.get("recursiveReadOnly")
    if recursive in ("Enabled", "IfPossible"):
        if not mount.get("readOnly"):
            errors.append(forbidden(f"{path}.recursiveReadOnly", "may only be specified when readOnly is true"))
        if propagation not in (None, "None"):
            detail = "may only be specified when mountPropagation is None or not specified"
            errors.append(forbidden(f"{path}.recursiveReadOnly", detail))
    elif recursive not in (None, "Disabled"):
        errors.append(not_supported(f"{path}.recursiveReadOnly", recursive, ("Disabled", "Enabled", "IfPossible")))


def _check_devices(container: Json, volumes: dict[str, Json], path: str, errors: Errors) -> None:
    mounts = {each.get("name"): each.get("mountPath") for each in container.get("volumeMounts") or ()}
    seen: set[str] = set()
    taken: set[str] = set()
    for index, device in enumerate(container["volumeDevices"]):
        at, name, target = f"{path}[{index}]", device.get("name") or "", device.get("devicePath") or ""
        if not name:
            errors.append(required(f"{at}.name"))
        if name in seen:
            errors.append(invalid(f"{at}.name", name, "must be unique"))
        volume = volumes.get(name)
        if volume is None:
            errors.append(not_found(f"{at}.name", name))
        elif "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            errors.append(invalid(f"{at}.name", name, detail))
        if not target:
            errors.append(required(f"{at}.devicePath"))
        if target in taken:
            errors.append(invalid(f"{at}.devicePath", target, "must be unique"))
        if ".." in target.split("/"):
            errors.append(invalid(f"{at}.devicePath", target, "can not contain backsteps ('..')"))
        else:
            taken.add(target)
        if name in mounts:
            errors.append(invalid(f"{at}.name", name, "must not already exist in volumeMounts"))
        if target in mounts.values():
            errors.append(invalid(f"{at}.devicePath", target, "must not already exist as a path in volumeMounts"))
        if name:
            seen.add(name)


def _check_resize(policies: list[Json], pod_policy: str, path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for index, policy in enumerate(policies):
        resource, restart = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        if resource in seen:
            errors.append(duplicate(f"{path}[{index}]", resource))
        seen.add(resource)
        check_one_of(resource, ("cpu", "memory"), path, errors)
        check_one_of(restart, ("NotRequired", "RestartContainer"), path, errors)
        if pod_policy == "Never" and restart != "NotRequired":
            errors.append(invalid(path, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))


def _check_restart(container: Json, path: str, errors: Errors) -> None:
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    if policy is None:
        if rules:
            errors.append(required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used"))
    elif policy not in RESTART_POLICIES:
        errors.append(not_supported(f"{path}.restartPolicy", policy, RESTART_POLICIES))
    if len(rules) > MAX_RULES:
        errors.append(too_many(f"{path}.restartPolicyRules", len(rules), MAX_RULES))
    for index, rule in enumerate(rules):
        at = f"{path}.restartPolicyRules[{index}]"
        if rule.get("action") not in RESTART_ACTIONS:
            errors.append(not_supported(f"{at}.action", rule.get("action") or "", RESTART_ACTIONS))
        codes = rule.get("exitCodes")
        if codes is None:
            errors.append(required(f"{at}.exitCodes", "must be specified"))
            continue
        if codes.get("operator") not in ("In", "NotIn"):
            errors.append(not_supported(f"{at}.exitCodes.operator", codes.get("operator") or "", ("In", "NotIn")))
        if len(codes.get("values") or ()) > MAX_EXIT_CODES:
            errors.append(too_many(f"{at}.exitCodes.values", len(codes["values"]), MAX_EXIT_CODES))
