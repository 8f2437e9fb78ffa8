import base64
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kobune.controlplane.controllers.certificates.requests import (
    CertificateSigningRequest,
    CertificateSigningRequestSpec,
    refusal,
)
from kobune.controlplane.controllers.controller import Settings
from kobune.testing.virtual import START

ONLY = ",".join(f"certificatesigningrequest-{each}-controller" for each in ("approving", "signing", "cleaner"))
CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING = "kubernetes.io/kubelet-serving"


def name(common, *organizations):
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def request(common="system:node:a", *organizations, dns=()):
    builder = x509.CertificateSigningRequestBuilder().subject_name(name(common, *(organizations or ("system:nodes",))))
    if dns:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(each) for each in dns]), critical=False
        )
    pem = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
        serialization.Encoding.PEM
    )
    return base64.b64encode(pem).decode()


@pytest.fixture(scope="module")
def authority():
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder().subject_name(name("ca")).issuer_name(name("ca")).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(START - datetime.timedelta(days=1))
    builder = builder.not_valid_after(START + datetime.timedelta(days=3650))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Settings(signing_certificate=certificate, signing_key=private)


@pytest.mark.parametrize(
    ("signer", "usages", "pem", "accepted"),
    [
        (CLIENT, ["digital signature", "client auth"], request(), True),
        (CLIENT, ["digital signature", "key encipherment", "client auth"], request(), True),
        (CLIENT, ["digital signature", "server auth"], request(), False),
        (CLIENT, ["digital signature", "client auth"], request(dns=["a"]), False),
        (CLIENT, ["digital signature", "client auth"], request("alice"), False),
        (CLIENT, ["digital signature", "client auth"], request("system:node:a", "system:masters"), False),
        (SERVING, ["digital signature", "server auth"], request(dns=["a"]), True),
        (SERVING, ["digital signature", "server auth"], request(), False),
        ("kubernetes.io/kube-apiserver-client", ["client auth"], request("alice", "devs"), True),
        ("kubernetes.io/kube-apiserver-client", ["server auth"], request("alice", "devs"), False),
    ],
)
def test_each_signer_signs_its_own_kind_alone(signer, usages, pem, accepted):
    spec = CertificateSigningRequestSpec(request=pem, signer_name=signer, usages=usages)
    assert (refusal(CertificateSigningRequest(spec=spec)) is None) is accepted


def csr(pem, signer=CLIENT, usages=("digital signature", "client auth"), **spec):
    return {"metadata": {"name": "r"}, "spec": {"request": pem, "signerName": signer, "usages": list(usages), **spec}}


async def approve(world):
    condition = {"type": "Approved", "status": "True", "reason": "ByHand", "message": "yes"}
    await world.patch("certificatesigningrequests", "r", {"status": {"conditions": [condition]}}, "", "approval")


def test_an_approved_request_is_signed_and_later_cleaned_up(tell, authority):
    async def story(world):
        usages = ("digital signature", "server auth")
        await world.create(
            "certificatesigningrequests", csr(request(dns=["a"]), SERVING, usages, expirationSeconds=86400), ""
        )
        await world.sleep(2)
        before = (await world.get("certificatesigningrequests", "r", "")).get("status", {})
        await approve(world)
        await world.sleep(2)
        status = (await world.get("certificatesigningrequests", "r", ""))["status"]
        await world.sleep(2 * 24 * 3600)
        return before, status, await world.find("certificatesigningrequests", "r", "")

    before, status, gone = tell(story, ONLY, settings=authority)
    assert "certificate" not in before
    certificate = x509.load_pem_x509_certificate(base64.b64decode(status["certificate"]))
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.signing_certificate))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a"]
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).total_seconds() == 86400
    assert gone is None


def test_what_a_signer_may_not_sign_fails(tell, authority):
    async def story(world):
        await world.create("certificatesigningrequests", csr(request("alice"), SERVING), "")
        await approve(world)
        await world.sleep(2)
        return (await world.get("certificatesigningrequests", "r", ""))["status"]

    status = tell(story, ONLY, settings=authority)
    failed = next(each for each in status["conditions"] if each["type"] == "Failed")
    assert failed["reason"] == "SignerValidationFailure"
    assert "certificate" not in status
