"""Requests for certificates, and trust bundles."""

from kobune.api.errors import Json
from kobune.api.field_errors import (
    duplicate,
    forbidden,
    invalid,
    not_supported,
    quote,
    required,
    too_long,
)
from kobune.api.names import Check
from kobune.api.validation import pem
from kobune.api.validation.checks import Errors, check_immutable, difference, same
from kobune.api.validation.kinds import Rules, path_name
from kobune.api.validation.pod_certificates import check_request, check_request_status, check_request_update
from kobune.api.validation.signers import bundle_name, check_signer_name

LEGACY = "kubernetes.io/legacy-unknown"
SHORTEST, LARGEST_BUNDLE = 600, 1024 * 1024
FINAL = ("Approved", "Denied", "Failed")  # Conditions that are there only if true, and stay.
STATUSES = ("False", "True", "Unknown")
USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip
EXCLUSIVE = "Approved and Denied conditions are mutually exclusive"
HIDDEN = "<value omitted>"


def check_signing_request(request: Json, errors: Errors) -> None:
    _check_signing_request(request, {}, errors)


def check_signing_request_update(new: Json, old: Json, errors: Errors) -> None:
    _check_signing_update(new, old, errors)


def check_signing_status(new: Json, old: Json, errors: Errors) -> None:
    _check_signing_update(new, old, errors, sets_certificate=True)


def check_approval(new: Json, old: Json, errors: Errors) -> None:
    _check_signing_update(new, old, errors, approves=True)


def bundle_rule(bundle: Json) -> Check:
    return bundle_name((bundle.get("spec") or {}).get("signerName") or "")


def check_bundle(bundle: Json, errors: Errors) -> None:
    _check_signer(bundle, errors)
    _check_anchors((bundle.get("spec") or {}).get("trustBundle") or "", errors)


def check_bundle_update(new: Json, old: Json, errors: Errors) -> None:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    _check_signer(new, errors)
    if after.get("trustBundle") != before.get("trustBundle"):
        _check_anchors(after.get("trustBundle") or "", errors)
    check_immutable(after, before, "signerName", "spec.signerName", errors)


def _check_signing_request(request: Json, old: Json, errors: Errors) -> None:
    """What was wrong before may stay wrong."""
    spec, before = request.get("spec") or {}, old.get("spec") or {}
    signer, seconds = spec.get("signerName"), spec.get("expirationSeconds")
    try:
        _read_request(spec.get("request"))
    except ValueError as error:
        errors.append(invalid("spec.request", spec.get("request") or None, str(error)))
    _check_usages(spec.get("usages") or [], before.get("usages") or [], errors)
    if signer == LEGACY and before.get("signerName") != LEGACY:
        detail = "the legacy signerName is not allowed via this API version"
        errors.append(invalid("spec.signerName", signer, detail))
    else:
        check_signer_name(signer, "spec.signerName", errors)
    if seconds is not None and seconds < SHORTEST:
        detail = f"may not specify a duration less than {SHORTEST} seconds (10 minutes)"
        errors.append(invalid("spec.expirationSeconds", seconds, detail))
    _check_conditions(_conditions(request), _conditions(old), errors)
    issued = (request.get("status") or {}).get("certificate")
    earlier = (old.get("status") or {}).get("certificate")
    if issued and (not old or issued != earlier) and not _certificate_fault(earlier):
        wrong = _certificate_fault(issued)
        if wrong:
            errors.append(invalid("status.certificate", "<certificate data>", wrong))


def _read_request(value: str | None) -> None:
    block = next(pem.blocks(pem.decoded(value)), None)
    if block is None or block.type != "CERTIFICATE REQUEST":
        raise ValueError("PEM block type must be CERTIFICATE REQUEST")
    pem.signing_request(block.data)


def _check_usages(usages: list[str], before: list[str], errors: Errors) -> None:
    if not usages:
        errors.append(required("spec.usages"))
    if all(usage in USAGES for usage in before):
        for index, usage in enumerate(usages):
            if usage not in USAGES:
                errors.append(not_supported(f"spec.usages[{index}]", usage, USAGES))
    if len(set(before)) == len(before):
        for index, usage in enumerate(usages):
            if usage in usages[:index]:
                errors.append(duplicate(f"spec.usages[{index}]", usage))


def _conditions(request: Json) -> list[Json]:
    return (request.get("status") or {}).get("conditions") or []


