"""Security contexts of pods and containers."""

import re
from collections.abc import Iterator

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, forbidden, invalid, not_supported, required, too_long
from kobune.api.validation.checks import MAX_INT32, Errors, check_name, check_range, check_supported
from kobune.api.validation.paths import check_descending

SECCOMP_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
LONGEST_PROFILE = 4095
LONGEST_SYSCTL = 253
SYSCTL = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
GMSA_KIB = 64
DOMAIN_LENGTH, USER_LENGTH = 256, 104
WINDOWS_FORBIDDEN_POD = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls", "runAsUser",
    "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy",
)  # fmt: skip
WINDOWS_FORBIDDEN_CONTAINER = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip
NOT_ON_WINDOWS = "cannot be set for a windows pod"
NOT_ON_LINUX = "windows options cannot be set for a linux pod"

_sysctl = re.compile(SYSCTL).match
_control = re.compile(r"[\x00-\x1f\x7f]").search
_net_bios = re.compile(r"[^\\/:*?\"<>|.][^\\/:*?\"<>|]{0,14}").fullmatch
_dns_label = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_dns_domain = re.compile(rf"{_dns_label}(?:\.{_dns_label})*").fullmatch
_bad_user = re.compile(r"[\"/\\:;|=,+*?<>@\[\]]").search


def check_pod_security(context: Json, spec: Json, path: str, errors: Errors) -> None:
    for field in ("fsGroup", "runAsUser", "runAsGroup"):
        if field in context:
            check_range(context[field], 0, MAX_INT32, f"{path}.{field}", errors)
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        check_range(group, 0, MAX_INT32, f"{path}.supplementalGroups[{index}]", errors)
    if context.get("sysctls"):
        _check_sysctls(context["sysctls"], spec, f"{path}.sysctls", errors)
    for field, supported in (
        ("fsGroupChangePolicy", ("Always", "OnRootMismatch")),
        ("supplementalGroupsPolicy", ("Merge", "Strict")),
        ("seLinuxChangePolicy", ("MountOption", "Recursive")),
    ):
        if field in context:
            check_supported(context[field], supported, f"{path}.{field}", errors)
    _check_profiles(context, path, errors)


def check_container_security(context: Json, path: str, errors: Errors, *, host_users: bool) -> None:
    for field in ("runAsUser", "runAsGroup"):
        if field in context:
            check_range(context[field], 0, MAX_INT32, f"{path}.{field}", errors)
    mount = context.get("procMount")
    if mount is not None:
        check_supported(mount, ("Default", "Unmasked"), f"{path}.procMount", errors)
        if host_users and mount == "Unmasked":
            errors.append(invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(invalid(path, context, detail))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid(path, context, detail))
    _check_profiles(context, path, errors)


def check_operating_system(spec: Json, path: str, errors: Errors) -> None:
    """spec.os, and what the other fields may then be."""
    name = spec["os"].get("name")
    if not name:
        errors.append(required(f"{path}.os.name"))
    elif name not in ("linux", "windows"):
        errors.append(not_supported(f"{path}.os", name, ("linux", "windows")))
    elif name == "linux":
        for at, context in _contexts(spec, path):
            if context.get("windowsOptions") is not None:
                errors.append(forbidden(f"{at}.windowsOptions", NOT_ON_LINUX))
    else:
        _check_windows(spec, path, errors)


