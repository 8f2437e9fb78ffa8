"""The Pod Security Standards: what a pod does that a level forbids, version by version, in upstream's words.

Source: the published standards, and k8s.io/pod-security-admission/policy.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import NamedTuple

from kobune.api.errors import Json

LEVELS = ("privileged", "baseline", "restricted")
DEFAULT_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
# By the minor version of Kubernetes since which a pod may set them.
SYSCTLS: Mapping[int, frozenset[str]] = {
    0: frozenset(
        (
            "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
            "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
        )
    ),
    27: frozenset(("net.ipv4.ip_local_reserved_ports",)),
    29: frozenset(
        (
            "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
            "net.ipv4.tcp_keepalive_probes",
        )
    ),
    32: frozenset(("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")),
}  # fmt: skip
SAFE_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t"})
SECCOMP_POD, SECCOMP_CONTAINER = (
    "seccomp.security.alpha.kubernetes.io/pod",
    "container.seccomp.security.alpha.kubernetes.io/",
)
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
CONFINED = ("RuntimeDefault", "Localhost")


class Violation(NamedTuple):
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what} ({self.detail})"


Annotations = Mapping[str, str]
Check = Callable[[Json, Annotations], Violation | None]


class Row(NamedTuple):
    """A check since a minor version of Kubernetes; a later row of the same name takes its place."""

    name: str
    level: str
    since: int
    check: Check
    replaces: str = ""  # The check of baseline that restricted does without.


def violations(spec: Json, level: str, *, minor: int, annotations: Annotations | None = None) -> list[Violation]:
    """What the pod does that `level` forbids, as the standards were at Kubernetes 1.`minor`."""
    if level == "privileged":
        return []
    found = (check(spec, annotations or {}) for check in _checks(level, minor))
    return [one for one in found if one is not None]


@cache
def _checks(level: str, minor: int) -> tuple[Check, ...]:
    """Those of baseline first, each part by name: the order in which upstream complains."""
    current = {row.name: row for row in ROWS if row.since <= minor}
    replaced = (
        {row.replaces for row in current.values() if row.level == "restricted"} if level == "restricted" else set()
    )
    levels = ("baseline",) if level == "baseline" else ("baseline", "restricted")
    rows = sorted(current.values(), key=lambda row: (row.level, row.name))
    return tuple(row.check for row in rows if row.level in levels and row.name not in replaced)


def _containers(spec: Json) -> Iterator[Json]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def _security(holder: Json) -> Json:
    return holder.get("securityContext") or {}


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _those(word: str, names: list[str]) -> str:
    return f"{word}{'s' if len(names) > 1 else ''} {_quoted(names)}"


def _of_containers(spec: Json, wrong: Callable[[Json], bool]) -> list[str]:
    return [container["name"] for container in _containers(spec) if wrong(container)]


def _host_namespaces(spec: Json) -> Violation | None:
    shared = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return Violation("host namespaces", ", ".join(shared)) if shared else None


def _privileged(spec: Json) -> Violation | None:
    names = _of_containers(spec, lambda one: bool(_security(one).get("privileged")))
    words = f"{_those('container', names)} must not set securityContext.privileged=true"
    return Violation("privileged", words) if names else None


def _default_capabilities(spec: Json) -> Violation | None:
    names, added = _added(spec, DEFAULT_CAPABILITIES)
    words = f"{_those('container', names)} must not include {_quoted(added)} in securityContext.capabilities.add"
    return Violation("non-default capabilities", words) if names else None


def _added(spec: Json, allowed: frozenset[str]) -> tuple[list[str], list[str]]:
    """The containers that add capabilities beyond the allowed ones, and those capabilities."""
    names, added = [], set()
    for container in _containers(spec):
        beyond = set((_security(container).get("capabilities") or {}).get("add") or ()) - allowed
        if beyond:
            names.append(container["name"])
            added |= beyond
    return names, sorted(added)


def _host_paths(spec: Json) -> Violation | None:
    names = [volume["name"] for volume in spec.get("volumes") or () if volume.get("hostPath") is not None]
    return Violation("hostPath volumes", _those("volume", names)) if names else None


def _host_ports(spec: Json) -> Violation | None:
    names, ports = [], set()
    for container in _containers(spec):
        used = {port["hostPort"] for port in container.get("ports") or () if port.get("hostPort")}
        if used:
            names.append(container["name"])
            ports |= used
    if not names:
        return None
    verb, noun = ("use", "hostPorts") if len(names) > 1 else ("uses", "hostPorts" if len(ports) > 1 else "hostPort")
    return Violation("hostPort", f"{_those('container', names)} {verb} {noun} {', '.join(map(str, sorted(ports)))}")


def _handler_hosts(spec: Json) -> Violation | None:
    """Probes and lifecycle handlers ask the pod itself, nobody else."""
    names, hosts = set[str](), set[str]()
    for container in _containers(spec):
        lifecycle = container.get("lifecycle") or {}
        handlers = [container.get(f"{probe}Probe") or {} for probe in ("liveness", "readiness", "startup")]
        handlers += [lifecycle.get(hook) or {} for hook in ("postStart", "preStop")]
        found = {(one.get(way) or {}).get("host") for one in handlers for way in ("httpGet", "tcpSocket")} - {None, ""}
        if found:
            names.add(container["name"])
            hosts |= {one for one in found if one}
    use = "uses" if len(names) == 1 else "use"
    words = f"{_those('container', sorted(names))} {use} {_those('probe or lifecycle host', sorted(hosts))}"
    return Violation("probe or lifecycle host", words) if names else None


def _host_process(spec: Json) -> Violation | None:
    def is_wrong(holder: Json) -> bool:
        return bool((_security(holder).get("windowsOptions") or {}).get("hostProcess"))

    names = _of_containers(spec, is_wrong)
    setters = [*(["pod"] if is_wrong(spec) else []), *([_those("container", names)] if names else [])]
    words = f"{' and '.join(setters)} must not set securityContext.windowsOptions.hostProcess=true"
    return Violation("hostProcess", words) if setters else None


def _selinux(spec: Json, types: frozenset[str]) -> Violation | None:
    wrong, bad, fields = list[str](), set[str](), set[str]()
    for name, holder in [("pod", spec), *((one["name"], one) for one in _containers(spec))]:
        options = _security(holder).get("seLinuxOptions") or {}
        its = {field for field in ("user", "role") if options.get(field)}
        kind = options.get("type") or ""
        if kind not in types or its:
            wrong.append(name)
            fields |= its
            bad |= {kind} - types
    if not wrong:
        return None
    data = [f"type{'s' if len(bad) > 1 else ''} {_quoted(sorted(bad))}"] if bad else []
    data += [f"{field} may not be set" for field in ("user", "role") if field in fields]
    words = f"{_holders(wrong)} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
    return Violation("seLinuxOptions", words)


def _holders(names: list[str]) -> str:
    containers = [name for name in names if name != "pod"]
    parts = (["pod"] if "pod" in names else []) + ([_those("container", containers)] if containers else [])
    return " and ".join(parts)


def _proc_mount(spec: Json) -> Violation | None:
    names = _of_containers(spec, lambda one: _security(one).get("procMount", "Default") != "Default")
    words = f'{_those("container", names)} must not set securityContext.procMount to "Unmasked"'
    return Violation("procMount", words) if names else None


def _profiles(spec: Json, field: str) -> tuple[list[str], list[str]]:
    """Who sets a profile that confines nothing, and which ones these are."""
    holders = [("pod", spec), *((one["name"], one) for one in _containers(spec))]
    set_types = [(name, (_security(holder).get(field) or {}).get("type")) for name, holder in holders]
    wrong = [(name, kind) for name, kind in set_types if kind is not None and kind not in CONFINED]
    return [name for name, _ in wrong], sorted({kind for _, kind in wrong})


def _unconfined(spec: Json) -> Violation | None:
    wrong, kinds = _profiles(spec, "seccompProfile")
    words = f"{_holders(wrong)} must not set securityContext.seccompProfile.type to {_quoted(kinds)}"
    return Violation("seccompProfile", words) if wrong else None


def _unconfined_by_annotation(spec: Json, annotations: Annotations) -> Violation | None:
    names = [SECCOMP_POD, *(SECCOMP_CONTAINER + one["name"] for one in _containers(spec))]
    wrong = sorted(
        f'{name}="{annotations[name]}"'
        for name in dict.fromkeys(names)
        if name in annotations
        and annotations[name] not in ("runtime/default", "docker/default")
        and not annotations[name].startswith("localhost/")
    )
    words = f"forbidden annotation{'s' if len(wrong) > 1 else ''} {', '.join(wrong)}"
    return Violation("seccompProfile", words) if wrong else None


def _apparmor(spec: Json, annotations: Annotations) -> Violation | None:
    names, values = _profiles(spec, "appArmorProfile")
    marks = sorted(
        f'{name}="{value}"'
        for name, value in annotations.items()
        if name.startswith(APPARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    )
    if not names and not marks:
        return None
    setters = [_holders(names)] if names else []
    setters += [f"annotation{'s' if len(marks) > 1 else ''}"] if marks else []
    values += marks
    what = f"forbidden AppArmor profile{'s' if len(values) > 1 else ''}"
    return Violation(what, f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(values)}")


def _sysctls(spec: Json, allowed: frozenset[str]) -> Violation | None:
    names = [one["name"] for one in _security(spec).get("sysctls") or () if one["name"] not in allowed]
    return Violation("forbidden sysctls", ", ".join(names)) if names else None


def _volume_types(spec: Json) -> Violation | None:
    wrong = {
        volume["name"]: kind
        for volume in spec.get("volumes") or ()
        for kind in volume
        if kind != "name" and kind not in SAFE_VOLUMES
    }
    if not wrong:
        return None
    kinds = sorted(set(wrong.values()))
    uses, word = "use" if len(wrong) > 1 else "uses", f"restricted volume type{'s' if len(kinds) > 1 else ''}"
    return Violation("restricted volume types", f"{_those('volume', list(wrong))} {uses} {word} {_quoted(kinds)}")


def _escalation(spec: Json) -> Violation | None:
    names = _of_containers(spec, lambda one: _security(one).get("allowPrivilegeEscalation") is not False)
    words = f"{_those('container', names)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", words) if names else None


def _dropped_capabilities(spec: Json) -> Violation | None:
    keeping = _of_containers(
        spec, lambda one: "ALL" not in ((_security(one).get("capabilities") or {}).get("drop") or ())
    )
    adding, added = _added(spec, frozenset({"NET_BIND_SERVICE"}))
    parts = []
    if keeping:
        parts.append(f'{_those("container", keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        parts.append(
            f"{_those('container', adding)} must not include {_quoted(added)} in securityContext.capabilities.add"
        )
    return Violation("unrestricted capabilities", "; ".join(parts)) if parts else None


def _non_root(spec: Json) -> Violation | None:
    pod = _security(spec).get("runAsNonRoot")
    explicit = _of_containers(spec, lambda one: _security(one).get("runAsNonRoot") is False)
    if explicit or pod is False:
        wrong = (["pod"] if pod is False else []) + explicit
        return Violation("runAsNonRoot != true", f"{_holders(wrong)} must not set securityContext.runAsNonRoot=false")
    missing = [] if pod else _of_containers(spec, lambda one: _security(one).get("runAsNonRoot") is None)
    words = f"pod or {_those('container', missing)} must set securityContext.runAsNonRoot=true"
    return Violation("runAsNonRoot != true", words) if missing else None


def _not_root_user(spec: Json) -> Violation | None:
    wrong = (["pod"] if _security(spec).get("runAsUser") == 0 else []) + _of_containers(
        spec, lambda one: _security(one).get("runAsUser") == 0
    )
    return Violation("runAsUser=0", f"{_holders(wrong)} must not set runAsUser=0") if wrong else None


def _confined(spec: Json) -> Violation | None:
    wrong = _unconfined(spec)
    if wrong is not None:
        return wrong
    is_set = bool(_security(spec).get("seccompProfile"))
    missing = [] if is_set else _of_containers(spec, lambda one: not _security(one).get("seccompProfile"))
    words = (
        f"pod or {_those('container', missing)} must set securityContext.seccompProfile.type to "
        '"RuntimeDefault" or "Localhost"'
    )
    return Violation("seccompProfile", words) if missing else None


def _of_spec(check: Callable[[Json], Violation | None], spec: Json, _: Annotations) -> Violation | None:
    return check(spec)


def _not_windows(check: Callable[[Json], Violation | None], spec: Json, _: Annotations) -> Violation | None:
    """Windows knows none of what these are about."""
    return None if (spec.get("os") or {}).get("name") == "windows" else check(spec)


def _not_in_user_namespace(check: Callable[[Json], Violation | None], spec: Json, _: Annotations) -> Violation | None:
    """Root in a user namespace is nobody outside of it."""
    return None if spec.get("hostUsers") is False else check(spec)


def _sysctl_row(since: int) -> Row:
    allowed = frozenset[str]().union(*(names for version, names in SYSCTLS.items() if version <= since))
    return Row("sysctls", "baseline", since, partial(_of_spec, lambda spec: _sysctls(spec, allowed)))


def _selinux_row(since: int, types: frozenset[str]) -> Row:
    return Row("seLinuxOptions", "baseline", since, partial(_of_spec, lambda spec: _selinux(spec, types)))


# Names and versions are upstream's.
ROWS: tuple[Row, ...] = (
    Row("appArmorProfile", "baseline", 0, _apparmor),
    Row("capabilities_baseline", "baseline", 0, partial(_of_spec, _default_capabilities)),
    Row("hostNamespaces", "baseline", 0, partial(_of_spec, _host_namespaces)),
    Row("hostPathVolumes", "baseline", 0, partial(_of_spec, _host_paths)),
    Row("hostPorts", "baseline", 0, partial(_of_spec, _host_ports)),
    Row("hostProbesAndHostLifecycle", "baseline", 34, partial(_of_spec, _handler_hosts)),
    Row("privileged", "baseline", 0, partial(_of_spec, _privileged)),
    Row("procMount", "baseline", 0, partial(_of_spec, _proc_mount)),
    Row("procMount", "baseline", 35, partial(_not_in_user_namespace, _proc_mount)),
    _selinux_row(0, SELINUX_TYPES),
    _selinux_row(31, SELINUX_TYPES | {"container_engine_t"}),
    Row("seccompProfile_baseline", "baseline", 0, _unconfined_by_annotation),
    Row("seccompProfile_baseline", "baseline", 19, partial(_of_spec, _unconfined)),
    *map(_sysctl_row, SYSCTLS),
    Row("windowsHostProcess", "baseline", 0, partial(_of_spec, _host_process)),
    Row("allowPrivilegeEscalation", "restricted", 8, partial(_of_spec, _escalation)),
    Row("allowPrivilegeEscalation", "restricted", 25, partial(_not_windows, _escalation)),
    Row("capabilities_restricted", "restricted", 22, partial(_of_spec, _dropped_capabilities), "capabilities_baseline"),
    Row("capabilities_restricted", "restricted", 25, partial(_not_windows, _dropped_capabilities), "capabilities_baseline"),
    Row("procMount_restricted", "restricted", 35, partial(_of_spec, _proc_mount), "procMount"),
    Row("restrictedVolumes", "restricted", 0, partial(_of_spec, _volume_types), "hostPathVolumes"),
    Row("runAsNonRoot", "restricted", 0, partial(_of_spec, _non_root)),
    Row("runAsNonRoot", "restricted", 35, partial(_not_in_user_namespace, _non_root)),
    Row("runAsUser", "restricted", 23, partial(_of_spec, _not_root_user)),
    Row("runAsUser", "restricted", 35, partial(_not_in_user_namespace, _not_root_user)),
    Row("seccompProfile_restricted", "restricted", 19, partial(_of_spec, _confined), "seccompProfile_baseline"),
    Row("seccompProfile_restricted", "restricted", 25, partial(_not_windows, _confined), "seccompProfile_baseline"),
)  # fmt: skip