def _check_conditions(conditions: list[Json], before: list[Json], errors: Errors) -> None:
    types = [condition.get("type") or "" for condition in conditions]
    old = [condition.get("type") or "" for condition in before]
    for index, condition in enumerate(conditions):
        path, kind, status = f"status.conditions[{index}]", types[index], condition.get("status") or ""
        if not kind and all(old):
            errors.append(required(f"{path}.type"))
        allowed = ("True",) if kind in FINAL else STATUSES
        if not status:
            errors.append(required(f"{path}.status"))
        elif status not in allowed:
            errors.append(not_supported(f"{path}.status", status, allowed))
        other = {"Approved": "Denied", "Denied": "Approved"}.get(kind)
        if other in types[:index] and not {"Approved", "Denied"} <= set(old):
            errors.append(invalid("status.conditions", kind, EXCLUSIVE))
        if kind in types[:index] and len(set(old)) == len(old):
            errors.append(duplicate(f"{path}.type", kind))


def _check_signing_update(
    new: Json, old: Json, errors: Errors, *, approves: bool = False, sets_certificate: bool = False
) -> None:
    _check_signing_request(new, old, errors)
    path = "status.conditions"
    for kind in FINAL:
        after, before = _of_type(new, kind), _of_type(old, kind)
        if len(after) < len(before):
            errors.append(forbidden(path, f"updates may not remove a condition of type {quote(kind)}"))
        elif approves or kind == "Failed":
            continue
        elif len(after) > len(before):
            errors.append(forbidden(path, f"updates may not add a condition of type {quote(kind)}"))
        elif not same(after, before):
            changes = "\n".join(difference(before, after))
            errors.append(forbidden(path, f"updates may not modify a condition of type {quote(kind)}\n{changes}"))
    issued, earlier = ((each.get("status") or {}).get("certificate") or "" for each in (new, old))
    if issued != earlier:
        if not sets_certificate:
            errors.append(forbidden("status.certificate", "updates may not set certificate content"))
        elif earlier:
            errors.append(forbidden("status.certificate", "updates may not modify existing certificate content"))


def _of_type(request: Json, kind: str) -> list[Json]:
    return [condition for condition in _conditions(request) if condition.get("type") == kind]


def _certificate_fault(value: str | None) -> str:
    if not value:
        return ""
    found = list(pem.blocks(pem.decoded(value)))
    for block in found:
        if block.type != "CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {quote(block.type)}"
        if block.has_headers:
            return "no PEM block headers are permitted"
        try:
            pem.certificate(block.data)
        except ValueError as error:
            return str(error)
    return "" if found else "must contain at least one CERTIFICATE PEM block"


def _check_signer(bundle: Json, errors: Errors) -> None:
    signer = (bundle.get("spec") or {}).get("signerName")
    if signer:
        check_signer_name(signer, "spec.signerName", errors)


def _check_anchors(text: str, errors: Errors) -> None:
    path = "spec.trustBundle"
    if len(text.encode()) > LARGEST_BUNDLE:
        errors.append(too_long(path, LARGEST_BUNDLE))
        return
    places: dict[bytes, list[int]] = {}
    faults = []
    for index, block in enumerate(pem.blocks(text.encode())):
        wrong = _anchor_fault(block)
        if wrong:
            faults.append(f"entry {index} {wrong}")
        else:
            places.setdefault(block.data, []).append(index)
    if not faults and not places:
        faults = ["at least one trust anchor must be provided"]
    elif not faults:
        repeated = [indices for indices in places.values() if len(indices) > 1]
        faults = [f"duplicate trust anchor (indices [{' '.join(map(str, indices))}])" for indices in repeated]
    errors.extend(invalid(path, HIDDEN, fault) for fault in faults)


def _anchor_fault(block: pem.Block) -> str:
    if block.type != "CERTIFICATE":
        return f"has bad block type: {block.type}"
    if block.has_headers:
        return "has PEM block headers"
    try:
        is_authority = pem.is_authority(pem.certificate(block.data))
    except ValueError:
        return "does not parse as X.509"
    return "" if is_authority else "does not have the CA bit set"


RULES = {
    "CertificateSigningRequest": Rules(
        check_signing_request,
        check_signing_request_update,
        {"status": check_signing_status, "approval": check_approval},
        path_name,
    ),
    "ClusterTrustBundle": Rules(check_bundle, check_bundle_update, name=bundle_rule),
    "PodCertificateRequest": Rules(check_request, check_request_update, {"status": check_request_status}),
}
