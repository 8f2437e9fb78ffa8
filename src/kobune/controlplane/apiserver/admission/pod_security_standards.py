"""The Pod Security Standards: what a pod spec does that a level forbids, in upstream's words.

Source: the published standards, and k8s.io/pod-security-admission/policy at its latest version.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from kobune.api.errors import Json

LEVELS = ("privileged", "baseline", "restricted")
DEFAULT_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
    }
)  # fmt: skip
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
SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})


class Violation(NamedTuple):
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what} ({self.detail})"


Check = Callable[[Json], Violation | None]


def violations(spec: Json, level: str) -> list[Violation]:
    """What the spec does that `level` forbids; restricted takes the place of baseline where it says more."""
    if level == "privileged":
        return []
    checks = BASELINE if level == "baseline" else (*SHARED, *RESTRICTED)
    # Windows knows none of what these are about.
    is_windows = (spec.get("os") or {}).get("name") == "windows"
    found = (check(spec) for check in checks if not (is_windows and check in LINUX_ONLY))
    return [one for one in found if one is not None]


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


def _selinux(spec: Json) -> Violation | None:
    holders = [("pod", _security(spec)), *((one["name"], _security(one)) for one in _containers(spec))]
    wrong = [
        name
        for name, security in holders
        if (options := security.get("seLinuxOptions"))
        and (options.get("type", "") not in SELINUX_TYPES or options.get("user") or options.get("role"))
    ]
    words = f"{_holders(wrong)} set forbidden securityContext.seLinuxOptions"
    return Violation("seLinuxOptions", words) if wrong else None


def _holders(names: list[str]) -> str:
    containers = [name for name in names if name != "pod"]
    parts = (["pod"] if "pod" in names else []) + ([_those("container", containers)] if containers else [])
    return " and ".join(parts)


def _proc_mount(spec: Json) -> Violation | None:
    names = _of_containers(spec, lambda one: _security(one).get("procMount", "Default") != "Default")
    words = f'{_those("container", names)} must not set securityContext.procMount to "Unmasked"'
    return Violation("procMount", words) if names else None


def _unconfined(spec: Json) -> Violation | None:
    def is_unconfined(holder: Json) -> bool:
        return (_security(holder).get("seccompProfile") or {}).get("type") == "Unconfined"

    wrong = (["pod"] if is_unconfined(spec) else []) + _of_containers(spec, is_unconfined)
    words = f'{_holders(wrong)} must not set securityContext.seccompProfile.type to "Unconfined"'
    return Violation("seccompProfile", words) if wrong else None


def _apparmor(spec: Json) -> Violation | None:
    def is_unconfined(holder: Json) -> bool:
        return (_security(holder).get("appArmorProfile") or {}).get("type") == "Unconfined"

    wrong = (["pod"] if is_unconfined(spec) else []) + _of_containers(spec, is_unconfined)
    words = f'{_holders(wrong)} must not set AppArmor profile type to "Unconfined"'
    return Violation("forbidden AppArmor profile", words) if wrong else None


def _sysctls(spec: Json) -> Violation | None:
    names = [one["name"] for one in _security(spec).get("sysctls") or () if one["name"] not in SAFE_SYSCTLS]
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
    uses, word = ("use", "types") if len(wrong) > 1 else ("uses", "type")
    if len(kinds) == 1:
        word = "type"
    detail = f"{_those('volume', list(wrong))} {uses} restricted volume {word} {_quoted(kinds)}"
    return Violation("restricted volume types", detail)


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
    def profile(holder: Json) -> str:
        return str((_security(holder).get("seccompProfile") or {}).get("type", ""))

    good = ("RuntimeDefault", "Localhost")
    wrong = (["pod"] if profile(spec) not in ("", *good) else []) + _of_containers(
        spec, lambda one: profile(one) not in ("", *good)
    )
    if wrong:
        words = f'{_holders(wrong)} must not set securityContext.seccompProfile.type to "Unconfined"'
        return Violation("seccompProfile", words)
    missing = [] if profile(spec) else _of_containers(spec, lambda one: not profile(one))
    words = (
        f"pod or {_those('container', missing)} must set securityContext.seccompProfile.type to "
        '"RuntimeDefault" or "Localhost"'
    )
    return Violation("seccompProfile", words) if missing else None


# Checks of both levels, those that only baseline has, and those that restricted has in their place.
SHARED: tuple[Check, ...] = (
    _apparmor, _host_namespaces, _host_paths, _host_ports, _handler_hosts, _privileged, _proc_mount, _selinux, _sysctls,
    _host_process,
)  # fmt: skip
BASELINE: tuple[Check, ...] = (*SHARED, _default_capabilities, _unconfined)
RESTRICTED: tuple[Check, ...] = (
    _escalation, _dropped_capabilities, _volume_types, _non_root, _not_root_user, _confined,
)  # fmt: skip
LINUX_ONLY = frozenset((_escalation, _dropped_capabilities, _confined, _unconfined))
