"""Failures in ARM's form: an HTTP status, a code that clients compare, a message for people."""

from kobune.api.errors import Json


class ArmError(Exception):
    """A request that is refused, or an operation that failed.

    Args:
        status: HTTP; `code`: as AKS or ARM names the case; `target`: the field, as the client wrote it.
        headers: to be sent along, for example `Retry-After`.
    """

    def __init__(
        self, status: int, code: str, message: str, *, target: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.target = target
        self.headers = headers or {}


def error_body(error: ArmError) -> Json:
    """The answer's body. az, the SDKs and Terraform all read this form."""
    body: Json = {"code": error.code, "message": str(error)}
    if error.target:
        body["target"] = error.target
    return {"error": body}


def bad_request(code: str, message: str, *, target: str = "") -> ArmError:
    return ArmError(400, code, message, target=target)


def invalid_parameter(message: str, *, target: str = "") -> ArmError:
    return ArmError(400, "InvalidParameter", message, target=target)


def not_allowed(message: str, *, status: int = 400) -> ArmError:
    return ArmError(status, "OperationNotAllowed", message)


def not_supported(feature: str, *, target: str = "") -> ArmError:
    """What AKS has and this service has not, said plainly rather than ignored."""
    return ArmError(400, "NotSupported", f"{feature} is not supported by this service.", target=target)
