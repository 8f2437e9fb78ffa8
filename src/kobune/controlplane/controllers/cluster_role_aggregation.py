"""Keeps each aggregated ClusterRole at the sum of the rules of the roles that it selects."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import msgspec

from kobune.api.objects.meta import GVK, Key, Object, View
from kobune.api.selectors import labels_from_json
from kobune.controlplane.controllers.controller import Context, Controller, For, Maps

Rule = dict[str, Any]


class AggregationRule(View):
    cluster_role_selectors: list[dict[str, Any]] = msgspec.field(default_factory=list)


class ClusterRole(Object):
    gvk: ClassVar[GVK] = GVK("rbac.authorization.k8s.io", "v1", "ClusterRole")
    aggregation_rule: AggregationRule | None = None
    rules: list[Rule] | None = None


async def reconcile(key: Key, context: Context) -> None:
    """Write the role's rules if they are not what they should be."""
    role = context.informer(ClusterRole).get(key)
    if role is None or role.aggregation_rule is None:
        return
    rules = plan(role, list(context.informer(ClusterRole).items.values()))
    if rules != (role.rules or []):
        await context.client.patch(ClusterRole, key, {"rules": rules})


def plan(role: ClusterRole, roles: Sequence[ClusterRole]) -> list[Rule]:
    """The rules of all other roles that any of the selectors matches, by name, each once."""
    selectors = [labels_from_json(each) for each in (role.aggregation_rule or AggregationRule()).cluster_role_selectors]
    rules: list[Rule] = []
    for other in sorted(roles, key=lambda each: each.name):
        if other.name == role.name or not any(each.matches(other.metadata.labels) for each in selectors):
            continue
        rules.extend(rule for rule in other.rules or () if rule not in rules)
    return rules


def _aggregated(context: Context, old: ClusterRole | None, new: ClusterRole | None) -> Iterable[Key]:
    """Any role may be part of any aggregated one."""
    if old is not None and new is not None and (old.rules, old.metadata.labels) == (new.rules, new.metadata.labels):
        return ()
    return [each.key for each in context.informer(ClusterRole).items.values() if each.aggregation_rule is not None]


CONTROLLER = Controller(
    "clusterrole-aggregation-controller", (For(ClusterRole), Maps(ClusterRole, _aggregated)), reconcile
)
