"""The guard of a cluster with Entra integration: believes the tenant's tokens, and asks Azure's roles what they allow.

The front end writes what it must know to a file; the API servers read that again whenever it has changed.
"""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec
import orjson
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from kobune.aks import guard as rules
from kobune.aks.guard import Guard, Identity
from kobune.aks.roles import kubernetes_action, path_action
from kobune.api import jwt
from kobune.api.clock import Clock
from kobune.api.errors import AlreadyExists, ApiError, Json, NotFound
from kobune.client.client import Client
from kobune.controlplane.apiserver.authentication.oidc import read_key
from kobune.controlplane.apiserver.authorization.authorizer import NO_OPINION, Access, Decision, Verdict
from kobune.controlplane.apiserver.request import User
from kobune.host.pki import write_private

log = logging.getLogger(__name__)

OBJECT_ID = "oid"  # In a user's extra: only those of the directory have it.
BINDING = "aks-cluster-admin-binding-aad"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
ADMINS_SECONDS = 5.0  # Between two looks at the administrators' binding.
MOST_TOKENS = 1000  # Remembered as good.
ALLOWED = Decision(Verdict.ALLOW, "Access allowed by Azure RBAC")
DENIED = Decision(
    Verdict.NO_OPINION,
    "User does not have access to the resource in Azure. Update role assignment to allow access.",
)


def read_guard(path: Path) -> Guard | None:
    """What the guard knows; None for a cluster without Entra integration."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Guard)
    except FileNotFoundError:
        return None


def write_guard(path: Path, guard: Guard) -> None:
    write_private(path, msgspec.json.encode(guard))


class EntraGuard:
    """Authenticates by token and authorizes, as the guard's webhooks do in AKS."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._seen = -1
        self._guard: Guard | None = None
        self._keys: Mapping[str, PublicKeyTypes] = {}
        self._good: dict[bytes, Identity] = {}  # By the token's hash.

    async def authenticate(self, token: str) -> User | None:
        """Whose token it is; None when it is not the tenant's, or no good."""
        self._look()
        if self._guard is None:
            return None
        now, digest = self._clock.now().timestamp(), hashlib.sha256(token.encode()).digest()
        found = self._good.get(digest)
        if found is None or found.ends <= now:
            found = self._verified(token, self._guard, now)
            if found is None:
                return None
            if len(self._good) >= MOST_TOKENS:
                self._good.clear()
            self._good[digest] = found
        return User(found.name, groups=found.groups, extra={OBJECT_ID: (found.object_id,)})

    def authorize(self, access: Access) -> Decision:
        """What Azure's roles say, asked after the cluster's own; about the directory's users alone."""
        who = access.user.extra.get(OBJECT_ID)
        if not who:
            return NO_OPINION
        self._look()
        if self._guard is None or not self._guard.decides:
            return NO_OPINION
        if access.path:
            action = path_action(access.verb, access.path)
        else:
            action = kubernetes_action(access.verb, access.group, access.resource, access.subresource)
        principals = frozenset(name.lower() for name in (*who, *access.user.groups))
        if rules.allows(self._guard.grants, principals, action, access.namespace):
            return ALLOWED
        log.info("access denied", extra={"user": access.user.name, "action": action, "namespace": access.namespace})
        return DENIED

    def _verified(self, token: str, guard: Guard, now: float) -> Identity | None:
        try:
            jwt.verify(token, self._keys.values())
            found = rules.identify(jwt.read_claims(token), guard.tenant, now=now)
        except (jwt.NotAToken, rules.TokenRefused) as error:
            log.info("token refused", extra={"why": str(error)})
            return None
        log.info("token accepted", extra={"user": found.name, "oid": found.object_id, "groups": len(found.groups)})
        return found

    def _look(self) -> None:
        """Read the file again if it is another one."""
        try:
            changed = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            changed = 0
        if changed == self._seen:
            return
        self._guard = read_guard(self._path)
        keys = self._guard.keys["keys"] if self._guard else ()
        self._keys = {str(one.get("kid", "")): key for one in keys if (key := read_key(one)) is not None}
        self._good.clear()
        self._seen = changed


async def keep_admins(path: Path, client: Client, clock: Clock) -> None:
    """Keep the groups of administrators bound to cluster-admin, until cancelled."""
    while True:
        guard = read_guard(path)
        if guard is not None:
            try:
                await _bind(guard, client)
            except ApiError as error:
                log.warning("administrators are not bound", extra={"failure": str(error)})
        await clock.sleep(ADMINS_SECONDS)


async def _bind(guard: Guard, client: Client) -> None:
    wanted = admins_binding(guard)
    try:
        found = orjson.loads(await client.call("GET", f"{BINDINGS}/{BINDING}"))
    except NotFound:
        if wanted["subjects"]:
            try:
                await client.call("POST", BINDINGS, body=orjson.dumps(wanted))
            except AlreadyExists:
                return  # Another API server's.
            log.info("administrators bound", extra={"groups": list(guard.admin_groups)})
        return
    if (found.get("subjects") or []) != wanted["subjects"]:
        await client.call("PUT", f"{BINDINGS}/{BINDING}", body=orjson.dumps(found | {"subjects": wanted["subjects"]}))
        log.info("administrators bound", extra={"groups": list(guard.admin_groups)})


def admins_binding(guard: Guard) -> Json:
    """The ClusterRoleBinding that makes members of the groups administrators."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": BINDING, "labels": {"kubernetes.io/cluster-service": "true"}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group} for group in guard.admin_groups
        ],
    }
