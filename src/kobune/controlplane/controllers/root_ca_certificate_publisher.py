"""Keeps the cluster's CA in a ConfigMap `kube-root-ca.crt` of every namespace, for pods to trust the API server by."""

from contextlib import suppress

from kobune.api.errors import AlreadyExists
from kobune.api.objects.core import ConfigMap, Namespace
from kobune.api.objects.meta import Key
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps
from kobune.controlplane.controllers.service_account import namespace_of

NAME, ENTRY = "kube-root-ca.crt", "ca.crt"
DESCRIPTION = {
    "kubernetes.io/description": (
        "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
        "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
        "clusters."
    )
}


class RootCa(ConfigMap):
    """The ConfigMaps of that name alone."""


async def reconcile(key: Key, context: Context) -> None:
    """Create the ConfigMap, or put right what was changed in it."""
    namespace = context.informer(Namespace).get(key)
    root_ca = context.settings.root_ca.decode()
    if namespace is None or namespace.is_deleting or namespace.status.phase == "Terminating" or not root_ca:
        return
    where = Key(namespace.name, NAME)
    known = context.informer(RootCa).get(where)
    if known is None:
        metadata = {"name": NAME, "namespace": namespace.name, "annotations": DESCRIPTION}
        with suppress(AlreadyExists):
            await context.client.create(RootCa, {"metadata": metadata, "data": {ENTRY: root_ca}})
        return
    described = DESCRIPTION.items() <= known.metadata.annotations.items()
    if known.data == {ENTRY: root_ca} and described:
        return
    data: dict[str, str | None] = {name: None for name in known.data if name != ENTRY}
    await context.client.patch(
        RootCa, where, {"metadata": {"annotations": DESCRIPTION}, "data": {**data, ENTRY: root_ca}}
    )


CONTROLLER = Controller(
    "root-ca-certificate-publisher-controller",
    (For(Namespace), Maps(RootCa, namespace_of, fields=f"metadata.name={NAME}")),
    reconcile,
)
