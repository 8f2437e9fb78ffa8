"""PodCertificateRequests. That the times of an issued certificate are near the present is for the signer to see to."""

from collections.abc import Iterator

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from kobune.api import names
from kobune.api.errors import Json
from kobune.api.field_errors import OMITTED, invalid, not_supported, required, too_long
from kobune.api.validation import pem
from kobune.api.validation.checks import Errors, check_immutable, check_name, same
from kobune.api.validation.metadata import MAX_ANNOTATIONS
from kobune.api.validation.signers import check_signer_name, is_kubernetes_signer
from kobune.api.validation.statuses import check_conditions

LONGEST_UID, LARGEST_FIELD, LARGEST_CHAIN = 128, 10 * 1024, 100 * 1024
SHORTEST, LONGEST, LONGEST_OWN = 3600, 91 * 24 * 3600, 24 * 3600
FINAL = ("Issued", "Denied", "Failed")
KEY, PROOF, REQUEST, CHAIN = (
    "spec.pkixPublicKey",
    "spec.proofOfPossession",
    "spec.stubPKCS10Request",
    "status.certificateChain",
)
ONE_WAY = "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"
ONE_FINAL = 'There may be at most one condition with type "Issued", "Denied", or "Failed"'
UNKNOWN_KEY = "unknown public key type; supported types are Ed25519, ECDSA, and RSA"
RSA_SIZES = (3072, 4096)
CURVES = ("secp256r1", "secp384r1", "secp521r1")
TIMES = {
    "notBefore": "must be present and consistent with the issued certificate",
    "notAfter": "must be present and consistent with the issued certificate",
    "beginRefreshAt": "must be present and in the range [notbefore+10min, notafter-10min]",
}


def check_request(request: Json, errors: Errors) -> None:
    spec = request.get("spec") or {}
    signer = spec.get("signerName") or ""
    check_signer_name(signer, "spec.signerName", errors)
    _check_user_annotations(spec.get("unverifiedUserAnnotations") or {}, errors)
    for owner in ("pod", "serviceAccount", "node"):
        name, uid = spec.get(f"{owner}Name") or "", spec.get(f"{owner}UID") or ""
        check_name(names.is_dns1123_subdomain, name, f"spec.{owner}Name", errors)
        if not uid:
            errors.append(invalid(f"spec.{owner}UID", "", "must not be empty"))
        if len(uid.encode()) > LONGEST_UID:
            errors.append(too_long(f"spec.{owner}UID", LONGEST_UID))
    seconds, most = spec.get("maxExpirationSeconds"), LONGEST_OWN if is_kubernetes_signer(signer) else LONGEST
    if seconds is None:
        errors.append(required("spec.maxExpirationSeconds", "must be set"))
        return
    if not SHORTEST <= seconds <= most:
        detail = f"must be in the range [{SHORTEST}, {most}]"
        errors.append(invalid("spec.maxExpirationSeconds", seconds, detail))
    key, proof, stub = (spec.get(field) for field in ("pkixPublicKey", "proofOfPossession", "stubPKCS10Request"))
    if stub and not key and not proof:
        _check_stub(pem.decoded(stub), errors)
    elif key and proof and not stub:
        _check_proof(pem.decoded(key), pem.decoded(proof), (spec.get("podUID") or "").encode(), errors)
    else:
        errors.append(invalid("spec", OMITTED, ONE_WAY))


def check_request_update(new: Json, old: Json, errors: Errors) -> None:
    check_immutable(new, old, "spec", "spec", errors)


def check_request_status(new: Json, old: Json, errors: Errors) -> None:
    if errors:
        return
    status, conditions = new.get("status") or {}, (new.get("status") or {}).get("conditions") or []
    seen = 0
    for index, condition in enumerate(conditions):
        path, kind = f"status.conditions[{index}]", condition.get("type") or ""
        if kind not in FINAL:
            errors.append(not_supported(f"{path}.type", kind, FINAL))
            continue
        seen += 1
        if seen > 1:
            errors.append(invalid(f"{path}.type", kind, ONE_FINAL))
        if condition.get("status") != "True":
            errors.append(not_supported(f"{path}.status", condition.get("status") or "", ("True",)))
    check_conditions(conditions, "status.conditions", errors)
    if errors:
        return
    state = _state(new)
    if _state(old):
        if not same(status, old.get("status")):
            detail = "immutable after PodCertificateRequest is issued, denied, or failed"
            errors.append(invalid("status", OMITTED, detail))
    elif state in ("Denied", "Failed"):
        if any(value for field, value in status.items() if field != "conditions"):
            detail = "non-condition status fields must be empty when denying or failing the PodCertificateRequest"
            errors.append(invalid("status", OMITTED, detail))
    elif state == "Issued":
        _check_issued(status, old.get("spec") or {}, errors)
    elif any(value for field, value in status.items() if field != "conditions"):
        detail = "non-condition status fields must be empty until the PodCertificateRequest is issued"
        errors.append(invalid("status", OMITTED, detail))


