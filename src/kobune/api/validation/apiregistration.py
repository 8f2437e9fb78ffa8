"""APIServices."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import invalid, not_supported, quote, required
from kobune.api.names import Check
from kobune.api.validation.checks import Errors, check_name
from kobune.api.validation.kinds import Rules

MAX_GROUP_PRIORITY, MAX_VERSION_PRIORITY = 20_000, 1_000
STATUSES = ("True", "False", "Unknown")


def service_name(service: Json) -> Check:
    """The name is that of the version it registers."""
    spec = service.get("spec") or {}
    expected = f"{spec.get('version') or ''}.{spec.get('group') or ''}"

    def check(name: str) -> list[str]:
        if wrong := names.is_path_segment_name(name):
            return wrong
        return [] if name == expected else [f'must be `spec.version+"."+spec.group`: {quote(expected)}']

    return check


def check_service(service: Json, errors: Errors) -> None:
    spec = service.get("spec") or {}
    group, version, backend = spec.get("group") or "", spec.get("version") or "", spec.get("service")
    if not group and version != "v1":
        detail = "only v1 may have an empty group and it better be legacy kube"
        errors.append(required("spec.group", detail))
    if group:
        check_name(names.is_dns1123_subdomain, group, "spec.group", errors)
    check_name(names.is_dns1035_label, version, "spec.version", errors)
    for field, most in (("groupPriorityMinimum", MAX_GROUP_PRIORITY), ("versionPriority", MAX_VERSION_PRIORITY)):
        priority = spec.get(field, 0)
        if not 0 < priority <= most:
            errors.append(invalid(f"spec.{field}", priority, f"must be positive and less than {most}"))
    bundle, skips = spec.get("caBundle") or "", bool(spec.get("insecureSkipTLSVerify"))
    if backend is None:
        if bundle:
            size = len(bundle.rstrip("=")) * 3 // 4
            errors.append(invalid("spec.caBundle", f"{size} bytes", "local APIServices may not have a caBundle"))
        if skips:
            detail = "local APIServices may not have insecureSkipTLSVerify"
            errors.append(invalid("spec.insecureSkipTLSVerify", skips, detail))
        return
    for field in ("namespace", "name"):
        if not backend.get(field):
            errors.append(required(f"spec.service.{field}"))
    port = backend.get("port", 0)
    if wrong := names.is_port_number(port):
        errors.append(invalid("spec.service.port", port, f"port is not valid: {','.join(wrong)}"))
    if skips and bundle:
        errors.append(invalid("spec.insecureSkipTLSVerify", skips, "may not be true if caBundle is present"))


def check_service_status(new: Json, old: Json, errors: Errors) -> None:
    for index, condition in enumerate((new.get("status") or {}).get("conditions") or ()):
        status = condition.get("status") or ""
        if status not in STATUSES:
            errors.append(not_supported(f"status.conditions[{index}].status", status, STATUSES))


RULES = {"APIService": Rules(check_service, subresources={"status": check_service_status}, name=service_name)}
