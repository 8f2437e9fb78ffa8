"""Names of certificate signers and of the trust bundles that belong to them."""

from kobune.api import names
from kobune.api.field_errors import invalid, quote, required, too_long
from kobune.api.names import Check
from kobune.api.validation.checks import Errors

LONGEST_PATH = names.MAX_SUBDOMAIN + names.MAX_LABEL + 1  # A namespace, a dot and a name.
LONGEST = names.MAX_SUBDOMAIN + LONGEST_PATH + 1


def check_signer_name(name: str | None, path: str, errors: Errors) -> None:
    """`example.com/my-signer`, at most 571 characters."""
    if not name:
        errors.append(required(path))
        return
    domain, slash, rest = name.partition("/")
    if not slash or "/" in rest:
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        errors.append(invalid(path, name, detail))
        return
    if len(domain) > names.MAX_SUBDOMAIN:
        errors.append(too_long(path, names.MAX_SUBDOMAIN))
    _check_parts(names.is_dns1123_label, domain, path, errors)
    if "." not in domain:
        errors.append(invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    _check_parts(names.is_dns1123_subdomain, rest, path, errors)
    if len(name) > LONGEST:
        errors.append(too_long(path, LONGEST))


def is_kubernetes_signer(name: str) -> bool:
    host = name.partition("/")[0]
    return host == "kubernetes.io" or host.endswith(".kubernetes.io")


def bundle_name(signer: str) -> Check:
    """The rule for the name of a ClusterTrustBundle of this signer, "" for one without."""

    def check(name: str) -> list[str]:
        if not signer:
            if ":" in name:
                return ['ClusterTrustBundle without signer name must not have ":" in its name']
            return names.is_dns1123_subdomain(name)
        prefix = signer.replace("/", ":") + ":"
        if not name.startswith(prefix):
            return [f"ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"]
        return names.is_dns1123_subdomain(name.removeprefix(prefix))

    return check


def signer_of_bundle(name: str) -> str:
    """The signer whose bundle this name would be; "" for none."""
    return name.rpartition(":")[0].replace(":", "/")


def _check_parts(check: Check, dotted: str, path: str, errors: Errors) -> None:
    for part in dotted.split("."):
        if wrong := check(part):
            errors.extend(invalid(path, dotted, f"validating label {quote(part)}: {message}") for message in wrong)
            return
