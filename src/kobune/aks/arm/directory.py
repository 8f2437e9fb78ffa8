"""The tenant's directory: applications with their secrets, service principals, and groups with their members.

Source: Microsoft Graph's reference of application, servicePrincipal and group.
"""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass

from kobune.aks.arm.store import ArmStore, Resource
from kobune.aks.arm.tokens import Principal
from kobune.api.errors import Json

APPLICATIONS, SERVICE_PRINCIPALS, GROUPS = "applications", "servicePrincipals", "groups"
COLLECTIONS = (APPLICATIONS, SERVICE_PRINCIPALS, GROUPS)
ODATA_TYPES = {
    SERVICE_PRINCIPALS: "#microsoft.graph.servicePrincipal",
    GROUPS: "#microsoft.graph.group",
    APPLICATIONS: "#microsoft.graph.application",
}
IDENTITIES = "microsoft.managedidentity/userassignedidentities"
HASH = "_sha256"  # Of a secret; the secret itself is shown once and not kept.
MEMBERS = "_members"


@dataclass(frozen=True, slots=True)
class Directory:
    """What the store keeps of it, beside the service's own principal."""

    store: ArmStore

    def list(self, collection: str) -> list[Json]:
        return [found.document for found in self.store.list(_type(collection))]

    def find(self, collection: str, object_id: str) -> Json | None:
        found = self.store.find(_key(collection, object_id))
        return found.document if found else None

    def put(self, collection: str, document: Json) -> Json:
        key = _key(collection, document["id"])
        return self.store.put(Resource(key=key, type=_type(collection), document=document)).document

    def remove(self, collection: str, object_id: str) -> None:
        """The object, and its membership in groups."""
        with self.store.transaction():
            self.store.remove(_key(collection, object_id))
            for group in self.list(GROUPS):
                if object_id in group[MEMBERS]:
                    self.put(GROUPS, group | {MEMBERS: [one for one in group[MEMBERS] if one != object_id]})

    def groups_of(self, object_id: str) -> tuple[str, ...]:
        """Object ids of the groups that somebody belongs to, also through other groups."""
        groups, found = self.list(GROUPS), {object_id.lower()}
        while True:
            more = {
                group["id"]
                for group in groups
                if group["id"] not in found and found & {m.lower() for m in group[MEMBERS]}
            }
            if not more:
                return tuple(sorted(found - {object_id.lower()}))
            found |= more

    def find_client(self, client_id: str, secret: str, *, tenant: str, now: str) -> Principal | None:
        """The principal of an application, provided it has this secret. Raises LookupError: there is none of this id."""
        principal = self._service_principal(client_id, tenant)
        digest = secret_hash(secret)
        holders = self._holders(client_id)
        kept = (credential for holder in holders for credential in holder.get("passwordCredentials") or ())
        good = [one for one in kept if hmac.compare_digest(one[HASH], digest) and (one.get("endDateTime") or "9") > now]
        return principal if good else None

    def find_identity(self, client_id: str, *, tenant: str) -> Principal | None:
        """The principal of a user-assigned identity."""
        for identity in self.store.list(IDENTITIES):
            properties = identity.document["properties"]
            if client_id.lower() in (properties["clientId"].lower(), properties["principalId"].lower()):
                return Principal(properties["clientId"], "", properties["principalId"], tenant)
        return None

    def _service_principal(self, client_id: str, tenant: str) -> Principal:
        for one in self.list(SERVICE_PRINCIPALS):
            if one["appId"].lower() == client_id.lower() and one.get("accountEnabled", True):
                return Principal(one["appId"], "", one["id"], tenant)
        raise LookupError(client_id)

    def _holders(self, client_id: str) -> Iterator[Json]:
        for collection in (APPLICATIONS, SERVICE_PRINCIPALS):
            yield from (one for one in self.list(collection) if one["appId"].lower() == client_id.lower())


def secret_hash(secret: str) -> str:
    """Secrets are made by the service and long: a plain digest cannot be guessed back."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _type(collection: str) -> str:
    return f"microsoft.graph/{collection.lower()}"


def _key(collection: str, object_id: str) -> str:
    return f"/graph/{collection}/{object_id}"
