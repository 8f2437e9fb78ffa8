"""RBAC: what roles allow those to whom they are bound. Decisions are remembered until a role or binding changes."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import orjson

from kobune.api.catalogue import Kind
from kobune.api.errors import Json
from kobune.api.selectors import labels_from_json
from kobune.controlplane.apiserver.authorization.authorizer import NO_OPINION, Access, Decision, Verdict
from kobune.controlplane.apiserver.authorization.rules import Rule, rule_of
from kobune.controlplane.apiserver.registry.registry import Registry
from kobune.controlplane.apiserver.request import User
from kobune.controlplane.store.cache import Cache

GROUP = "rbac.authorization.k8s.io"
KINDS = ("ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding")
REMEMBERED = 20_000


class Grant(NamedTuple):
    """What one binding gives its subjects."""

    namespace: str  # "": everywhere.
    rules: tuple[Rule, ...]
    binding: str
    role: str


class Rbac:
    """`run` keeps it up to date; before that it allows nothing."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kinds: list[Kind] = [registry.builtin(GROUP, "v1", name) for name in KINDS]
        self._caches: dict[str, Cache] = {}
        self._grants: defaultdict[str, list[Grant]] = defaultdict(list)
        self._roles: dict[tuple[str, str], tuple[Rule, ...]] = {}
        self._seen: tuple[int, ...] = ()
        self._decisions: dict[tuple[object, ...], Decision] = {}  # Without a name in the key: the same for all names.

    async def load(self) -> None:
        """Open the caches."""
        for kind in self._kinds:
            self._caches[kind.name] = await self._registry.cache(kind)

    def authorize(self, access: Access) -> Decision:
        self._refresh()
        user = access.user
        key = (
            user.name, tuple(user.groups), access.verb, access.group, access.resource, access.subresource,
            access.namespace, access.path,
        )  # fmt: skip
        decision = self._decisions.get(key) or self._decisions.get((*key, access.name))
        if decision is None:
            decision, by_name = self._decide(access)
            if len(self._decisions) >= REMEMBERED:
                self._decisions.clear()
            # A scheduler or a controller asks for thousands of objects in turn, and its rules name none of them.
            self._decisions[(*key, access.name) if by_name else key] = decision
        return decision

    def rules_for(self, user: User, namespace: str) -> list[Rule]:
        """Everything that the user may do in a namespace; "" is cluster-wide."""
        self._refresh()
        return [rule for grant in self._grants_of(user, namespace) for rule in grant.rules]

    def role_rules(self, namespace: str, reference: Json) -> tuple[Rule, ...]:
        """The rules of the role that a binding in `namespace` refers to; none when it does not exist."""
        self._refresh()
        where = namespace if reference.get("kind") == "Role" else ""
        return self._roles.get((where, reference.get("name", "")), ())

    def _decide(self, access: Access) -> tuple[Decision, bool]:
        """The decision, and whether it might be another one for an object of another name."""
        by_name = False
        for grant in self._grants_of(access.user, access.namespace):
            for rule in grant.rules:
                if rule.allows(access):
                    return Decision(Verdict.ALLOW, f"RBAC: allowed by {grant.binding} of {grant.role}"), (
                        by_name or bool(rule.names)
                    )
                by_name = by_name or (bool(rule.names) and rule.allows_some(access))
        return NO_OPINION, by_name

    def _grants_of(self, user: User, namespace: str) -> Iterator[Grant]:
        for subject in (f"User {user.name}", *(f"Group {group}" for group in user.groups)):
            for grant in self._grants.get(subject, ()):
                if not grant.namespace or grant.namespace == namespace:
                    yield grant

    def _refresh(self) -> None:
        """Read everything anew when a role or binding has changed since."""
        seen = tuple(cache.changed_at for cache in self._caches.values())
        if seen == self._seen:
            return
        self._seen = seen
        self._decisions.clear()
        self._grants.clear()
        self._roles = self._read_roles()
        for kind in ("ClusterRoleBinding", "RoleBinding"):
            for item in self._caches[kind].list():
                binding: Json = orjson.loads(item.body)
                self._add(kind, item.namespace, binding)

    def _read_roles(self) -> dict[tuple[str, str], tuple[Rule, ...]]:
        roles: dict[tuple[str, str], tuple[Rule, ...]] = {}
        sums: list[Json] = []
        labelled = [(item, orjson.loads(item.body)) for item in self._caches["ClusterRole"].list()]
        for item, role in labelled:
            roles["", item.name] = tuple(rule_of(rule) for rule in role.get("rules") or ())
            if role.get("aggregationRule"):
                sums.append(role)
        for role in sums:
            selectors = [labels_from_json(one) for one in role["aggregationRule"].get("clusterRoleSelectors") or ()]
            name = role["metadata"]["name"]
            parts = [
                rule
                for item, part in labelled
                if item.name != name and any(selector.matches(item.labels) for selector in selectors)
                for rule in (rule_of(one) for one in part.get("rules") or ())
            ]
            roles["", name] = tuple(dict.fromkeys((*roles["", name], *parts)))
        for item in self._caches["Role"].list():
            rules = orjson.loads(item.body).get("rules") or ()
            roles[item.namespace, item.name] = tuple(rule_of(rule) for rule in rules)
        return roles

    def _add(self, kind: str, namespace: str, binding: Json) -> None:
        reference = binding.get("roleRef") or {}
        where = namespace if reference.get("kind") == "Role" else ""
        rules = self._roles.get((where, reference.get("name", "")))
        if not rules:
            return
        name = binding["metadata"]["name"]
        binding_text = f'{kind} "{f"{name}/{namespace}" if namespace else name}"'
        grant = Grant(namespace, rules, binding_text, f'{reference.get("kind")} "{reference.get("name")}"')
        for subject in binding.get("subjects") or ():
            match subject.get("kind"):
                case "User" | "Group" as sort:
                    self._grants[f"{sort} {subject.get('name')}"].append(grant)
                case "ServiceAccount":
                    account = f"system:serviceaccount:{subject.get('namespace') or namespace}:{subject.get('name')}"
                    self._grants[f"User {account}"].append(grant)
