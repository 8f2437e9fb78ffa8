"""Makes the roles and bindings that every cluster has, where they are missing."""

from collections.abc import Iterator
from itertools import chain

from kobune.api.catalogue import Catalogue
from kobune.api.errors import Json
from kobune.controlplane.apiserver.authorization.cluster_roles import (
    AGGREGATE_LABELS,
    AGGREGATED,
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    RULES_BY_KIND,
)
from kobune.controlplane.apiserver.authorization.controller_roles import CONTROLLER_ROLES, ROLES_BY_KIND
from kobune.controlplane.apiserver.authorization.namespace_roles import NAMESPACE_BINDINGS, NAMESPACE_ROLES
from kobune.controlplane.apiserver.authorization.rules import Rule, parse_rule

GROUP = "rbac.authorization.k8s.io"
AGGREGATE_LABEL = f"{GROUP}/aggregate-to-"
MANAGER = "kobune:kube-controller-manager"
NODE_AGENT = "kobune:node-agent"
LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
ANNOTATIONS = {"rbac.authorization.kubernetes.io/autoupdate": "true"}

Subject = tuple[str, str, str]


def bootstrap_objects(catalogue: Catalogue) -> Iterator[tuple[str, str, Json]]:
    """(kind, namespace, manifest) of each object of a cluster that serves these kinds."""
    for name, lines in CLUSTER_ROLES.items():
        more = (rules.get(name, ()) for kind, rules in RULES_BY_KIND.items() if catalogue.find_kind(*kind) is not None)
        yield "ClusterRole", "", _role(name, [parse_rule(line) for line in (*lines, *chain.from_iterable(more))])
    for name in AGGREGATED:
        yield "ClusterRole", "", _sum(name)
    for name, subjects in CLUSTER_BINDINGS.items():
        yield "ClusterRoleBinding", "", _binding(name, "ClusterRole", name, subjects)
    everything: dict[Rule, None] = {}
    for account, lines in CONTROLLER_ROLES.items():
        rules = [parse_rule(line) for line in lines]
        everything.update(dict.fromkeys(rules))
        name = f"system:controller:{account}"
        yield "ClusterRole", "", _role(name, rules)
        yield (
            "ClusterRoleBinding",
            "",
            _binding(name, "ClusterRole", name, (("ServiceAccount", "kube-system", account),)),
        )
    # Our controller manager acts under one name, so that name may do what its controllers may.
    yield "ClusterRole", "", _role(MANAGER, list(everything))
    yield (
        "ClusterRoleBinding",
        "",
        _binding(MANAGER, "ClusterRole", MANAGER, (("User", "", "system:kube-controller-manager"),)),
    )
    for served, account, lines in ROLES_BY_KIND:
        if catalogue.find_kind(*served) is not None:
            name = f"system:controller:{account}"
            subjects = (("ServiceAccount", "kube-system", account), ("User", "", "system:kube-controller-manager"))
            yield "ClusterRole", "", _role(name, [parse_rule(line) for line in lines])
            yield "ClusterRoleBinding", "", _binding(name, "ClusterRole", name, subjects)
    # Our node agent is kubelet and kube-proxy in one.
    yield (
        "ClusterRoleBinding",
        "",
        _binding(NODE_AGENT, "ClusterRole", "system:node-proxier", (("Group", "", "system:nodes"),)),
    )
    for (namespace, name), lines in NAMESPACE_ROLES.items():
        yield "Role", namespace, _role(name, [parse_rule(line) for line in lines])
    for (namespace, name), (role, subjects) in NAMESPACE_BINDINGS.items():
        yield "RoleBinding", namespace, _binding(name, "Role", role, subjects)


def _meta(name: str) -> Json:
    labels = dict(LABELS)
    if name in AGGREGATE_LABELS:
        labels[AGGREGATE_LABEL + AGGREGATE_LABELS[name]] = "true"
    return {"name": name, "labels": labels, "annotations": dict(ANNOTATIONS)}


def _role(name: str, rules: list[Rule]) -> Json:
    return {"metadata": _meta(name), "rules": [rule.to_json() for rule in rules]}


def _sum(name: str) -> Json:
    """A role that is the sum of those labelled for it, and of what those are the sum of."""
    selector = {"matchLabels": {AGGREGATE_LABEL + name: "true"}}
    rules = list(dict.fromkeys(_summed(name)))
    return {**_role(name, rules), "aggregationRule": {"clusterRoleSelectors": [selector]}}


def _summed(name: str) -> Iterator[Rule]:
    for part, whole in AGGREGATE_LABELS.items():
        if whole == name:
            yield from (parse_rule(line) for line in CLUSTER_ROLES.get(part, ()))
            if part in AGGREGATED:
                yield from _summed(part)


def _binding(name: str, kind: str, role: str, subjects: tuple[Subject, ...]) -> Json:
    return {
        "metadata": _meta(name),
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
        "subjects": [_subject(*subject) for subject in subjects],
    }


def _subject(kind: str, namespace: str, name: str) -> Json:
    if kind == "ServiceAccount":
        return {"kind": kind, "namespace": namespace, "name": name}
    return {"kind": kind, "apiGroup": GROUP, "name": name}
