"""Where a webhook is: a URL or a Service. Source: upstream apiserver/pkg/util/webhook/validation.go."""

from urllib.parse import urlsplit

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import invalid, required
from kobune.api.validation.checks import Errors

FORM = "; desired format: https://host[/path]"
ACCEPTED_VERSIONS = ("v1", "v1beta1")  # Of the reviews that a webhook may be sent.


def check_client(client: Json, path: str, errors: Errors) -> None:
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        errors.append(required(path, "exactly one of url or service is required"))
    elif url is not None:
        check_url(url, f"{path}.url", errors)
    elif service is not None:
        check_service(service, f"{path}.service", errors)


def check_url(url: str, path: str, errors: Errors) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        errors.append(required(path, f"url must be a valid URL: {error}{FORM}"))
        return
    user, at_sign, host = parts.netloc.rpartition("@")
    if parts.scheme != "https":
        errors.append(invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{FORM}"))
    if not host:
        errors.append(invalid(path, "", f"host must be specified{FORM}"))
    if at_sign:
        errors.append(invalid(path, user, "user information is not permitted in the URL"))
    if parts.fragment:
        errors.append(invalid(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        errors.append(invalid(path, parts.query, "query parameters are not permitted in the URL"))


def check_service(service: Json, path: str, errors: Errors) -> None:
    for field in ("name", "namespace"):
        if not service.get(field):
            errors.append(required(f"{path}.{field}"))
    port = service.get("port", 0)
    if wrong := names.is_port_number(port):
        errors.append(invalid(f"{path}.port", port, f"port is not valid: {', '.join(wrong)}"))
    _check_path(service.get("path") or "/", f"{path}.path", errors)


def check_review_versions(versions: list[str], path: str, errors: Errors, *, known: bool, missing: str = "") -> None:
    """Args: known: at least one must be a version that this server sends."""
    if not versions:
        errors.append(required(path, missing))
        return
    seen: set[str] = set()
    for index, version in enumerate(versions):
        if version in seen:
            errors.append(invalid(f"{path}[{index}]", version, "duplicate version"))
            continue
        seen.add(version)
        errors.extend(invalid(f"{path}[{index}]", version, message) for message in names.is_dns1035_label(version))
    if known and not seen & set(ACCEPTED_VERSIONS):
        errors.append(invalid(path, versions, f"must include at least one of {', '.join(ACCEPTED_VERSIONS)}"))


def _check_path(path: str, at: str, errors: Errors) -> None:
    if path == "/":
        return
    if path == "//":
        errors.append(invalid(at, path, "segment[0] may not be empty"))
        return
    if not path.startswith("/"):
        errors.append(invalid(at, path, "must start with a '/'"))
    for index, step in enumerate(path[1:].removesuffix("/").split("/")):
        if not step:
            errors.append(invalid(at, path, f"segment[{index}] may not be empty"))
        else:
            wrong = names.is_dns1123_subdomain(step)
            errors.extend(invalid(at, path, f"segment[{index}]: {message}") for message in wrong)
