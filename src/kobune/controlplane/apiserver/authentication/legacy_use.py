"""Notes on which day a token was last used that a Secret keeps, so that those nobody uses can go.

Source: Kubernetes documentation, Legacy ServiceAccount token cleaner; upstream's legacyValidator.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from kobune.api.errors import ApiError, Json
from kobune.api.objects.meta import Key
from kobune.controlplane.apiserver.registry.call import Call
from kobune.controlplane.apiserver.registry.update import change
from kobune.controlplane.apiserver.request import MASTER

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

log = logging.getLogger(__name__)

LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"  # With this label the token is no good.
DAY = "%Y-%m-%d"


async def note_use(registry: "Registry", secret: Key, labels: Mapping[str, str], now: datetime) -> None:
    """Label the Secret with today, once a day. That it cannot be is no reason to refuse the token."""
    # Another server may live in tomorrow already.
    if labels.get(LAST_USED) in (now.strftime(DAY), (now + timedelta(days=1)).strftime(DAY)):
        return

    async def labelled(old: Json) -> Json:
        metadata = old["metadata"]
        return {**old, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), LAST_USED: now.strftime(DAY)}}}

    kind = registry.builtin("", "v1", "Secret")
    try:
        await change(registry, Call(kind, secret.namespace, secret.name, MASTER, now), labelled, checks=False)
    except ApiError as error:
        log.warning("the use of a token could not be noted", extra={"secret": str(secret), "failure": str(error)})
