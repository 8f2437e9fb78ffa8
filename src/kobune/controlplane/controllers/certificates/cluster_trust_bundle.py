"""Publishes the CA of the API server's certificate as a ClusterTrustBundle, for pods to mount.

The bundle is named by its content, so a new CA means a new bundle; those of former ones go. Source: upstream's
clustertrustbundlepublisher.
"""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from typing import ClassVar

import msgspec

from kobune.api.errors import AlreadyExists, NotFound
from kobune.api.objects.meta import GVK, Key, Object, View
from kobune.controlplane.controllers.controller import Context, Controller, Maps

SIGNER = "kubernetes.io/kube-apiserver-serving"
PREFIX = "kubernetes.io:kube-apiserver-serving:"
THE_SIGNER = Key("", SIGNER)  # There is one thing to keep true, whichever bundle has changed.


class TrustBundleSpec(View):
    signer_name: str = ""
    trust_bundle: str = ""


class ServingTrustBundle(Object):
    """The ClusterTrustBundles of that signer alone."""

    gvk: ClassVar[GVK] = GVK("certificates.k8s.io", "v1", "ClusterTrustBundle")
    spec: TrustBundleSpec = msgspec.field(default_factory=TrustBundleSpec)


async def reconcile(_key: Key, context: Context) -> None:
    """Create or mend the bundle of today's CA, then delete the signer's others."""
    root_ca = context.settings.root_ca.decode()
    if not root_ca:
        return
    bundles = context.informer(ServingTrustBundle)
    wanted = Key("", bundle_name(root_ca))
    known = bundles.get(wanted)
    if known is None:
        spec = {"signerName": SIGNER, "trustBundle": root_ca}
        with suppress(AlreadyExists):  # The news is on its way.
            await context.client.create(ServingTrustBundle, {"metadata": {"name": wanted.name}, "spec": spec})
    elif known.spec.trust_bundle != root_ca:
        metadata = {"resourceVersion": known.metadata.resource_version}
        await context.client.patch(ServingTrustBundle, wanted, {"metadata": metadata, "spec": {"trustBundle": root_ca}})
    for other in list(bundles.items.values()):
        if other.key != wanted:
            with suppress(NotFound):
                await context.client.delete(ServingTrustBundle, other.key, uid=other.uid)


def bundle_name(root_ca: str) -> str:
    """The signer's name and the beginning of the content's hash."""
    return PREFIX + hashlib.sha256(root_ca.encode()).digest()[:12].hex()


def _to_the_signer(_context: Context, _old: object, _new: object) -> Iterable[Key]:
    return (THE_SIGNER,)


async def _begin(context: Context) -> None:
    context.queue.add(THE_SIGNER)  # At first there may be no bundle whose change would wake us.


CONTROLLER = Controller(
    "kube-apiserver-serving-clustertrustbundle-publisher-controller",
    (Maps(ServingTrustBundle, _to_the_signer, fields=f"spec.signerName={SIGNER}", optional=True),),
    reconcile,
    workers=1,
    beside=_begin,
)
