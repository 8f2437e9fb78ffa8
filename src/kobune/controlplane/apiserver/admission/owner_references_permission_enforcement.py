"""OwnerReferencesPermissionEnforcement: who gives an object owners may delete it, and may finalize owners whose end it holds up."""

from collections.abc import Awaitable

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.authorization.authorizer import Access, Authorization, Verdict
from kobune.controlplane.apiserver.registry.registry import Registry


class OwnerReferencesPermissionEnforcement:
    """Source: upstream plugin/pkg/admission/gc."""

    name = "OwnerReferencesPermissionEnforcement"
    operations = ("CREATE", "UPDATE")
    resources = ("**",)

    def __init__(self, registry: Registry, authorization: Authorization) -> None:
        self._registry = registry
        self._authorization = authorization

    def admit(self, attributes: Attributes) -> None:
        return None

    def validate(self, attributes: Attributes) -> Awaitable[None] | None:
        new, old = _owners(attributes.object), _owners(attributes.old_object)
        return None if new == old else self._judge(attributes, new, old)

    async def _judge(self, attributes: Attributes, new: list[Json], old: list[Json]) -> None:
        call = attributes.call
        if attributes.operation != "CREATE":
            delete = Access(
                call.user, "delete", call.kind.group, call.kind.version, call.kind.plural, call.subresource,
                call.namespace, call.name,
            )  # fmt: skip
            await self._require(attributes, delete, "cannot set an ownerRef on a resource you can't delete")
        blocking_before = {one.get("uid") for one in old if one.get("blockOwnerDeletion")}
        blocking = [one for one in new if one.get("blockOwnerDeletion") and one.get("uid") not in blocking_before]
        anything = Access(call.user, "update", "*", "*", "*", "finalizers", name="*")
        if not blocking or (await self._authorization.decide(anything)).verdict is Verdict.ALLOW:
            return
        why = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"
        for owner in blocking:
            await self._require(attributes, self._finalizing(attributes, owner), why)

    def _finalizing(self, attributes: Attributes, owner: Json) -> Access:
        """Raises Forbidden where there is no such kind."""
        call = attributes.call
        group, _, version = owner["apiVersion"].rpartition("/")
        kind = self._registry.catalogue.find_kind(group, version, owner["kind"])
        if kind is None:
            where = f"for APIVersion {owner['apiVersion']} Kind {owner['kind']}"
            missing = f'no matches for kind "{owner["kind"]}" in version "{owner["apiVersion"]}"'
            raise refused(
                attributes,
                f"cannot set blockOwnerDeletion in this case because cannot find RESTMapping {where}: {missing}",
            )
        namespace = call.namespace if kind.namespaced else ""
        return Access(call.user, "update", group, version, kind.plural, "finalizers", namespace, owner["name"])

    async def _require(self, attributes: Attributes, access: Access, why: str) -> None:
        decision = await self._authorization.decide(access)
        if decision.verdict is not Verdict.ALLOW:
            raise refused(attributes, f"{why}: {decision.reason}, {decision.error or '<nil>'}")


def _owners(obj: Json | None) -> list[Json]:
    meta = (obj or {}).get("metadata")
    return (meta.get("ownerReferences") or []) if isinstance(meta, dict) else []
