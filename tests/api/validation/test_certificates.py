import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from judge import changed, faults, kind_of, made, subresource_faults, update_faults

GROUP = "certificates.k8s.io"
REQUEST, BUNDLE = (
    kind_of(name, GROUP, namespaced=False) for name in ("CertificateSigningRequest", "ClusterTrustBundle")
)
POD_REQUEST = kind_of("PodCertificateRequest", GROUP)
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
PKCS10 = x509.CertificateSigningRequestBuilder().subject_name(NAME).sign(KEY, hashes.SHA256())


def issued(*, authority: bool) -> str:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


AUTHORITY, LEAF = issued(authority=True), issued(authority=False)
FINE = made(REQUEST, {"spec": {
    "request": b64(PKCS10.public_bytes(serialization.Encoding.PEM)),
    "signerName": "kubernetes.io/kube-apiserver-client",
    "usages": ["client auth"],
}}, name="any:name")  # fmt: skip
TRUST = made(BUNDLE, {"spec": {"trustBundle": AUTHORITY}})
OF_POD = made(POD_REQUEST, {"spec": {
    "signerName": "example.com/signer", "podName": "p", "podUID": "1", "nodeName": "n", "nodeUID": "2", "serviceAccountName": "s",
    "serviceAccountUID": "3", "maxExpirationSeconds": 3600,
    "stubPKCS10Request": b64(PKCS10.public_bytes(serialization.Encoding.DER)),
}})  # fmt: skip
APPROVED = {"type": "Approved", "status": "True", "reason": "Because"}


@pytest.mark.parametrize("kind, obj", [(REQUEST, FINE), (BUNDLE, TRUST), (POD_REQUEST, OF_POD)])
def test_sound_objects_have_no_fault(kind: Any, obj: dict[str, Any]):
    assert faults(kind, obj) == []
    assert update_faults(kind, obj, obj) == []


@pytest.mark.parametrize("change, expected", [
    ({"spec__request": "YQ=="}, ['spec.request: Invalid value: "YQ==": PEM block type must be CERTIFICATE REQUEST']),
    ({"spec__usages": []}, ["spec.usages: Required value"]),
    ({"spec__usages": ["client auth", "client auth"]}, ['spec.usages[1]: Duplicate value: "client auth"']),
    ({"spec__signerName": "kubernetes.io/legacy-unknown"},
     ['spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version']),
    ({"spec__expirationSeconds": 60},
     ["spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 600 seconds (10 minutes)"]),
])  # fmt: skip
def test_faults_of_requests(change: dict[str, Any], expected: list[str]):
    assert faults(REQUEST, changed(FINE, **change)) == expected


def test_only_approval_approves():
    approved = changed(FINE, status={"conditions": [APPROVED]})
    assert subresource_faults(REQUEST, "approval", approved, FINE) == []
    assert subresource_faults(REQUEST, "status", approved, FINE) == [
        'status.conditions: Forbidden: updates may not add a condition of type "Approved"'
    ]
    assert subresource_faults(REQUEST, "approval", FINE, approved) == [
        'status.conditions: Forbidden: updates may not remove a condition of type "Approved"'
    ]
    both = changed(approved, status__conditions__1={"type": "Denied", "status": "True"})
    assert subresource_faults(REQUEST, "approval", both, approved) == [
        'status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive'
    ]


def test_a_certificate_is_set_once_through_the_status():
    signed = changed(FINE, status={"certificate": b64(LEAF.encode())})
    assert subresource_faults(REQUEST, "status", signed, FINE) == []
    assert subresource_faults(REQUEST, "approval", signed, FINE) == [
        "status.certificate: Forbidden: updates may not set certificate content"
    ]
    again = changed(signed, status__certificate=b64(AUTHORITY.encode()))
    assert subresource_faults(REQUEST, "status", again, signed) == [
        "status.certificate: Forbidden: updates may not modify existing certificate content"
    ]
    odd = changed(FINE, status={"certificate": b64(b"x")})
    assert subresource_faults(REQUEST, "status", odd, FINE) == [
        'status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block'
    ]


@pytest.mark.parametrize("text, expected", [
    ("", "at least one trust anchor must be provided"),
    (LEAF, "entry 0 does not have the CA bit set"),
    (AUTHORITY * 2, "duplicate trust anchor (indices [0 1])"),
    ("-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n", "entry 0 does not parse as X.509"),
    ("-----BEGIN KEY-----\nYQ==\n-----END KEY-----\n", "entry 0 has bad block type: KEY"),
])  # fmt: skip
def test_faults_of_bundles(text: str, expected: str):
    assert faults(BUNDLE, changed(TRUST, spec__trustBundle=text)) == [
        f'spec.trustBundle: Invalid value: "<value omitted>": {expected}'
    ]


def test_a_bundle_is_named_after_its_signer():
    obj = changed(TRUST, spec__signerName="example.com/signer")
    assert [fault.partition(":")[0] for fault in faults(BUNDLE, obj)] == ["metadata.name"]
    assert faults(BUNDLE, changed(obj, metadata__name="example.com:signer:a")) == []


def test_a_key_comes_with_a_proof():
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    proven = changed(
        OF_POD,
        spec__stubPKCS10Request=None,
        spec__pkixPublicKey=b64(public),
        spec__proofOfPossession=b64(key.sign(b"1")),
    )
    assert faults(POD_REQUEST, proven) == []
    stolen = changed(proven, spec__proofOfPossession=b64(key.sign(b"2")))
    assert faults(POD_REQUEST, stolen) == [
        "spec.proofOfPossession: Invalid value: could not verify proof-of-possession signature"
    ]


def test_a_pod_request_ends_once():
    times = {
        "notBefore": "2026-01-01T00:00:00Z",
        "notAfter": "2026-01-02T00:00:00Z",
        "beginRefreshAt": "2026-01-01T12:00:00Z",
    }
    final = {"status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    done = changed(OF_POD, status={"conditions": [{"type": "Issued", **final}], "certificateChain": LEAF, **times})
    assert subresource_faults(POD_REQUEST, "status", done, OF_POD) == []
    late = changed(done, status__notAfter="2027-01-01T00:00:00Z")
    assert subresource_faults(POD_REQUEST, "status", late, done) == [
        "status: Invalid value: immutable after PodCertificateRequest is issued, denied, or failed"
    ]
    denied = changed(done, status__conditions__0__type="Denied")
    assert subresource_faults(POD_REQUEST, "status", denied, OF_POD) == [
        "status: Invalid value: non-condition status fields must be empty when denying or failing the PodCertificateRequest"
    ]
