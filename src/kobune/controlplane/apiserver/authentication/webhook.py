"""Webhook: a server outside the cluster is shown the token, in a TokenReview, and says whose it is.

Source: upstream apiserver, plugin/pkg/authenticator/token/webhook, and its token cache.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from kobune.api.clock import Clock
from kobune.api.errors import Json
from kobune.controlplane.apiserver.request import User
from kobune.controlplane.apiserver.reviewer import Answers, Ask, Unanswered

log = logging.getLogger(__name__)

REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class TokenWebhook:
    """Which server is asked; its answers are kept for `cache_seconds`."""

    kubeconfig: str
    version: str = "v1beta1"  # Of authentication.k8s.io.
    cache_seconds: float = 120.0


class WebhookTokens:
    def __init__(self, settings: TokenWebhook, ask: Ask, *, audiences: Sequence[str], clock: Clock) -> None:
        self._settings = settings
        self._ask = ask
        self._audiences = [*audiences]
        self._known: Answers[User | None] = Answers(clock, REMEMBERED)  # By the token's digest.

    async def authenticate(self, token: str) -> User | None:
        key = hashlib.sha256(token.encode()).digest()
        if (known := self._known.find(key)) is not None:
            return known[0]
        review = {
            "kind": "TokenReview",
            "apiVersion": f"authentication.k8s.io/{self._settings.version}",
            "metadata": {},
            "spec": {"token": token, "audiences": self._audiences},
        }
        try:
            answer = await self._ask(review)
        except Unanswered as error:
            log.error("token webhook failed", extra={"why": str(error)})
            return None
        user = user_of(answer.get("status") or {}, self._audiences)
        self._known.keep(key, user, self._settings.cache_seconds)
        return user


def user_of(status: Json, audiences: Sequence[str]) -> User | None:
    """Whose token it is, by a review's status; None when it is nobody's, or not meant for this server."""
    if not status.get("authenticated"):
        return None
    meant = status.get("audiences") or ()
    # A server that says nothing of audiences knows nothing of them: its tokens are for this one.
    if meant and not set(meant) & set(audiences):
        return None
    user = status.get("user") or {}
    extra = {key: tuple(values) for key, values in (user.get("extra") or {}).items()}
    return User(user.get("username") or "", user.get("uid") or "", tuple(user.get("groups") or ()), extra)
