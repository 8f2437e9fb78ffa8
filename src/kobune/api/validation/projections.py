"""Projected and downward API volumes: many sources, one directory."""

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import forbidden, invalid, not_supported, required, too_long
from kobune.api.validation.checks import Errors
from kobune.api.validation.memo import remembered
from kobune.api.validation.metadata import MAX_ANNOTATIONS
from kobune.api.validation.paths import check_file, check_key_to_path, check_mode
from kobune.api.validation.references import VOLUME_FIELDS, check_field_ref, check_resource_ref
from kobune.api.validation.selectors import check_label_selector
from kobune.api.validation.signers import bundle_name, check_signer_name, is_kubernetes_signer, signer_of_bundle

SHORTEST_TOKEN, LONGEST_TOKEN = 600, 1 << 32  # Seconds.
KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
SHORTEST_CERTIFICATE = 3600
LONGEST_CERTIFICATE = 91 * 24 * 3600
LONGEST_KUBERNETES_CERTIFICATE = 24 * 3600
CERTIFICATE_PATHS = ("credentialBundlePath", "keyPath", "certificateChainPath")


@remembered
def check_projected(volume: Json, path: str, errors: Errors) -> None:
    check_mode(volume.get("defaultMode"), f"{path}.defaultMode", errors)
    taken: set[str] = set()
    for index, source in enumerate(volume.get("sources") or ()):
        at = f"{path}.sources[{index}]"
        for field in ("secret", "configMap"):
            if source.get(field) is not None:
                _check_keys(source[field], f"{at}.{field}", path, taken, errors)
        if source.get("downwardAPI") is not None:
            for file in source["downwardAPI"].get("items") or ():
                check_downward_file(file, f"{at}.downwardAPI", errors)
                _take(file.get("path"), file.get("path"), taken, path, errors)
        if source.get("serviceAccountToken") is not None:
            _check_token(source["serviceAccountToken"], f"{at}.serviceAccountToken", path, errors)
        if source.get("clusterTrustBundle") is not None:
            _check_bundle(source["clusterTrustBundle"], f"{at}.clusterTrustBundle", path, taken, errors)
        if source.get("podCertificate") is not None:
            _check_certificate(source["podCertificate"], f"{at}.podCertificate", path, taken, errors)
        if len(source) > 1:
            errors.append(forbidden(at, "may not specify more than 1 volume type per source"))


def check_downward_file(file: Json, path: str, errors: Errors) -> None:
    if not file.get("path"):
        errors.append(required(f"{path}.path"))
    check_file(file.get("path") or "", f"{path}.path", errors)
    field, resource = file.get("fieldRef"), file.get("resourceFieldRef")
    if field is not None:
        check_field_ref(field, VOLUME_FIELDS, f"{path}.fieldRef", errors)
        if resource is not None:
            errors.append(
                invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
            )
    elif resource is not None:
        check_resource_ref(resource, f"{path}.resourceFieldRef", errors, in_volume=True)
    else:
        errors.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    check_mode(file.get("mode"), f"{path}.mode", errors)


def _check_keys(source: Json, at: str, path: str, taken: set[str], errors: Errors) -> None:
    if not source.get("name"):
        errors.append(required(f"{at}.name"))
    for index, item in enumerate(source.get("items") or ()):
        check_key_to_path(item, f"{at}.items[{index}]", errors)
        _take(item.get("path"), source.get("name"), taken, path, errors)


def _take(file: str | None, shown: str | None, taken: set[str], path: str, errors: Errors) -> None:
    if file:
        if file in taken:
            errors.append(invalid(path, shown or "", "conflicting duplicate paths"))
        taken.add(file)


def _check_token(token: Json, at: str, path: str, errors: Errors) -> None:
    seconds = token.get("expirationSeconds", 0)
    if seconds < SHORTEST_TOKEN:
        errors.append(invalid(f"{at}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
    if seconds > LONGEST_TOKEN:
        errors.append(
            invalid(f"{at}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
        )
    if not token.get("path"):
        errors.append(required(f"{path}.path"))
    else:
        check_file(token["path"], f"{path}.path", errors)


def _check_bundle(bundle: Json, at: str, path: str, taken: set[str], errors: Errors) -> None:
    name, signer = bundle.get("name"), bundle.get("signerName")
    if name is not None and signer is not None:
        errors.append(invalid(at, bundle, "only one of name and signerName may be used"))
    elif name is not None:
        if not name:
            errors.append(required(f"{at}.name", "must be a valid object name"))
        for message in bundle_name(signer_of_bundle(name))(name):
            errors.append(invalid(f"{at}.name", name, f"not a valid clustertrustbundlename: {message}"))
        if bundle.get("labelSelector") is not None:
            detail = "labelSelector must be unset if name is specified"
            errors.append(invalid(f"{at}.labelSelector", bundle["labelSelector"], detail))
    elif signer is not None:
        if not signer:
            errors.append(required(f"{at}.signerName", "must be a valid signer name"))
        check_signer_name(signer, f"{at}.signerName", errors)
        check_label_selector(bundle.get("labelSelector"), f"{at}.labelSelector", errors)
    else:
        errors.append(required(at, "either name or signerName must be specified"))
    if not bundle.get("path"):
        errors.append(required(f"{at}.path"))
    check_file(bundle.get("path") or "", f"{at}.path", errors)
    _take(bundle.get("path"), bundle.get("path"), taken, path, errors)


def _check_certificate(certificate: Json, at: str, path: str, taken: set[str], errors: Errors) -> None:
    signer = certificate.get("signerName") or ""
    check_signer_name(signer, f"{at}.signerName", errors)
    if certificate.get("userAnnotations"):
        check_user_annotations(certificate["userAnnotations"], f"{at}.userAnnotations", errors)
    if certificate.get("keyType") not in KEY_TYPES:
        errors.append(not_supported(f"{at}.keyType", certificate.get("keyType") or "", KEY_TYPES))
    seconds = certificate.get("maxExpirationSeconds")
    if seconds is not None:
        longest = LONGEST_KUBERNETES_CERTIFICATE if is_kubernetes_signer(signer) else LONGEST_CERTIFICATE
        field = f"{at}.maxExpirationSeconds"
        if seconds < SHORTEST_CERTIFICATE:
            errors.append(
                invalid(field, seconds, f"if provided, maxExpirationSeconds must be >= {SHORTEST_CERTIFICATE}")
            )
        if seconds > longest:
            errors.append(invalid(field, seconds, f"if provided, maxExpirationSeconds must be <= {longest}"))
    files = [field for field in CERTIFICATE_PATHS if certificate.get(field)]
    for field in files:
        check_file(certificate[field], f"{at}.{field}", errors)
        _take(certificate[field], certificate[field], taken, path, errors)
    if not files:
        detail = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"
        errors.append(required(at, detail))


def check_user_annotations(annotations: dict[str, str], path: str, errors: Errors) -> None:
    """Annotations handed on to a signer: their keys must have a domain."""
    for key in annotations:
        lower = key.lower()
        wrong = names.is_qualified_name(lower)
        errors.extend(invalid(path, lower, message) for message in wrong)
        if not wrong and "/" not in lower:
            errors.append(invalid(path, lower, 'must be a domain-prefixed key (such as "acme.io/foo")'))
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > MAX_ANNOTATIONS:
        errors.append(too_long(path, MAX_ANNOTATIONS))
