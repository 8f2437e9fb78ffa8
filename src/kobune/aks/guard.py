"""What a cluster with Entra integration needs to know of the directory: whose tokens are good, and who may do what.

AKS calls the part that decides guard. Source: AKS's pages on managed Entra integration and on Azure RBAC for Kubernetes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kobune.aks.roles import Role, custom_role
from kobune.api.errors import Json

# The applications of AKS in every tenant: what tokens for clusters are meant for, and whom people sign in with.
SERVER_APPLICATION = "6dae42f8-4368-4678-94ff-3960e28e3630"
CLIENT_APPLICATION = "80faf920-1908-4b52-b5ef-a8e7bedfc67a"


@dataclass(frozen=True, slots=True)
class Grant:
    """A role inside the cluster."""

    principal: str  # Object id, in lower case.
    namespace: str  # Where it counts; empty: everywhere.
    data_actions: tuple[str, ...]
    not_data_actions: tuple[str, ...] = ()

    @property
    def role(self) -> Role:
        permissions = {"dataActions": self.data_actions, "notDataActions": self.not_data_actions}
        return custom_role("", "", "", [permissions])


@dataclass(frozen=True, slots=True)
class Guard:
    """The directory as one cluster sees it.

    Args:
        keys: of the tokens' issuer, as a JSON Web Key Set. `admin_groups`: whose members are cluster-admin.
        decides: whether `grants` allow what the cluster's own roles do not (Azure RBAC for Kubernetes).
    """

    tenant: str
    keys: Json
    admin_groups: tuple[str, ...] = ()
    decides: bool = False
    grants: tuple[Grant, ...] = ()


class TokenRefused(Exception):
    """Why a token of the tenant's issuer is no good."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token names."""

    name: str
    object_id: str
    groups: tuple[str, ...]
    ends: float  # Seconds since 1970.


def identify(claims: Mapping[str, object], tenant: str, *, now: float) -> Identity:
    """Whom the claims of a token with a good signature name: people by their user principal name, others by object id.

    Raises:
        TokenRefused: another tenant, another audience, expired, or nobody.
    """
    if claims.get("tid") != tenant:
        raise TokenRefused(f"of tenant {claims.get('tid')}")
    given = claims.get("aud")
    if str(given).removeprefix("spn:").rstrip("/") != SERVER_APPLICATION:
        raise TokenRefused(f"meant for {given}")
    ends, begins = claims.get("exp"), claims.get("nbf", 0)
    if not isinstance(ends, int | float) or ends <= now:
        raise TokenRefused("expired")
    if not isinstance(begins, int | float) or begins > now:
        raise TokenRefused("not valid yet")
    object_id = str(claims.get("oid") or "")
    groups = claims.get("groups") or ()
    if not object_id or not isinstance(groups, Sequence):
        raise TokenRefused("names nobody")
    return Identity(str(claims.get("upn") or object_id), object_id, tuple(map(str, groups)), float(ends))


def allows(grants: Sequence[Grant], principals: frozenset[str], action: str, namespace: str) -> bool:
    """Whether a role allows somebody an action inside a namespace, or with an empty one in the whole cluster."""
    return any(
        grant.principal in principals and grant.namespace in ("", namespace) and grant.role.allows_data(action)
        for grant in grants
    )
