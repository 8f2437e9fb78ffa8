"""Environment variables of containers."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import invalid, required
from kobune.api.validation.checks import Errors, check_name, check_required_name
from kobune.api.validation.paths import check_no_backsteps
from kobune.api.validation.references import ENV_FIELDS, check_field_ref, check_key_ref, check_resource_ref

NO_SOURCE = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
SEVERAL = "may not have more than one field specified at a time"


def check_environment(variables: list[Json], path: str, errors: Errors) -> None:
    for index, variable in enumerate(variables):
        name = variable.get("name")
        if not name or not (name.isascii() and name.isprintable() and "=" not in name):
            check_required_name(names.is_env_name, name, f"{path}[{index}].name", errors)
        source = variable.get("valueFrom")
        if source is not None:
            _check_source(source, variable.get("value"), f"{path}[{index}].valueFrom", errors)


def check_environment_sources(sources: list[Json], path: str, errors: Errors) -> None:
    """envFrom: whole ConfigMaps and Secrets."""
    for index, source in enumerate(sources):
        at = f"{path}[{index}]"
        if source.get("prefix"):
            check_name(names.is_env_name, source["prefix"], f"{at}.prefix", errors)
        present = [field for field in ("configMapRef", "secretRef") if source.get(field) is not None]
        for field in present:
            name = source[field].get("name")
            if not name:
                errors.append(required(f"{at}.{field}.name"))
            else:
                check_name(names.generate_prefix(names.is_dns1123_subdomain), name, f"{at}.{field}.name", errors)
        if not present:
            errors.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(present) > 1:
            errors.append(invalid(path, "", SEVERAL))


def _check_source(source: Json, value: str | None, path: str, errors: Errors) -> None:
    count = 0
    for field, reference in source.items():
        count += 1
        at = f"{path}.{field}"
        match field:
            case "fieldRef":
                check_field_ref(reference, ENV_FIELDS, at, errors)
            case "resourceFieldRef":
                check_resource_ref(reference, at, errors, in_volume=False)
            case "configMapKeyRef" | "secretKeyRef":
                check_key_ref(reference, at, errors)
            case "fileKeyRef":
                _check_file_key(reference, at, errors)
    if not count:
        errors.append(invalid(path, "", NO_SOURCE))
    elif value:
        errors.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif count > 1:
        errors.append(invalid(path, "", SEVERAL))


def _check_file_key(reference: Json, path: str, errors: Errors) -> None:
    check_required_name(names.is_env_name, reference.get("key"), f"{path}.key", errors)
    check_required_name(names.is_dns1123_label, reference.get("volumeName"), f"{path}.volumeName", errors)
    if not reference.get("path"):
        errors.append(required(f"{path}.path"))
    else:
        check_no_backsteps(reference["path"], f"{path}.path", errors)
