"""The controllers of CertificateSigningRequests: one approves kubelets', one signs, one cleans up."""

import base64
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from kobune.api.errors import Json, NotFound
from kobune.api.objects.meta import Key
from kobune.api.timestamps import format_time
from kobune.controlplane.controllers.certificates.requests import (
    SIGNERS,
    CertificateSigningRequest,
    expiry,
    is_node_client,
    last_change,
    names_of,
    refusal,
)
from kobune.controlplane.controllers.conditions import to_json
from kobune.controlplane.controllers.controller import Context, Controller, For

LONGEST_SECONDS = 365 * 24 * 3600  # Source: upstream --cluster-signing-duration.
SHORTEST_SECONDS = 600
BACKDATE = timedelta(minutes=5)  # For clocks that are behind.
SHORT = timedelta(hours=8)  # A certificate for less is not shortened by the backdating.
REVIEW = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
EXTENDED = {
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}
PLAIN = {
    "digital_signature": ("digital signature", "signing"),
    "content_commitment": ("content commitment",),
    "key_encipherment": ("key encipherment",),
    "data_encipherment": ("data encipherment",),
    "key_agreement": ("key agreement",),
    "key_cert_sign": ("cert sign",),
    "crl_sign": ("crl sign",),
    "encipher_only": ("encipher only",),
    "decipher_only": ("decipher only",),
}


async def approve(key: Key, context: Context) -> None:
    """Approve a kubelet's client certificate, if whoever asks is allowed to have it."""
    item = context.informer(CertificateSigningRequest).get(key)
    if (
        item is None
        or item.status.certificate
        or item.has("Approved")
        or item.has("Denied")
        or not is_node_client(item)
    ):
        return
    themselves = names_of(item.x509).common_name == item.spec.username
    tries = [("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")]
    if themselves:
        tries.insert(0, ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."))
    for subresource, message in tries:
        if await _may(context, item, subresource):
            condition = _condition("Approved", "AutoApproved", message, context.clock.now())
            await _add_condition(context, item, condition, "approval")
            return


async def sign(key: Key, context: Context) -> None:
    """Sign an approved request of one of the cluster's own signers."""
    item = context.informer(CertificateSigningRequest).get(key)
    settings = context.settings
    if item is None or not settings.signing_key or item.spec.signer_name not in SIGNERS:
        return
    if item.status.certificate or not item.has("Approved") or item.has("Denied") or item.has("Failed"):
        return
    why_not = refusal(item)
    if why_not is not None:
        condition = _condition("Failed", "SignerValidationFailure", why_not, context.clock.now())
        await _add_condition(context, item, condition, "status")
        return
    pem = signed(
        item, settings.signing_certificate, settings.signing_key, context.clock.now(), context.rng.getrandbits(120)
    )
    await context.client.patch_status(CertificateSigningRequest, key, {"certificate": base64.b64encode(pem).decode()})


async def clean(key: Key, context: Context) -> float | None:
    """Delete requests whose time is over; returns the seconds that are left."""
    item = context.informer(CertificateSigningRequest).get(key)
    since, keep = (last_change(item), expiry(item)) if item is not None else (None, None)
    if item is None or since is None or keep is None:
        return None
    left = (since + keep - context.clock.now()).total_seconds()
    if left > 0:
        return left
    with suppress(NotFound):
        await context.client.delete(CertificateSigningRequest, key, uid=item.uid)
    return None


def signed(item: CertificateSigningRequest, authority: bytes, key: bytes, now: datetime, serial: int) -> bytes:
    """The certificate, PEM, with the request's names and usages; it does not outlive its authority."""
    request = item.x509
    issuer = x509.load_pem_x509_certificate(authority)
    wanted = item.spec.expiration_seconds or LONGEST_SECONDS
    lifetime = timedelta(seconds=min(max(wanted, SHORTEST_SECONDS), LONGEST_SECONDS))
    end = now + (lifetime if lifetime < SHORT else lifetime - BACKDATE)
    end = min(end, issuer.not_valid_after_utc)
    builder = x509.CertificateBuilder().subject_name(request.subject).issuer_name(issuer.subject)
    builder = builder.public_key(request.public_key()).serial_number(serial | 1)
    builder = builder.not_valid_before(now - BACKDATE).not_valid_after(end)
    usages = set(item.spec.usages)
    plain: dict[str, Any] = {field: bool(usages & set(words)) for field, words in PLAIN.items()}
    builder = builder.add_extension(x509.KeyUsage(**plain), critical=True)
    extended = [EXTENDED[usage] for usage in item.spec.usages if usage in EXTENDED]
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    with suppress(x509.ExtensionNotFound):
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        builder = builder.add_extension(names.value, critical=names.critical)
    private = serialization.load_pem_private_key(key, password=None)
    certificate = builder.sign(_issuing(private), hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM)


def _issuing(key: Any) -> CertificateIssuerPrivateKeyTypes:
    return key  # type: ignore[no-any-return]


async def _may(context: Context, item: CertificateSigningRequest, subresource: str) -> bool:
    attributes = {
        "group": "certificates.k8s.io",
        "resource": "certificatesigningrequests",
        "verb": "create",
        "subresource": subresource,
        "version": "*",
    }
    spec: Json = {"user": item.spec.username, "groups": item.spec.groups, "resourceAttributes": attributes}
    if item.spec.uid:
        spec["uid"] = item.spec.uid
    if item.spec.extra:
        spec["extra"] = item.spec.extra
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    answer = orjson.loads(await context.client.call("POST", REVIEW, body=orjson.dumps(body)))
    return bool((answer.get("status") or {}).get("allowed"))


def _condition(kind: str, reason: str, message: str, now: datetime) -> Json:
    return {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastUpdateTime": format_time(now),
        "lastTransitionTime": format_time(now),
    }


async def _add_condition(context: Context, item: CertificateSigningRequest, condition: Json, subresource: str) -> None:
    # The list is written whole: the kind has no merge key for it.
    conditions = [*to_json(item.status.conditions), condition]
    patch = {"metadata": {"resourceVersion": item.metadata.resource_version}, "status": {"conditions": conditions}}
    await context.client.patch(CertificateSigningRequest, item.key, patch, subresource=subresource)


CONTROLLERS = (
    Controller("certificatesigningrequest-approving-controller", (For(CertificateSigningRequest),), approve),
    Controller("certificatesigningrequest-signing-controller", (For(CertificateSigningRequest),), sign),
    Controller("certificatesigningrequest-cleaner-controller", (For(CertificateSigningRequest),), clean, workers=1),
)
