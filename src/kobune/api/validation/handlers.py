"""Probes and lifecycle hooks of containers."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import forbidden, invalid, not_supported, required
from kobune.api.validation.checks import Errors, check_name, check_not_negative, check_port, check_port_or_name

HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
WINDOWS_SIGNALS = ("SIGKILL", "SIGTERM")
_SIGNALS = """
ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT RTMAX RTMIN SEGV STKFLT STOP SYS TERM TRAP TSTP
TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ
"""
_REAL_TIME = [*(f"RTMIN+{offset}" for offset in range(1, 16)), *(f"RTMAX-{offset}" for offset in range(1, 15))]
LINUX_SIGNALS = tuple(sorted(f"SIG{name}" for name in _SIGNALS.split() + _REAL_TIME))


def check_probes(container: Json, grace: int | None, path: str, errors: Errors) -> None:
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(field)
        if probe is None:
            continue
        at = f"{path}.{field}"
        _check_probe(probe, grace, at, errors)
        if field == "readinessProbe":
            seconds = probe.get("terminationGracePeriodSeconds")
            if seconds is not None:
                errors.append(
                    invalid(f"{at}.terminationGracePeriodSeconds", seconds, "must not be set for readinessProbes")
                )
        elif probe.get("successThreshold") != 1:
            errors.append(invalid(f"{at}.successThreshold", probe.get("successThreshold", 0), "must be 1"))


def check_lifecycle(lifecycle: Json, grace: int | None, os: str, path: str, errors: Errors) -> None:
    """Args: grace: the pod's terminationGracePeriodSeconds; os: of the pod, "" when not said."""
    for field in ("postStart", "preStop"):
        if lifecycle.get(field) is not None:
            check_handler(lifecycle[field], grace, f"{path}.{field}", errors)
    signal = lifecycle.get("stopSignal")
    if signal is not None:
        at = f"{path}.stopSignal"
        if not os:
            errors.append(forbidden(at, "may not be set for containers with empty `spec.os.name`"))
        elif os in ("windows", "linux"):
            supported = WINDOWS_SIGNALS if os == "windows" else LINUX_SIGNALS
            if signal not in supported:
                errors.append(not_supported(at, signal, supported))


def check_handler(handler: Json, grace: int | None, path: str, errors: Errors) -> None:
    present = [field for field in HANDLERS if field in handler]
    for field in present[1:]:
        errors.append(forbidden(f"{path}.{field}", "may not specify more than 1 handler type"))
    if not present:
        errors.append(required(path, "must specify a handler type"))
        return
    field = present[0]
    action, at = handler[field], f"{path}.{field}"
    match field:
        case "exec":
            if not action.get("command"):
                errors.append(required(f"{at}.command"))
        case "httpGet":
            _check_http_get(action, at, errors)
        case "tcpSocket":
            check_port_or_name(action.get("port"), f"{at}.port", errors)
        case "grpc":
            check_port(action.get("port"), f"{at}.port", errors)
        case "sleep":
            seconds = action.get("seconds", 0)
            if grace is not None and not 0 <= seconds <= grace:
                detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                errors.append(invalid(at, seconds, detail))


def _check_probe(probe: Json, grace: int | None, path: str, errors: Errors) -> None:
    check_handler(probe, grace, path, errors)
    for field in COUNTS:
        check_not_negative(probe, field, path, errors)
    seconds = probe.get("terminationGracePeriodSeconds")
    if seconds is not None and seconds <= 0:
        errors.append(invalid(f"{path}.terminationGracePeriodSeconds", seconds, "must be greater than 0"))


def _check_http_get(action: Json, path: str, errors: Errors) -> None:
    if not action.get("path"):
        errors.append(required(f"{path}.path"))
    check_port_or_name(action.get("port"), f"{path}.port", errors)
    if action.get("scheme") not in ("HTTP", "HTTPS"):
        errors.append(not_supported(f"{path}.scheme", action.get("scheme") or "", ("HTTP", "HTTPS")))
    for header in action.get("httpHeaders") or ():
        check_name(names.is_http_header_name, header.get("name") or "", f"{path}.httpHeaders", errors)
