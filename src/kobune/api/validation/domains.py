"""Names that carry the domain of whoever gives them."""

from kobune.api import names
from kobune.api.field_errors import invalid, required
from kobune.api.validation.checks import Errors, check_name


def check_domain_path(value: str | None, path: str, errors: Errors) -> None:
    """`acme.io/foo`: a domain, a slash, and what may stand in a URL."""
    if not value:
        errors.append(required(path))
        return
    domain, _, rest = value.partition("/")
    if not domain or not rest:
        errors.append(invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")'))
        return
    check_name(names.is_dns1123_subdomain, domain, path, errors)
    if not names.is_http_path(rest):
        errors.append(invalid(path, rest, names.regex_text("Invalid path", names.HTTP_PATH)))


def check_qualified_domain(value: str | None, path: str, errors: Errors) -> None:
    """A domain of at least three parts, such as names a webhook."""
    if not value:
        errors.append(required(path))
    elif wrong := names.is_dns1123_subdomain(value):
        errors.append(invalid(path, value, ",".join(wrong)))
    elif value.count(".") < 2:
        errors.append(invalid(path, value, "should be a domain with at least three segments separated by dots"))
