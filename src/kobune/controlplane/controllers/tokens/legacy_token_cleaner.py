"""Marks, and in time deletes, token Secrets of long ago that nobody has used for a year.

Only those that were made without being asked for: the account refers to them. Nothing is done before the API server has
taken note of uses for as long. Source: Kubernetes documentation, Legacy ServiceAccount token cleaner; upstream.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from kobune.api.errors import Conflict, NotFound
from kobune.api.objects.core import AnyPod, ConfigMap, ServiceAccount
from kobune.api.objects.meta import Key
from kobune.controlplane.controllers.controller import Context, Controller, Maps
from kobune.controlplane.controllers.rounds import every
from kobune.controlplane.controllers.tokens.service_account_tokens import NAME, TYPE, UID, TokenSecret

ROUND_SECONDS = 24 * 3600.0
UNUSED = timedelta(days=365)  # Source: upstream --legacy-service-account-token-clean-up-period.
LAST_USED, INVALID_SINCE = "kubernetes.io/legacy-token-last-used", "kubernetes.io/legacy-token-invalid-since"
TRACKING = Key("kube-system", "kube-apiserver-legacy-service-account-token-tracking")
DAY = "%Y-%m-%d"
# Fields whose objects name a Secret by `name` or `secretName`.
REFERENCES = frozenset({"secret", "secretRef", "secretKeyRef", "imagePullSecrets", "nodePublishSecretRef"})


class WholePod(AnyPod):
    """Pods with all that they may name a Secret in; read only where a Secret is about to go."""

    spec: dict[str, Any] = msgspec.field(default_factory=dict)


async def clean(context: Context) -> None:
    """One round."""
    now = context.clock.now()
    tracking = await context.client.find(ConfigMap, TRACKING)
    since = _day(tracking.data.get("since", "")) if tracking is not None else None
    if since is None or now.date() < (since + timedelta(days=1) + UNUSED).date():
        return
    for secret in list(context.informer(TokenSecret).items.values()):
        account = context.informer(ServiceAccount).get(Key(secret.namespace, secret.metadata.annotations.get(NAME, "")))
        if not is_unused(secret, account, now):
            continue
        pods = (await context.client.list(WholePod, secret.namespace)).items
        if any(names_secret(pod.spec, secret.name) for pod in pods):
            continue
        marked = _day(secret.metadata.labels.get(INVALID_SINCE, ""))
        try:
            if marked is None:
                mark = {"metadata": {"uid": secret.uid, "labels": {INVALID_SINCE: now.strftime(DAY)}}}
                await context.client.patch(TokenSecret, secret.key, mark)
            elif marked.strftime(DAY) < (now - UNUSED).strftime(DAY):
                version = secret.metadata.resource_version
                await context.client.delete(TokenSecret, secret.key, resource_version=version)
        except (Conflict, NotFound):
            continue  # Somebody uses it, or it is gone.


def is_unused(secret: TokenSecret, account: ServiceAccount | None, now: datetime) -> bool:
    """Old, not used for a year, and made for an account that refers to it."""
    created, uid = secret.metadata.creation_timestamp, secret.metadata.annotations.get(UID, "")
    if secret.is_deleting or created is None or created >= now - UNUSED:
        return False
    used = secret.metadata.labels.get(LAST_USED)
    if used is not None and (_day(used) is None or used >= (now - UNUSED).strftime(DAY)):
        return False
    if account is None or (uid and account.uid != uid):
        return False
    return any(each.name == secret.name for each in account.secrets)


def names_secret(part: Any, name: str, field: str = "") -> bool:
    """Whether a part of a pod's spec mounts the Secret, takes variables from it, or pulls images with it."""
    if isinstance(part, list):
        return any(names_secret(each, name, field) for each in part)
    if not isinstance(part, dict):
        return False
    if field in REFERENCES and name in (part.get("name"), part.get("secretName")):
        return True
    return any(names_secret(each, name, key) for key, each in part.items())


def _day(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, DAY)  # noqa: DTZ007 (a day has no zone)
    except ValueError:
        return None


async def _run(context: Context) -> None:
    await every(context, ROUND_SECONDS, clean)


async def _no_keys(_key: Key, _context: Context) -> None:
    return


CONTROLLER = Controller(
    "legacy-serviceaccount-token-cleaner-controller",
    (Maps(TokenSecret, fields=f"type={TYPE}"), Maps(ServiceAccount)),
    _no_keys,
    workers=0,
    beside=_run,
)
