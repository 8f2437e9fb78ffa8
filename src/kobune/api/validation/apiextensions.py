"""CustomResourceDefinitions.

Where all versions agree on a part, upstream holds it once, above them, and its errors name that place:
`spec.validation.openAPIV3Schema`, not `spec.versions[0].schema.openAPIV3Schema`.
"""

from typing import Any
from urllib.parse import urlsplit

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import duplicate, forbidden, invalid, quote, required, too_many
from kobune.api.names import Check
from kobune.api.validation.checks import Errors, check_immutable, check_one_of, same
from kobune.api.validation.custom_schemas import check_schema, field_type
from kobune.api.validation.definition_rules import check_rules
from kobune.api.validation.kinds import Rules
from kobune.api.validation.webhooks import check_client, check_review_versions

APPROVED = "api-approved.kubernetes.io"
PROTECTED = ("k8s.io", "kubernetes.io")
PROPOSAL = "see https://github.com/kubernetes/enhancements/pull/1111"
COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
LONGEST_WARNING, MAX_SELECTABLE = 256, 8
SELECTABLE = (
    "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
)
PRESERVE = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"


def definition_name(definition: Json) -> Check:
    spec = definition.get("spec") or {}
    expected = f"{(spec.get('names') or {}).get('plural') or ''}.{spec.get('group') or ''}"

    def check(name: str) -> list[str]:
        wrong = names.is_dns1123_subdomain(name)
        return wrong if name == expected else [*wrong, 'must be spec.names.plural+"."+spec.group']

    return check


def check_definition(definition: Json, errors: Errors) -> None:
    _check_spec(definition.get("spec") or {}, errors, [])
    check_definition_status(definition, {}, errors)
    _check_stored_versions(definition, errors)
    _check_approval(definition, None, errors)
    if (definition.get("spec") or {}).get("preserveUnknownFields"):
        errors.append(invalid("spec.preserveUnknownFields", True, PRESERVE))


def check_definition_update(new: Json, old: Json, errors: Errors) -> None:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    known = [(version.get("schema") or {}).get("openAPIV3Schema") for version in before.get("versions") or ()]
    _check_spec(after, errors, [schema for schema in known if schema is not None])
    if _is_established(old):
        check_immutable(after, before, "scope", "spec.scope", errors)
        _check_same_name(after, before, "kind", errors)
    check_immutable(after, before, "group", "spec.group", errors)
    _check_same_name(after, before, "plural", errors)
    check_definition_status(new, old, errors)
    _check_stored_versions(new, errors)
    _check_approval(new, old, errors)
    if after.get("preserveUnknownFields") and not before.get("preserveUnknownFields"):
        errors.append(invalid("spec.preserveUnknownFields", True, PRESERVE))


def check_definition_status(new: Json, old: Json, errors: Errors) -> None:
    _check_names((new.get("status") or {}).get("acceptedNames") or {}, "status.acceptedNames", errors)


def _check_spec(spec: Json, errors: Errors, known: list[Json]) -> None:
    group, versions, own = spec.get("group") or "", spec.get("versions") or [], spec.get("names") or {}
    if not group:
        errors.append(required("spec.group"))
    elif wrong := names.is_dns1123_subdomain(group):
        errors.append(invalid("spec.group", group, ",".join(wrong)))
    elif "." not in group:
        errors.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    check_one_of(spec.get("scope"), ("Cluster", "Namespaced"), "spec.scope", errors)
    for index, version in enumerate(versions):
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            errors.append(required(f"spec.versions[{index}].schema.openAPIV3Schema"))
    _check_versions(versions, known, errors)
    for field in ("plural", "singular", "kind", "listKind"):
        if not own.get(field):
            errors.append(required(f"spec.names.{field}"))
    _check_names(own, "spec.names", errors)
    _check_conversion(spec.get("conversion"), "spec.conversion", errors)


