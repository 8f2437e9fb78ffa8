"""StorageVersionMigrations."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import IMMUTABLE, invalid, required
from kobune.api.validation.checks import Errors, check_immutable
from kobune.api.validation.kinds import Rules
from kobune.api.validation.statuses import check_conditions


def check_migration(migration: Json, errors: Errors) -> None:
    resource = (migration.get("spec") or {}).get("resource") or {}
    name, group = resource.get("resource") or "", resource.get("group") or ""
    if not name:
        errors.append(required("spec.resource.resource", "resource is required to be set"))
    elif wrong := names.is_dns1035_label(name):
        errors.append(invalid("spec.resource.resource", name, ",".join(wrong)))
    if group and (wrong := names.is_dns1123_subdomain(group)):
        errors.append(invalid("spec.resource.group", group, ",".join(wrong)))


def check_migration_update(new: Json, old: Json, errors: Errors) -> None:
    check_migration(new, errors)
    check_immutable(new, old, "spec", "spec", errors)


def check_migration_status(new: Json, old: Json, errors: Errors) -> None:
    after, before = new.get("status") or {}, old.get("status") or {}
    version, conditions = after.get("resourceVersion") or "", after.get("conditions") or []
    if version and not (version.isascii() and version.isdigit() and not version.startswith("0")):
        errors.append(invalid("status.resourceVersion", version, f"resource version is not well formed: {version}"))
    check_conditions(conditions, "status.conditions", errors)
    if before.get("resourceVersion") and version != before["resourceVersion"]:
        errors.append(invalid("status.resourceVersion", version, IMMUTABLE))
    if _is_true(after, "Succeeded") and _is_true(after, "Failed"):
        detail = "Both success and failed conditions cannot be true at the same time"
        errors.append(invalid("status.conditions", conditions, detail))
    for condition, what in (("Succeeded", "Success"), ("Failed", "Failed")):
        if _is_true(before, condition) and not _is_true(after, condition):
            detail = f"{what} condition cannot be set to false once it is true"
            errors.append(invalid("status.conditions", conditions, detail))


def _is_true(status: Json, condition: str) -> bool:
    return any(
        each.get("type") == condition and each.get("status") == "True" for each in status.get("conditions") or ()
    )


RULES = {
    "StorageVersionMigration": Rules(check_migration, check_migration_update, {"status": check_migration_status}),
}