def check_host_processes(spec: Json, path: str, errors: Errors) -> None:
    """On Windows, either all containers are processes of the host or none is."""
    contexts = list(_contexts(spec, path))
    if not any("windowsOptions" in context for _, context in contexts):
        return
    pod = (contexts[0][1].get("windowsOptions") or {}).get("hostProcess") if "securityContext" in spec else None
    total = sum(len(spec.get(field) or ()) for field in ("initContainers", "containers", "ephemeralContainers"))
    host = 0
    for at, container in containers(spec, path):
        own = ((container.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
        if pod is not None and own is not None and pod != own:
            shown = "true" if pod else "false"
            detail = f"pod hostProcess value must be identical if both are specified, was {shown}"
            errors.append(invalid(f"{at}.securityContext.windowsOptions.hostProcess", own, detail))
        host += bool(pod if own is None else own)
    if host and host != total:
        detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        errors.append(invalid(path, "", detail))
    if host and not spec.get("hostNetwork"):
        detail = "hostNetwork must be true if pod contains any hostProcess containers"
        errors.append(invalid(f"{path}.hostNetwork", False, detail))


def containers(spec: Json, path: str) -> Iterator[tuple[str, Json]]:
    """Every container with its path: init containers, then the pod's own, then ephemeral ones."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            yield f"{path}.{field}[{index}]", container


def check_seccomp(profile: Json, path: str, errors: Errors) -> None:
    kind = profile.get("type")
    if not kind:
        errors.append(required(f"{path}.type", "type is required when seccompProfile is set"))
    elif kind not in SECCOMP_TYPES:
        errors.append(not_supported(f"{path}.type", kind, SECCOMP_TYPES))
    file = profile.get("localhostProfile")
    if kind == "Localhost":
        if file is None:
            errors.append(required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost"))
        else:
            check_descending(file, f"{path}.localhostProfile", errors)
    elif file is not None:
        errors.append(invalid(f"{path}.localhostProfile", profile, "can only be set when seccomp type is Localhost"))


def _contexts(spec: Json, path: str) -> Iterator[tuple[str, Json]]:
    """The security contexts that are there, the pod's first."""
    if spec.get("securityContext") is not None:
        yield f"{path}.securityContext", spec["securityContext"]
    for at, container in containers(spec, path):
        if container.get("securityContext"):
            yield f"{at}.securityContext", container["securityContext"]


def _check_profiles(context: Json, path: str, errors: Errors) -> None:
    if "seccompProfile" in context:
        check_seccomp(context["seccompProfile"], f"{path}.seccompProfile", errors)
    if "windowsOptions" in context:
        _check_windows_options(context["windowsOptions"], f"{path}.windowsOptions", errors)
    if "appArmorProfile" in context:
        _check_app_armor(context["appArmorProfile"], f"{path}.appArmorProfile", errors)


def _check_app_armor(profile: Json, path: str, errors: Errors) -> None:
    kind, file = profile.get("type"), profile.get("localhostProfile")
    at = f"{path}.localhostProfile"
    if kind == "Localhost":
        if not file:
            errors.append(required(at, "must be set when AppArmor type is Localhost"))
        elif file.strip() != file:
            errors.append(invalid(at, file, "must not be padded with whitespace"))
        if file and len(file) > LONGEST_PROFILE:
            errors.append(too_long(at, LONGEST_PROFILE))
    elif not kind:
        errors.append(required(f"{path}.type", "type is required when appArmorProfile is set"))
    elif kind not in SECCOMP_TYPES:
        errors.append(not_supported(f"{path}.type", kind, SECCOMP_TYPES))
    elif file is not None:
        errors.append(invalid(at, file, "can only be set when AppArmor type is Localhost"))


def _check_sysctls(sysctls: list[Json], spec: Json, path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for index, sysctl in enumerate(sysctls):
        at, name = f"{path}[{index}].name", sysctl.get("name") or ""
        if not name:
            errors.append(required(at))
        elif len(name) > LONGEST_SYSCTL or not _sysctl(name):
            errors.append(invalid(at, name, f"must have at most {LONGEST_SYSCTL} characters and match regex {SYSCTL}"))
        elif name in seen:
            errors.append(duplicate(at, name))
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith("net."):
            errors.append(invalid(at, name, "may not be specified when 'hostNetwork' is true"))
        elif spec.get("hostIPC") and dotted.startswith(("kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue.")):
            errors.append(invalid(at, name, "may not be specified when 'hostIPC' is true"))
        seen.add(name)


def _check_windows(spec: Json, path: str, errors: Errors) -> None:
    for field in ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"):
        if spec.get(field) is not None and (spec[field] or field in ("hostUsers", "shareProcessNamespace")):
            errors.append(forbidden(f"{path}.{field}", NOT_ON_WINDOWS))
    for at, context in _contexts(spec, path):
        fields = WINDOWS_FORBIDDEN_POD if at == f"{path}.securityContext" else WINDOWS_FORBIDDEN_CONTAINER
        for field in fields:
            if context.get(field) is not None:
                errors.append(forbidden(f"{at}.{field}", NOT_ON_WINDOWS))


def _check_windows_options(options: Json, path: str, errors: Errors) -> None:
    name, spec, user = (
        options.get("gmsaCredentialSpecName"),
        options.get("gmsaCredentialSpec"),
        options.get("runAsUserName"),
    )
    if name is not None:
        check_name(names.is_dns1123_subdomain, name, f"{path}.gmsaCredentialSpecName", errors)
    if spec == "":
        errors.append(invalid(f"{path}.gmsaCredentialSpec", spec, "gmsaCredentialSpec cannot be an empty string"))
    elif spec is not None and len(spec) > GMSA_KIB * 1024:
        errors.append(
            invalid(f"{path}.gmsaCredentialSpec", spec, f"gmsaCredentialSpec size must be under {GMSA_KIB} KiB")
        )
    if user is not None:
        for detail in _user_faults(user):
            errors.append(invalid(f"{path}.runAsUserName", user, f"runAsUserName{detail}"))


def _user_faults(name: str) -> Iterator[str]:
    if not name:
        yield " cannot be an empty string"
        return
    if _control(name):
        yield " cannot contain control characters"
        return
    if name.count("\\") > 1:
        yield " cannot contain more than one backslash"
        return
    domain, slash, user = name.rpartition("\\")
    if len(domain) >= DOMAIN_LENGTH:
        yield f"'s Domain length must be under {DOMAIN_LENGTH} characters"
    if slash and not (_net_bios(domain) or _dns_domain(domain)):
        yield "'s Domain doesn't match the NetBios nor the DNS format"
    if not user:
        yield "'s User cannot be empty"
    elif len(user) > USER_LENGTH:
        yield f"'s User length must not be longer than {USER_LENGTH} characters"
    if user and not user.strip(". "):
        yield "'s User cannot contain only periods or spaces"
    if _bad_user(user):
        yield "'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"
