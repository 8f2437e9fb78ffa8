"""Failures a caller is told about: one class per Kubernetes StatusReason, rendered as a `Status` object at the edge."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field of a request."""

    field: str  # As the user wrote it: "spec.replicas".
    reason: str  # "FieldValueRequired", "FieldValueInvalid", …
    message: str  # With the bad value, without the field: 'Invalid value: "A": must be lower case'.


class ApiError(Exception):
    """A failure the caller is told about; subclasses are Kubernetes StatusReasons.

    Args:
        message: upstream's wording, complete.
        causes: every invalid field, for `Invalid`.
        group, resource, name, uid: what the failure is about, for `Status.details`; empty when it is about nothing in
            particular. `resource` is the plural, except in `Invalid`, where upstream gives the kind.
        retry_after_seconds: when to try again; 0 is not said.

    `continue_` is a token with which a list that cannot go on as it was goes on nevertheless.
    """

    code, reason = 500, "InternalError"
    continue_ = ""

    def __init__(
        self,
        message: str,
        *causes: FieldError,
        group: str = "",
        resource: str = "",
        name: str = "",
        uid: str = "",
        retry_after_seconds: int = 0,
    ) -> None:
        super().__init__(message)
        self.causes = causes
        self.group = group
        self.resource = resource
        self.name = name
        self.uid = uid
        self.retry_after_seconds = retry_after_seconds


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    code, reason = 409, "Conflict"


class Gone(ApiError):
    """The history asked for is no longer kept; list again."""

    code, reason = 410, "Expired"


class RequestEntityTooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    code, reason = 504, "Timeout"


class InsufficientStorage(ApiError):
    code, reason = 507, "InsufficientStorage"


ERRORS: tuple[type[ApiError], ...] = (
    BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, AlreadyExists, Conflict, Gone,
    RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, ServiceUnavailable, Timeout,
    InsufficientStorage,
)  # fmt: skip


# Reasons whose Status always has details, be they empty; so have those of the router, which says the code itself.
DETAILED = frozenset(("AlreadyExists", "Conflict", "Forbidden", "Invalid", "MethodNotAllowed", "NotFound"))


def status_of(error: ApiError) -> Json:
    """The v1 `Status` object for a failed request."""
    details: Json = {}
    if error.name:
        details["name"] = error.name
    if error.group:
        details["group"] = error.group
    if error.resource:
        details["kind"] = error.resource
    if error.uid:
        details["uid"] = error.uid
    if error.causes:
        details["causes"] = [_cause(cause) for cause in error.causes]
    if error.retry_after_seconds:
        details["retryAfterSeconds"] = error.retry_after_seconds
    status: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": str(error)}
    status["reason"] = error.reason
    if error.continue_:
        status["metadata"] = {"continue": error.continue_}
    if details or error.reason in DETAILED or status["message"].startswith(f"{error.code}: "):
        status["details"] = details
    status["code"] = error.code
    return status


def _cause(cause: FieldError) -> Json:
    parts = {"reason": cause.reason, "message": cause.message, "field": cause.field}
    return {name: value for name, value in parts.items() if value}


def error_from_status(status: Mapping[str, Any]) -> ApiError:
    """The exception for a `Status` answer: the class of its reason, else of its code, else plain ApiError."""
    reason, code = status.get("reason", ""), status.get("code", 500)
    by_reason = (error for error in ERRORS if error.reason == reason)
    by_code = (error for error in ERRORS if error.code == code)
    cls = next(by_reason, None) or next(by_code, ApiError)
    details = status.get("details") or {}
    causes = [
        FieldError(cause.get("field", ""), cause.get("reason", ""), cause.get("message", ""))
        for cause in details.get("causes") or ()
    ]
    return cls(
        status.get("message", ""),
        *causes,
        group=details.get("group", ""),
        resource=details.get("kind", ""),
        name=details.get("name", ""),
        uid=details.get("uid", ""),
        retry_after_seconds=details.get("retryAfterSeconds", 0),
    )


def not_found(resource: str, name: str, *, group: str = "") -> NotFound:
    """`pods "web" not found`; `deployments.apps "web" not found`."""
    return NotFound(f'{qualified(resource, group)} "{name}" not found', group=group, resource=resource, name=name)


def already_exists(resource: str, name: str, *, group: str = "") -> AlreadyExists:
    """`pods "web" already exists`."""
    message = f'{qualified(resource, group)} "{name}" already exists'
    return AlreadyExists(message, group=group, resource=resource, name=name)


def conflict(resource: str, name: str, why: str, *, group: str = "") -> Conflict:
    """`Operation cannot be fulfilled on pods "web": WHY`."""
    message = f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}'
    return Conflict(message, group=group, resource=resource, name=name)


def forbidden(resource: str, name: str, why: str, *, group: str = "") -> Forbidden:
    """`pods "web" is forbidden: WHY`; without a name `pods is forbidden: WHY`."""
    subject = f'{qualified(resource, group)} "{name}"' if name else qualified(resource, group)
    return Forbidden(f"{subject} is forbidden: {why}", group=group, resource=resource, name=name)


def invalid(kind: str, name: str, *causes: FieldError, group: str = "") -> Invalid:
    """`Pod "web" is invalid: FIELD: MESSAGE`; several causes stand in brackets, as upstream aggregates them."""
    text = aggregated(causes)
    return Invalid(
        f'{qualified(kind, group)} "{name}" is invalid: {text}', *causes, group=group, resource=kind, name=name
    )


def aggregated(causes: Iterable[FieldError]) -> str:
    """Each different `FIELD: MESSAGE` once; several stand in brackets."""
    parts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    return parts[0] if len(parts) == 1 else f"[{', '.join(parts)}]"


def qualified(resource: str, group: str) -> str:
    """`deployments.apps`; the core group adds nothing."""
    return f"{resource}.{group}" if group else resource
