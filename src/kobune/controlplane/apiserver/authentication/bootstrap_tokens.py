"""Bootstrap tokens: short-lived ones that a machine joins with. Source: upstream plugin/pkg/auth/authenticator/token/bootstrap."""

import base64
import binascii
import hmac
import re
from typing import TYPE_CHECKING

import orjson

from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.api.timestamps import parse_time
from kobune.controlplane.apiserver.request import User

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.registry.registry import Registry

NAMESPACE = "kube-system"
TYPE = "bootstrap.kubernetes.io/token"
GROUP = "system:bootstrappers"
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})", re.ASCII)
_EXTRA_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]", re.ASCII)


class BootstrapTokens:
    """The tokens that Secrets in kube-system hold."""

    def __init__(self, registry: "Registry", clock: Clock) -> None:
        self._registry = registry
        self._clock = clock

    async def authenticate(self, token: str) -> User | None:
        """Whose token it is; None when it is none, or no longer good."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        token_id, secret = match[1], match[2]
        kind = self._registry.builtin("", "v1", "Secret")
        item = await self._registry.find_item(kind, NAMESPACE, f"bootstrap-token-{token_id}")
        if item is None:
            return None
        data = _data(orjson.loads(item.body))
        # Compared in a time that tells nothing of where they differ.
        if data is None or not hmac.compare_digest(data.get("token-secret", "").encode(), secret.encode()):
            return None
        if data.get("token-id") != token_id or data.get("usage-bootstrap-authentication") != "true":
            return None
        if self._is_over(data.get("expiration", "")):
            return None
        extra = [group for group in data.get("auth-extra-groups", "").split(",") if group]
        if not all(_EXTRA_GROUP.fullmatch(group) for group in extra):
            return None
        return User(f"system:bootstrap:{token_id}", groups=(GROUP, *extra))

    def _is_over(self, expiration: str) -> bool:
        if not expiration:
            return False
        try:
            return parse_time(expiration) <= self._clock.now()
        except ValueError:
            return True


def _data(secret: Json) -> dict[str, str] | None:
    """The Secret's content as text; None when it is no token, or on its way out."""
    if secret.get("type") != TYPE or secret["metadata"].get("deletionTimestamp"):
        return None
    try:
        return {name: base64.b64decode(value).decode() for name, value in (secret.get("data") or {}).items()}
    except (binascii.Error, UnicodeDecodeError):
        return None