def _check_versions(versions: list[Json], known: list[Json], errors: Errors) -> None:
    """`known`: the schemas that the definition has had before."""
    seen = [version.get("name") or "" for version in versions]
    for index, version in enumerate(versions):
        path, warning = f"spec.versions[{index}]", version.get("deprecationWarning")
        if wrong := names.is_dns1035_label(seen[index]):
            errors.append(invalid(f"{path}.name", seen[index], ",".join(wrong)))
        if warning is not None:
            _check_warning(warning, bool(version.get("deprecated")), f"{path}.deprecationWarning", errors)
    for path, version, parts in _parts(versions, "schema", "validation"):
        if parts is not None:
            has_status = (version.get("subresources") or {}).get("status") is not None
            schema, where, before = parts.get("openAPIV3Schema"), f"{path}.openAPIV3Schema", len(errors)
            check_schema(schema, where, errors, has_status=has_status)
            if schema is not None and len(errors) == before:
                check_rules(schema, where, errors, is_unchanged=schema in known)
    for path, _, subresources in _parts(versions, "subresources", "subresources"):
        _check_scale((subresources or {}).get("scale"), f"{path}.scale", errors)
    for path, _, columns in _parts(versions, "additionalPrinterColumns", "additionalPrinterColumns"):
        for index, column in enumerate(columns or ()):
            _check_column(column, f"{path}[{index}]", errors)
    for path, version, fields in _parts(versions, "selectableFields", "selectableFields"):
        _check_selectable(fields or [], (version.get("schema") or {}).get("openAPIV3Schema"), path, errors)
    if len(set(seen)) != len(seen):
        errors.append(invalid("spec.versions", versions, "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        errors.append(
            invalid("spec.versions", versions or None, "must have exactly one version marked as storage version")
        )


def _parts(versions: list[Json], field: str, above: str) -> list[tuple[str, Json, Any]]:
    """A part of each version with where upstream has it and a version it is of; once, if all have the same."""
    if not versions:
        return []
    first = versions[0].get(field)
    if all(same(version.get(field), first) for version in versions):
        return [(f"spec.{above}", versions[0], first)]
    return [(f"spec.versions[{index}].{field}", each, each.get(field)) for index, each in enumerate(versions)]


def _check_warning(warning: str, deprecated: bool, path: str, errors: Errors) -> None:
    if not deprecated:
        errors.append(invalid(path, warning, "can only be set for deprecated versions"))
        return
    if len(warning.encode()) > LONGEST_WARNING:
        errors.append(invalid(path, warning, f"must be <= {LONGEST_WARNING} characters long"))
    if not warning:
        errors.append(invalid(path, warning, "must not be an empty string"))
    odd = next((at for at, char in enumerate(warning) if not char.isprintable()), None)
    if odd is not None:
        detail = "must only contain printable UTF-8 characters; non-printable character found at index"
        errors.append(invalid(path, warning, f"{detail} {len(warning[:odd].encode())}"))


def _check_names(own: Json, path: str, errors: Errors) -> None:
    for field in ("plural", "singular"):
        value = own.get(field)
        if value and (wrong := names.is_dns1035_label(value)):
            errors.append(invalid(f"{path}.{field}", value, ",".join(wrong)))
    for field in ("kind", "listKind"):
        value = own.get(field)
        if value and (wrong := names.is_dns1035_label(value.lower())):
            detail = f"may have mixed case, but should otherwise match: {','.join(wrong)}"
            errors.append(invalid(f"{path}.{field}", value, detail))
    if own.get("kind") and own["kind"] == own.get("listKind"):
        errors.append(invalid(f"{path}.listKind", own["kind"], "kind and listKind may not be the same"))
    for field in ("shortNames", "categories"):
        for index, value in enumerate(own.get(field) or ()):
            if wrong := names.is_dns1035_label(value):
                errors.append(invalid(f"{path}.{field}[{index}]", value, ",".join(wrong)))


def _check_scale(scale: Json | None, path: str, errors: Errors) -> None:
    if scale is None:
        return
    for field, roots in (("specReplicasPath", (".spec.",)), ("statusReplicasPath", (".status.",))):
        if not scale.get(field):
            errors.append(required(f"{path}.{field}"))
        else:
            _check_path(scale[field], roots, f"under {roots[0][:-1]}", f"{path}.{field}", errors)
    selector = scale.get("labelSelectorPath")
    if selector:
        where = "under either .spec or .status"
        _check_path(selector, (".spec.", ".status."), where, f"{path}.labelSelectorPath", errors)


def _check_path(value: str, roots: tuple[str, ...], where: str, path: str, errors: Errors) -> None:
    if not value.startswith("."):
        errors.append(invalid(path, value, "must be a simple json path starting with ."))
    elif not value.startswith(roots):
        errors.append(invalid(path, value, f"should be a json path {where}"))


def _check_column(column: Json, path: str, errors: Errors) -> None:
    name, kind, form, at = (column.get(field) or "" for field in ("name", "type", "format", "jsonPath"))
    if not name:
        errors.append(required(f"{path}.name"))
    detail = f"must be one of {','.join(COLUMN_TYPES)}"
    if not kind:
        errors.append(required(f"{path}.type", detail))
    elif kind not in COLUMN_TYPES:
        errors.append(invalid(f"{path}.type", kind, detail))
    if form and form not in COLUMN_FORMATS:
        errors.append(invalid(f"{path}.format", form, f"must be one of {','.join(COLUMN_FORMATS)}"))
    if not at:
        errors.append(required(f"{path}.JSONPath"))
    elif not at.startswith("."):
        errors.append(invalid(f"{path}.JSONPath", at, "must be a simple json path starting with ."))


def _check_selectable(fields: list[Json], schema: Json | None, path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for index, each in enumerate(fields):
        at, field = f"{path}[{index}].jsonPath", each.get("jsonPath") or ""
        if not field:
            errors.append(required(at))
            continue
        try:
            kind = field_type(schema or {}, field)
        except ValueError as error:
            errors.append(invalid(at, field, f"is an invalid path: {error}"))
            continue
        if field.split(".")[1] == "metadata":
            errors.append(invalid(at, field, "must not point to fields in metadata"))
        if kind not in ("string", "boolean", "integer"):
            errors.append(invalid(at, field, SELECTABLE))
        if field in seen:
            errors.append(duplicate(at, field))
        seen.add(field)
    if len(seen) > MAX_SELECTABLE:
        errors.append(too_many(path, len(seen), MAX_SELECTABLE))


def _check_conversion(conversion: Json | None, path: str, errors: Errors) -> None:
    """Upstream's errors call the webhook's client config after an older version's field."""
    if conversion is None:
        return
    strategy = conversion.get("strategy")
    check_one_of(strategy, ("None", "Webhook"), f"{path}.strategy", errors)
    webhook = conversion.get("webhook") or {}
    client, versions = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    if strategy == "Webhook":
        if client is None:
            errors.append(required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook"))
        else:
            check_client(client, f"{path}.webhookClientConfig", errors)
        check_review_versions(versions, f"{path}.conversionReviewVersions", errors, known=True)
        return
    for field, value in (("webhookClientConfig", client), ("conversionReviewVersions", versions)):
        if value is not None and value != []:
            errors.append(forbidden(f"{path}.{field}", "should not be set when strategy is not set to Webhook"))


def _check_same_name(new: Json, old: Json, field: str, errors: Errors) -> None:
    check_immutable(new.get("names") or {}, old.get("names") or {}, field, f"spec.names.{field}", errors)


def _check_stored_versions(definition: Json, errors: Errors) -> None:
    stored, path = (definition.get("status") or {}).get("storedVersions") or [], "status.storedVersions"
    if not stored:
        errors.append(invalid(path, None, "must have at least one stored version"))
        return
    served = set()
    for version in (definition.get("spec") or {}).get("versions") or ():
        name = version.get("name") or ""
        served.add(name)
        if version.get("storage") and name not in stored:
            errors.append(invalid(path, stored, f"must have the storage version {name}"))
    for index, name in enumerate(stored):
        if name not in served:
            detail = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions"
                f" until a storage migration ensures no data remains persisted in {name} and removes {name} from"
                " status.storedVersions"
            )
            errors.append(invalid(f"{path}[{index}]", name, detail))


def _check_approval(new: Json, old: Json | None, errors: Errors) -> None:
    """A definition in one of the community's groups says where it was approved, or why it was not."""
    group = (new.get("spec") or {}).get("group") or ""
    if not any(group == domain or group.endswith(f".{domain}") for domain in PROTECTED):
        return
    value = _approval(new)
    state = _approval_state(value)
    if state == "approved" or (old is not None and _approval_state(_approval(old)) == state):
        return
    path, detail = (
        f"metadata.annotations[{APPROVED}]",
        f"protected groups must have approval annotation {quote(APPROVED)}",
    )
    if state == "missing":
        errors.append(required(path, f"{detail}, {PROPOSAL}"))
    elif state == "invalid":
        errors.append(
            invalid(path, value, f'{detail} with either a URL or a reason starting with "unapproved", {PROPOSAL}')
        )


def _approval(definition: Json) -> str:
    return ((definition.get("metadata") or {}).get("annotations") or {}).get(APPROVED) or ""


def _approval_state(value: str) -> str:
    if not value:
        return "missing"
    if value.startswith("unapproved"):
        return "bypassed"
    try:
        parts = urlsplit(value)
    except ValueError:
        return "invalid"
    return "approved" if parts.scheme and parts.netloc else "invalid"


def _is_established(definition: Json) -> bool:
    return any(
        condition.get("type") == "Established" and condition.get("status") == "True"
        for condition in (definition.get("status") or {}).get("conditions") or ()
    )


RULES = {
    "CustomResourceDefinition": Rules(
        check_definition, check_definition_update, {"status": check_definition_status}, definition_name
    ),
}
