"""Nobody grants what they do not have. Source: upstream registry/rbac policybased and rbac ConfirmNoEscalation."""

from collections.abc import Iterable

from kobune.api.errors import Json
from kobune.controlplane.apiserver.admission.attributes import Attributes
from kobune.controlplane.apiserver.admission.refusal import refused
from kobune.controlplane.apiserver.authorization.authorizer import Access, Authorization, Verdict
from kobune.controlplane.apiserver.authorization.rbac import GROUP, Rbac
from kobune.controlplane.apiserver.authorization.rules import Rule, rule_of, singles


class Escalation:
    """Stands in the admission chain, as it judges the final object; it cannot be switched off."""

    name = "RBACEscalation"
    operations = ("CREATE", "UPDATE")
    resources = ("roles", "clusterroles", "rolebindings", "clusterrolebindings")

    def __init__(self, rbac: Rbac, authorization: Authorization) -> None:
        self._rbac = rbac
        self._authorization = authorization

    def admit(self, attributes: Attributes) -> None:
        return None

    async def validate(self, attributes: Attributes) -> None:
        call, obj, old = attributes.call, attributes.object, attributes.old_object
        if call.kind.group != GROUP or obj is None or "system:masters" in call.user.groups:
            return
        if call.kind.name in ("Role", "ClusterRole"):
            if old is not None and (old.get("rules"), old.get("aggregationRule")) == (
                obj.get("rules"), obj.get("aggregationRule")
            ):  # fmt: skip
                return
            if await self._may(attributes, "escalate", call.kind.plural, call.name):
                return
            wanted: Iterable[Rule] = [rule_of(rule) for rule in obj.get("rules") or ()]
            if obj.get("aggregationRule"):
                # Whatever is labelled so later would be granted too.
                everything: Json = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
                wanted = [*wanted, rule_of(everything), rule_of({"verbs": ["*"], "nonResourceURLs": ["*"]})]
        else:
            reference = obj.get("roleRef") or {}
            if old is not None and (old.get("roleRef"), old.get("subjects")) == (reference, obj.get("subjects")):
                return
            plural = "roles" if reference.get("kind") == "Role" else "clusterroles"
            if await self._may(attributes, "bind", plural, reference.get("name", "")):
                return
            wanted = self._rbac.role_rules(call.namespace, reference)
        self._confirm(attributes, wanted)

    def _confirm(self, attributes: Attributes, wanted: Iterable[Rule]) -> None:
        call = attributes.call
        own = self._rbac.rules_for(call.user, call.namespace)
        missing = [rule for rule in wanted if not all(any(one.covers(part) for one in own) for part in singles(rule))]
        if missing:
            groups = " ".join(f'"{group}"' for group in call.user.groups)
            lines = "\n".join(sorted(_compact(rule) for rule in missing))
            raise refused(
                attributes,
                f'user "{call.user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently '
                f"held:\n{lines}",
            )

    async def _may(self, attributes: Attributes, verb: str, plural: str, name: str) -> bool:
        call = attributes.call
        access = Access(
            call.user, verb, GROUP, "v1", plural, namespace=call.namespace, name=name
        )  # fmt: skip
        return (await self._authorization.decide(access)).verdict is Verdict.ALLOW


def _compact(rule: Rule) -> str:
    """`{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}`"""
    parts = (
        ("NonResourceURLs", rule.urls), ("APIGroups", rule.groups), ("Resources", rule.resources),
        ("ResourceNames", rule.names), ("Verbs", rule.verbs),
    )  # fmt: skip
    shown = [f"{name}:[{' '.join(_quoted(value) for value in sorted(values))}]" for name, values in parts if values]
    return "{" + ", ".join(part.replace('" "', '", "') for part in shown) + "}"


def _quoted(value: str) -> str:
    return f'"{value}"'
