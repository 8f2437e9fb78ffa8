"""What is wrong with an object: every fault at once, in upstream's words. One module per subject.

Objects come decoded and defaulted: their types are right and nulls are gone, but any field may be missing.
Source: upstream pkg/apis/*/validation, and the `+required` markers of the types.
"""

from kobune.api.catalogue import Kind
from kobune.api.errors import FieldError, Json
from kobune.api.validation.checks import Errors
from kobune.api.validation.kinds import rules_of
from kobune.api.validation.metadata import check_metadata, check_metadata_update


def validate_create(kind: Kind, obj: Json) -> list[FieldError]:
    """The faults of a new object, whose name has been generated already. Empty: it may be stored."""
    rules = rules_of(kind)
    errors: Errors = []
    if rules.metadata:
        check_metadata(obj.get("metadata") or {}, kind.namespaced, rules.name(obj), errors)
    if rules.create is not None:
        rules.create(obj, errors)
    return errors


def is_valid_name(kind: Kind, name: str) -> bool:
    """Whether an object of the kind may be called so, whatever else it is."""
    return not rules_of(kind).name({"metadata": {"name": name}})(name)


def validate_update(kind: Kind, new: Json, old: Json) -> list[FieldError]:
    """The faults of `new` in the place of `old`."""
    rules = rules_of(kind)
    errors: Errors = []
    if rules.metadata:
        check_metadata_update(new.get("metadata") or {}, old.get("metadata") or {}, errors)
    if rules.update is not None:
        rules.update(new, old, errors)
    elif rules.create is not None:
        rules.create(new, errors)
    return errors


def validate_subresource_update(kind: Kind, subresource: str, new: Json, old: Json) -> list[FieldError]:
    """The faults of an update through "status", or through "resize" or "ephemeralcontainers" of a pod, "finalize" of a
    namespace, "approval" of a CertificateSigningRequest. Others check metadata alone."""
    rules = rules_of(kind)
    errors: Errors = []
    if rules.metadata:
        check_metadata_update(new.get("metadata") or {}, old.get("metadata") or {}, errors)
    check = rules.subresources.get(subresource)
    if check is not None:
        check(new, old, errors)
    return errors
