"""CertificateApproval, CertificateSigning, CertificateSubjectRestriction and ClusterTrustBundleAttest: who speaks for signers."""

import base64
import binascii

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.authorization.authorizer import Access, Authorization, Verdict

GROUP = "certificates.k8s.io"
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
ADMINISTRATORS = "system:masters"


class CertificateApproval:
    name = "CertificateApproval"
    operations = ("UPDATE",)
    resources = ("certificatesigningrequests/approval",)

    def __init__(self, authorization: Authorization) -> None:
        self._authorization = authorization

    def admit(self, attributes: Attributes) -> None:
        return None

    async def validate(self, attributes: Attributes) -> None:
        await _require(self._authorization, attributes, "approve")


class CertificateSigning:
    name = "CertificateSigning"
    operations = ("UPDATE",)
    resources = ("certificatesigningrequests/status",)

    def __init__(self, authorization: Authorization) -> None:
        self._authorization = authorization

    def admit(self, attributes: Attributes) -> None:
        return None

    async def validate(self, attributes: Attributes) -> None:
        new, old = _status(attributes.object), _status(attributes.old_object)
        if any((new.get(field) or None) != (old.get(field) or None) for field in ("certificate", "conditions")):
            await _require(self._authorization, attributes, "sign")


class ClusterTrustBundleAttest:
    name = "ClusterTrustBundleAttest"
    operations = ("CREATE", "UPDATE")
    resources = ("clustertrustbundles",)

    def __init__(self, authorization: Authorization) -> None:
        self._authorization = authorization

    def admit(self, attributes: Attributes) -> None:
        return None

    async def validate(self, attributes: Attributes) -> None:
        new, old = attributes.object or {}, attributes.old_object
        signer = (new.get("spec") or {}).get("signerName")
        # The garbage collector, and who only writes it anew, change nothing that is attested.
        if not signer or (old is not None and _without_collection(new) == _without_collection(old)):
            return
        if not await _may(self._authorization, attributes, "attest", signer):
            raise refused(attributes, f'user not permitted to attest for signerName "{signer}"')


class CertificateSubjectRestriction:
    name = "CertificateSubjectRestriction"
    operations = ("CREATE",)
    resources = ("certificatesigningrequests",)

    def admit(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> None:
        spec: Json = (attributes.object or {}).get("spec") or {}
        if spec.get("signerName") == CLIENT_SIGNER and ADMINISTRATORS in subject_names(attributes, spec, "O"):
            words = f"use of {CLIENT_SIGNER} signer with {ADMINISTRATORS} group is not allowed"
            raise refused(attributes, words)


async def _require(authorization: Authorization, attributes: Attributes, verb: str) -> None:
    """Raises Forbidden unless the user may do this for the signer, or for all of the signer's domain."""
    signer: str = ((attributes.old_object or {}).get("spec") or {}).get("signerName", "")
    if not await _may(authorization, attributes, verb, signer):
        raise refused(attributes, f'user not permitted to {verb} requests with signerName "{signer}"')


async def _may(authorization: Authorization, attributes: Attributes, verb: str, signer: str) -> bool:
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        decision = await authorization.decide(Access(attributes.call.user, verb, GROUP, "*", "signers", name=name))
        if decision.verdict is Verdict.ALLOW:
            return True
    return False


def _without_collection(obj: Json) -> Json:
    """Without what the garbage collector writes. Source: upstream rbac.IsOnlyMutatingGCFields."""
    written = ("ownerReferences", "finalizers", "managedFields")
    return {**obj, "metadata": {name: value for name, value in obj["metadata"].items() if name not in written}}


def _status(request: Json | None) -> Json:
    status: Json = (request or {}).get("status") or {}
    return status


def subject_names(attributes: Attributes, spec: Json, field: str) -> list[str]:
    """What a certificate request says of its subject: "CN" or "O", as in RFC 4514. Raises Forbidden when it cannot be read."""
    from cryptography import x509

    try:
        request = x509.load_pem_x509_csr(base64.b64decode(spec.get("request") or ""))
    except (ValueError, binascii.Error) as error:
        raise refused(attributes, f"failed to parse CSR: {error}") from error
    return [str(one.value) for one in request.subject if one.rfc4514_attribute_name == field]
