"""Who may use the node's server: administrators, and whom the API server says so about."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from kobune.api.clock import Clock
from kobune.api.errors import ApiError
from kobune.client.client import Client

ADMINISTRATORS = "system:masters"
# How long an answer holds. Source: upstream kubelet authorization.webhook cacheAuthorizedTTL, cacheUnauthorizedTTL.
ALLOWED_SECONDS, DENIED_SECONDS = 300.0, 30.0
# What a path's first part is called in a nodes subresource. Source: upstream nodeAuthorizerAttributesGetter.
SUBRESOURCES = {"stats": "stats", "metrics": "metrics", "logs": "log", "checkpoint": "checkpoint", "pods": "pods",
                "healthz": "healthz", "configz": "configz"}  # fmt: skip
VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Peer(NamedTuple):
    """The subject of a client certificate."""

    user: str
    groups: tuple[str, ...]


def peer_of(certificate: Mapping[str, Any] | None) -> Peer:
    """From what ssl's getpeercert tells: the common name, and the organizations as groups."""
    pairs = [pair for part in (certificate or {}).get("subject", ()) for pair in part]
    names = [value for name, value in pairs if name == "commonName"]
    return Peer(names[0] if names else "", tuple(value for name, value in pairs if name == "organizationName"))


class Authorizer:
    """Asks the API server by SubjectAccessReview, and remembers for a while."""

    def __init__(self, client: Client, node_name: str, clock: Clock) -> None:
        self._client = client
        self._node_name = node_name
        self._clock = clock
        self._answers: dict[tuple[Peer, str, str], tuple[float, bool]] = {}

    async def allows(self, peer: Peer, method: str, path: str) -> bool:
        if ADMINISTRATORS in peer.groups:
            return True
        subresource = SUBRESOURCES.get(path.strip("/").split("/")[0], "proxy")
        verb = VERBS.get(method, "get")
        asked = (peer, verb, subresource)
        until, allowed = self._answers.get(asked, (0.0, False))
        if self._clock.monotonic() < until:
            return allowed
        allowed = await self._ask(peer.user, peer.groups, verb, subresource)
        self._answers[asked] = (self._clock.monotonic() + (ALLOWED_SECONDS if allowed else DENIED_SECONDS), allowed)
        return allowed

    async def _ask(self, user: str, groups: Sequence[str], verb: str, subresource: str) -> bool:
        attributes = {
            "verb": verb,
            "version": "v1",
            "resource": "nodes",
            "subresource": subresource,
            "name": self._node_name,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": list(groups), "resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        try:
            answer = orjson.loads(await self._client.call("POST", path, body=orjson.dumps(review)))
        except ApiError:
            return False
        return bool(answer.get("status", {}).get("allowed"))
