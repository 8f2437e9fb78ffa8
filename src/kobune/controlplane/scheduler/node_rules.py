"""Rules on nodes, compiled once per pod: node selectors, node affinity terms, tolerations. Judged for many rows at once.

Source: Kubernetes documentation, Assigning Pods to Nodes; Taints and Tolerations; upstream component-helpers nodeaffinity.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kobune.api.objects.core import Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration
from kobune.controlplane.scheduler.arrays import Mask, Rows
from kobune.controlplane.scheduler.label_column import LabelColumn

if TYPE_CHECKING:
    from kobune.controlplane.scheduler.node_table import NodeTable

NAME_FIELD = "metadata.name"
NO_SCHEDULE, PREFER_NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "PreferNoSchedule", "NoExecute"


class LabelRule(NamedTuple):
    """One requirement on one node label."""

    key: str
    operator: str  # In, NotIn, Exists, DoesNotExist, Gt or Lt.
    values: frozenset[str] = frozenset()

    def mask(self, nodes: "NodeTable", rows: Rows) -> Mask:
        column = nodes.column(self.key)
        truth = self._truth(column)
        result: Mask = truth[column.codes[rows]]
        return result

    def accepts(self, labels: Mapping[str, str]) -> bool:
        """The same rule on one set of labels."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        return value is not None and self._compares(value)

    def _truth(self, column: LabelColumn) -> Mask:
        match self.operator:
            case "In":
                return column.truth_of_values(self.values, member=True)
            case "NotIn":
                return column.truth_of_values(self.values, member=False)
            case "Exists":
                return column.truth_of(lambda value: True, absent=False)
            case "DoesNotExist":
                return column.truth_of(lambda value: False, absent=True)
        return column.truth_of(self._compares, absent=False)

    def _compares(self, value: str) -> bool:
        number, bound = _integer(value), _integer(next(iter(self.values), ""))
        if number is None or bound is None:
            return False
        return number > bound if self.operator == "Gt" else self.operator == "Lt" and number < bound


class NameRule(NamedTuple):
    """A requirement on the node's name, the only field that may be matched."""

    names: frozenset[str]
    member: bool

    def mask(self, nodes: "NodeTable", rows: Rows) -> Mask:
        mask = np.full(nodes.capacity, not self.member)
        for name in self.names:
            row = nodes.row_of.get(name)
            if row is not None:
                mask[row] = self.member
        return mask[rows]

    def accepts(self, name: str) -> bool:
        """The same rule on one name."""
        return (name in self.names) is self.member


class NodeTerm(NamedTuple):
    """Requirements that must all hold. Without any, no node matches."""

    rules: tuple[LabelRule | NameRule, ...]

    def mask(self, nodes: "NodeTable", rows: Rows) -> Mask:
        if not self.rules:
            return np.zeros(nodes.capacity, dtype=np.bool_)[rows]
        mask = self.rules[0].mask(nodes, rows)
        for rule in self.rules[1:]:
            mask = mask & rule.mask(nodes, rows)
        return mask

    def accepts(self, node: Node) -> bool:
        """The same term on one node."""
        return bool(self.rules) and all(
            rule.accepts(node.metadata.name) if isinstance(rule, NameRule) else rule.accepts(node.metadata.labels)
            for rule in self.rules
        )

    @property
    def names(self) -> frozenset[str] | None:
        """The only nodes that can match by name; None when the term does not name any."""
        named = [rule.names for rule in self.rules if isinstance(rule, NameRule) and rule.member]
        return frozenset.intersection(*named) if named else None


class RequiredNodes(NamedTuple):
    """What the pod's node selector and required node affinity ask for together; each part may be missing."""

    labels: tuple[LabelRule, ...] = ()
    terms: tuple[NodeTerm, ...] | None = None  # One of them must hold.
    names: frozenset[str] | None = None  # The only nodes that can match by name, found once; None: the terms name none.

    def __bool__(self) -> bool:
        return bool(self.labels) or self.terms is not None

    def mask(self, nodes: "NodeTable", rows: Rows) -> Mask:
        mask = nodes.exists[rows]
        for rule in self.labels:
            mask = mask & rule.mask(nodes, rows)
        if self.terms is not None:
            mask = mask & any_term(self.terms, nodes, rows)
        return mask

    def accepts(self, node: Node) -> bool:
        """The same rules on one node."""
        if not all(rule.accepts(node.metadata.labels) for rule in self.labels):
            return False
        return self.terms is None or any(term.accepts(node) for term in self.terms)


class WeightedTerm(NamedTuple):
    weight: int
    term: NodeTerm


def any_term(terms: Sequence[NodeTerm], nodes: "NodeTable", rows: Rows) -> Mask:
    """Rows that match at least one term."""
    if not terms:
        return np.zeros(nodes.capacity, dtype=np.bool_)[rows]
    mask = terms[0].mask(nodes, rows)
    for term in terms[1:]:
        mask = mask | term.mask(nodes, rows)
    return mask


def required_nodes(labels: Mapping[str, str], selector: NodeSelector | None) -> RequiredNodes:
    """What a pod's node selector and the required terms of its node affinity ask for."""
    if selector is None:
        return RequiredNodes(compile_labels(labels))
    terms = compile_selector(selector)
    named = [term.names for term in terms]
    names = frozenset[str]().union(*(one for one in named if one is not None)) if named and None not in named else None
    return RequiredNodes(compile_labels(labels), terms, names)


def compile_selector(selector: NodeSelector) -> tuple[NodeTerm, ...]:
    """The terms of a node selector, one of which must hold."""
    return tuple(compile_term(term) for term in selector.node_selector_terms)


def compile_term(term: NodeSelectorTerm) -> NodeTerm:
    """One term; requirements on other fields than the name can never be met."""
    labels = tuple(_label_rule(one) for one in term.match_expressions or ())
    names = tuple(
        NameRule(frozenset(one.values or ()), one.operator == "In")
        if one.key == NAME_FIELD and one.operator in ("In", "NotIn")
        else NameRule(frozenset(), True)
        for one in term.match_fields or ()
    )
    return NodeTerm(labels + names)


def compile_labels(labels: Mapping[str, str]) -> tuple[LabelRule, ...]:
    """`nodeSelector`: every label with exactly this value."""
    return tuple(LabelRule(key, "In", frozenset((value,))) for key, value in sorted(labels.items()))


def _label_rule(one: NodeSelectorRequirement) -> LabelRule:
    return LabelRule(one.key, one.operator, frozenset(one.values or ()))


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether one toleration covers one taint. Source: upstream Toleration.ToleratesTaint."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator in ("", "Equal"):
        return toleration.value == taint.value
    return toleration.operator == "Exists"


def find_untolerated(taints: Iterable[Taint], tolerations: Sequence[Toleration]) -> Taint | None:
    """The first taint that keeps the pod away: NoSchedule or NoExecute, and not tolerated."""
    for taint in taints:
        if taint.effect in (NO_SCHEDULE, NO_EXECUTE) and not any(tolerates(one, taint) for one in tolerations):
            return taint
    return None


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
