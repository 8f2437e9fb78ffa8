"""What is asked and answered, never kept: access reviews, tokens."""

from kobune.api.errors import Json
from kobune.api.field_errors import invalid, required
from kobune.api.validation.checks import Errors
from kobune.api.validation.kinds import Rules
from kobune.api.validation.selectors import check_operator

SHORTEST, LONGEST = 600, 2**32  # Seconds that a token may last.
KNOWN_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def check_token_request(request: Json, errors: Errors) -> None:
    seconds = (request.get("spec") or {}).get("expirationSeconds", 0)
    if seconds < SHORTEST:
        detail = "may not specify a duration less than 10 minutes"
        errors.append(invalid("spec.expirationSeconds", seconds, detail))
    if seconds > LONGEST:
        detail = "may not specify a duration larger than 2^32 seconds"
        errors.append(invalid("spec.expirationSeconds", seconds, detail))


def check_access_review(review: Json, errors: Errors) -> None:
    _check_subject_spec(review.get("spec") or {}, errors)
    _check_no_metadata(review, errors)


def check_own_access_review(review: Json, errors: Errors) -> None:
    _check_attributes(review.get("spec") or {}, errors)
    _check_resource(review.get("spec") or {}, errors)
    _check_no_metadata(review, errors)


def check_local_access_review(review: Json, errors: Errors) -> None:
    spec, metadata = review.get("spec") or {}, review.get("metadata") or {}
    _check_subject_spec(spec, errors)
    if any(value for field, value in metadata.items() if field not in ("namespace", "managedFields")):
        errors.append(invalid("metadata", metadata, "must be empty except for namespace"))
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    namespace = (resource or {}).get("namespace") or ""
    if resource is not None and namespace != (metadata.get("namespace") or ""):
        errors.append(invalid("spec.resourceAttributes.namespace", namespace, "must match metadata.namespace"))
    if other is not None:
        errors.append(invalid("spec.nonResourceAttributes", other, "disallowed on this kind of request"))


def _check_subject_spec(spec: Json, errors: Errors) -> None:
    _check_attributes(spec, errors)
    if not spec.get("user") and not spec.get("groups"):
        errors.append(invalid("spec.user", "", "at least one of user or group must be specified"))
    _check_resource(spec, errors)


def _check_attributes(spec: Json, errors: Errors) -> None:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and other is not None:
        detail = "cannot be specified in combination with resourceAttributes"
        errors.append(invalid("spec.nonResourceAttributes", other, detail))
    if resource is None and other is None:
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        errors.append(invalid("spec.resourceAttributes", None, detail))


def _check_resource(spec: Json, errors: Errors) -> None:
    resource = spec.get("resourceAttributes") or {}
    for field in ("fieldSelector", "labelSelector"):
        selector, path = resource.get(field), f"spec.resourceAttributes.{field}"
        if selector is None:
            continue
        raw, requirements = selector.get("rawSelector"), selector.get("requirements")
        if raw and requirements:
            detail = "may not specified at the same time as requirements"
            errors.append(invalid(f"{path}.rawSelector", raw, detail))
        if not raw and not requirements:
            detail = f"when {path} is specified, requirements or rawSelector is required"
            errors.append(required(f"{path}.requirements", detail))
        for index, each in enumerate(requirements or ()):
            at, operator = f"{path}.requirements[{index}]", each.get("operator") or ""
            # Newer clients may know operators that this server does not.
            if operator in KNOWN_OPERATORS:
                check_operator(operator, len(each.get("values") or ()), at, errors)
            if field == "fieldSelector" and not each.get("key"):
                errors.append(required(f"{at}.key", "must be specified"))


def _check_no_metadata(review: Json, errors: Errors) -> None:
    metadata = review.get("metadata") or {}
    if any(value for field, value in metadata.items() if field != "managedFields"):
        errors.append(invalid("metadata", metadata, "must be empty"))


RULES = {
    "LocalSubjectAccessReview": Rules(check_local_access_review, metadata=False),
    "SelfSubjectAccessReview": Rules(check_own_access_review, metadata=False),
    "SelfSubjectReview": Rules(metadata=False),
    "SelfSubjectRulesReview": Rules(metadata=False),
    "SubjectAccessReview": Rules(check_access_review, metadata=False),
    "TokenRequest": Rules(check_token_request, metadata=False),
    "TokenReview": Rules(metadata=False),
}