def _check_user_annotations(annotations: dict[str, str], errors: Errors) -> None:
    path = "spec.unverifiedUserAnnotations"
    for key in annotations:
        if "/" not in key:
            detail = 'must be a domain-prefixed key (such as "acme.io/foo")'
            errors.append(invalid(path, key.lower(), detail))
        else:
            check_name(names.is_qualified_name, key.lower(), path, errors)
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > MAX_ANNOTATIONS:
        errors.append(too_long(path, MAX_ANNOTATIONS))


def _check_stub(data: bytes, errors: Errors) -> None:
    if len(data) > LARGEST_FIELD:
        errors.append(too_long(REQUEST, LARGEST_FIELD))
        return
    try:
        request = pem.signing_request(data)
        key = request.public_key()
    except ValueError as error:
        is_signature = "signature" in str(error)
        errors.append(invalid(REQUEST, OMITTED, "invalid signature" if is_signature else "must be a valid PKCS#10 CSR"))
        return
    errors.extend(invalid(REQUEST, value, detail) for value, detail in _key_faults(key))


def _check_proof(data: bytes, proof: bytes, message: bytes, errors: Errors) -> None:
    for path, value in ((KEY, data), (PROOF, proof)):
        if len(value) > LARGEST_FIELD:
            errors.append(too_long(path, LARGEST_FIELD))
            return
    try:
        key = serialization.load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        errors.append(invalid(KEY, OMITTED, "must be a valid PKIX-serialized public key"))
        return
    faults = list(_key_faults(key))
    if faults:
        errors.extend(invalid(KEY, value, detail) for value, detail in faults)
        return
    try:
        _verify(key, proof, message)
    except InvalidSignature:
        errors.append(invalid(PROOF, OMITTED, "could not verify proof-of-possession signature"))


def _key_faults(key: PublicKeyTypes) -> Iterator[tuple[object, str]]:
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in CURVES:
            yield f"curve {key.curve.name}", "elliptic public keys must use curve P256, P384, or P521"
    elif isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in RSA_SIZES:
            yield f"{key.key_size}-bit modulus", "RSA keys must have modulus size 3072 or 4096"
    elif not isinstance(key, ed25519.Ed25519PublicKey):
        yield OMITTED, UNKNOWN_KEY


def _verify(key: PublicKeyTypes, proof: bytes, message: bytes) -> None:
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(proof, message)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(proof, message, ec.ECDSA(hashes.SHA256()))
    elif isinstance(key, rsa.RSAPublicKey):
        scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
        key.verify(proof, message, scheme, hashes.SHA256())


def _state(request: Json) -> str:
    for condition in (request.get("status") or {}).get("conditions") or ():
        if condition.get("type") in FINAL:
            return str(condition["type"])
    return ""


def _check_issued(status: Json, spec: Json, errors: Errors) -> None:
    chain = status.get("certificateChain") or ""
    if len(chain.encode()) > LARGEST_CHAIN:
        errors.append(too_long(CHAIN, LARGEST_CHAIN))
        return
    found = list(pem.blocks(chain.encode()))
    if not found:
        detail = "issued certificate chain must contain at least one certificate"
        errors.append(invalid(CHAIN, chain, detail))
        return
    if any(block.type != "CERTIFICATE" for block in found):
        detail = "issued certificate chain must consist entirely of CERTIFICATE PEM blocks"
        errors.append(invalid(CHAIN, chain, detail))
        return
    try:
        leaf = pem.certificate(found[0].data).public_key()
    except (ValueError, UnsupportedAlgorithm):
        errors.append(invalid(CHAIN, chain, "leaf certificate does not parse as valid X.509"))
        return
    try:
        if spec.get("stubPKCS10Request"):
            wanted = pem.signing_request(pem.decoded(spec["stubPKCS10Request"])).public_key()
        else:
            wanted = serialization.load_der_public_key(pem.decoded(spec.get("pkixPublicKey")))  # type: ignore[assignment]
    except (ValueError, UnsupportedAlgorithm):
        errors.append(invalid(KEY, OMITTED, "must be a valid PKIX-serialized public key"))
        return
    if leaf != wanted:
        errors.append(invalid(CHAIN, chain, "leaf certificate was not issued to the requested public key"))
        return
    for field, detail in TIMES.items():
        if not status.get(field):
            errors.append(required(f"status.{field}", detail))
