"""Puts a token into each Secret that is made for one, and removes it with its ServiceAccount.

Source: Kubernetes documentation, Managing Service Accounts, Secrets; upstream's tokens controller.
"""

import base64
from collections.abc import Iterable

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kobune.api import jwt
from kobune.api.errors import Conflict, Json, NotFound
from kobune.api.objects.core import Secret, ServiceAccount
from kobune.api.objects.meta import Key
from kobune.controlplane.controllers.controller import Context, Controller, Maps

TYPE = "kubernetes.io/service-account-token"
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
ISSUER, CLAIM = "kubernetes/serviceaccount", "kubernetes.io/serviceaccount"


class TokenSecret(Secret):
    """Secrets of that type alone."""


async def reconcile(key: Key, context: Context) -> None:
    """One Secret: fill it, delete it, or drop the account's reference to it."""
    if not context.settings.service_account_key:
        return
    secret = context.informer(TokenSecret).get(key)
    if secret is None:
        await _drop_references(key, context)
        return
    if secret.is_deleting:
        return
    name, uid = secret.metadata.annotations.get(NAME, ""), secret.metadata.annotations.get(UID, "")
    account_key = Key(key.namespace, name)
    account = context.informer(ServiceAccount).get(account_key)
    if account is None or (uid and account.uid != uid):
        account = await context.client.find(ServiceAccount, account_key) if name else None
    if account is None or (uid and account.uid != uid):
        try:
            await context.client.delete(TokenSecret, key, uid=secret.uid)
        except (NotFound, Conflict):
            return
        return
    data = missing_data(secret, account, context.settings.root_ca, context.settings.service_account_key)
    annotations = {} if uid else {UID: account.uid}
    if data or annotations:
        metadata: Json = {"resourceVersion": secret.metadata.resource_version, "annotations": annotations}
        await context.client.patch(TokenSecret, key, {"metadata": metadata, "data": data})


def missing_data(secret: Secret, account: ServiceAccount, root_ca: bytes, key: bytes) -> dict[str, str]:
    """What the Secret lacks, in base64."""
    wanted = {"namespace": base64.b64encode(account.namespace.encode()).decode()}
    if root_ca:
        wanted["ca.crt"] = base64.b64encode(root_ca).decode()
    lacking = {
        name: value
        for name, value in wanted.items()
        if (secret.data.get(name) != value if name == "ca.crt" else not secret.data.get(name))
    }
    if not secret.data.get("token"):
        token = jwt.sign(claims(secret, account), load_pem_private_key(key, password=None))
        lacking["token"] = base64.b64encode(token.encode()).decode()
    return lacking


def claims(secret: Secret, account: ServiceAccount) -> Json:
    """What such a token says: it has no end and no audience, and lives as long as the Secret."""
    return {
        "iss": ISSUER,
        f"{CLAIM}/namespace": account.namespace,
        f"{CLAIM}/secret.name": secret.name,
        f"{CLAIM}/service-account.name": account.name,
        f"{CLAIM}/service-account.uid": account.uid,
        "sub": f"system:serviceaccount:{account.namespace}:{account.name}",
    }


async def _drop_references(key: Key, context: Context) -> None:
    for account in context.informer(ServiceAccount).index("secret", key):
        left = [each for each in account.secrets if each.name != key.name]
        metadata = {"resourceVersion": account.metadata.resource_version}
        change = {"metadata": metadata, "secrets": [{"name": each.name} for each in left] or None}
        await context.client.patch(ServiceAccount, account.key, change)


def _secret_itself(_context: Context, old: TokenSecret | None, new: TokenSecret | None) -> Iterable[Key]:
    secret = new or old
    return (secret.key,) if secret is not None else ()


def _secrets_of_account(context: Context, old: ServiceAccount | None, new: ServiceAccount | None) -> Iterable[Key]:
    """An account that comes or goes decides over its Secrets."""
    account = new or old
    if account is None or (old is not None and new is not None and old.uid == new.uid):
        return ()
    return [secret.key for secret in context.informer(TokenSecret).index("account", account.key)]


def _prepare(context: Context) -> None:
    context.informer(TokenSecret).add_index(
        "account", lambda secret: (Key(secret.namespace, secret.metadata.annotations.get(NAME, "")),)
    )
    context.informer(ServiceAccount).add_index(
        "secret", lambda account: [Key(account.namespace, each.name) for each in account.secrets]
    )


CONTROLLER = Controller(
    "serviceaccount-token-controller",
    (
        Maps(TokenSecret, _secret_itself, fields=f"type={TYPE}"),
        Maps(ServiceAccount, _secrets_of_account),
    ),
    reconcile,
    prepare=_prepare,
)
