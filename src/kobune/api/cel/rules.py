"""x-kubernetes-validations: what is wrong with a custom object by the rules of its schema.

Rules are compiled at their first use and run on the parts of the object that they stand at. A rule that speaks of oldSelf
judges changes alone, and parts that have not changed may stay as they are. Source: upstream apiextensions-apiserver,
pkg/apiserver/schema/cel.
"""

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kobune.api import field_errors
from kobune.api.cel.cost import cost_of
from kobune.api.cel.declarations import OPTIONAL_OLD, checked
from kobune.api.cel.environment import CelError, Evaluation, Program, TooCostly, evaluator
from kobune.api.cel.sizes import measured, size_of
from kobune.api.cel.syntax import Node
from kobune.api.cel.values import converter
from kobune.api.errors import FieldError, Json

log = logging.getLogger(__name__)

_STRINGS = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")
_OLD = re.compile(r"\boldSelf\b")
_FAILURES = {"FieldValueRequired": field_errors.required, "FieldValueForbidden": field_errors.forbidden}
_WITHOUT_OLD, _WITH_OLD = ("self",), ("self", "oldSelf")
_WITH_OPTIONAL = ("self", "hasOldSelf", "givenOldSelf")
MAX_MESSAGE = 5 * 1024
# Units that one evaluation may cost, and all of one object. Source: upstream PerCallLimit and RuntimeCELCostBudget.
CALL_LIMIT, BUDGET = 1_000_000, 10_000_000
OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


def uses_old(expression: str) -> bool:
    """Whether an expression names oldSelf outside of its strings."""
    return _OLD.search(_STRINGS.sub("''", expression)) is not None


class CelRules:
    """All rules of one version's schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = _node(schema)

    def errors(self, obj: Json, old: Json | None) -> list[FieldError]:
        """The rules that fail; `old` is None for a new object."""
        found: list[FieldError] = []
        if self._root is not None:
            with contextlib.suppress(_GiveUp):
                self._root.check(obj, old, "", _Findings(found))
        return found


class _GiveUp(Exception):
    """No further rules are run."""


class _Findings:
    """What is wrong so far, and what finding it out has cost at least."""

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors
        self.spent = 0


def _node(raw: Mapping[str, Any]) -> "_Node | None":
    """The rules at and below a schema; None where there are none."""
    fields = {name: node for name, field in (raw.get("properties") or {}).items() if (node := _node(field))}
    extra, items = raw.get("additionalProperties"), raw.get("items")
    others = _node(extra) if isinstance(extra, Mapping) else None
    each = _node(items) if isinstance(items, Mapping) else None
    rules = [*rules_of(raw)]
    return _Node(raw, rules, fields, others, each) if rules or fields or others or each else None


def rules_of(raw: Mapping[str, Any]) -> Iterator["_Rule"]:
    """A node's own rules, and those that a part of its allOf adds to it."""
    for rule in raw.get("x-kubernetes-validations") or ():
        yield _Rule(rule)
    for branch in raw.get("allOf") or ():
        yield from rules_of(branch)


class _Rule:
    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.text: str = raw["rule"]
        self.uses_old = uses_old(self.text)
        self.is_optional = bool(raw.get("optionalOldSelf")) and self.uses_old
        self._program: Program | CelError | None = None
        self._tree: Node | None = None  # Of a rule that can cost too much.
        self._is_bounded: bool | None = None
        self._message: Program | CelError | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        if self.is_optional:
            return _WITH_OPTIONAL
        return _WITH_OLD if self.uses_old else _WITHOUT_OLD

    @property
    def told(self) -> str:
        """What names the rule in a message."""
        return (self.raw.get("message") or self.text).strip()

    @property
    def default_message(self) -> str:
        return self.told if self.raw.get("message") else f"failed rule: {self.told}"

    def program(self) -> Program:
        """Raises CelError."""
        if self._program is None:
            text = f"{OPTIONAL_OLD}{self.text})" if self.is_optional else self.text
            try:
                self._program = evaluator(*self.variables).compile(text)
            except CelError as error:
                self._program = error
        if isinstance(self._program, CelError):
            raise self._program
        return self._program

    def least_cost(self, raw: Mapping[str, Any], value: Any, *, is_object: bool) -> int:
        """What running the rule on a value costs at least; 0 for rules that can never cost too much.

        Args:
            raw: the schema that the rule stands at.
        """
        if self._is_bounded is None:
            try:
                tree = checked(raw, self.text, is_object=is_object, is_optional=self.is_optional)[1]
            except CelError:
                tree = None  # Running it tells what is wrong.
            size = size_of(raw, is_object=is_object)
            self._is_bounded = tree is None or cost_of(tree, size).most <= CALL_LIMIT
            self._tree = None if self._is_bounded else tree
        return 0 if self._tree is None else cost_of(self._tree, measured(value)).least

    def message(self, self_value: Any, old_value: Any) -> str:
        """What the failed rule tells; the expression's text if it has a fitting value."""
        expression = self.raw.get("messageExpression", "")
        if not expression:
            return self.default_message
        try:
            if self._message is None:
                self._message = evaluator(*_WITH_OLD).compile(expression)
            if isinstance(self._message, CelError):
                return self.default_message
            values = {"self": self_value, "oldSelf": old_value}
            text = self._message.run(evaluator(*_WITH_OLD).activation(values))
        except (CelError, Evaluation, RuntimeError) as error:
            log.debug("messageExpression has no value", extra={"error": str(error)})
            return self.default_message
        is_fit = isinstance(text, str) and bool(text.strip()) and "\n" not in text and len(text) <= MAX_MESSAGE
        return text.strip() if is_fit else self.default_message


class _Node:
    """The rules at one schema node, and the nodes below it that have some."""

    def __init__(
        self,
        raw: Mapping[str, Any],
        rules: list[_Rule],
        fields: dict[str, "_Node"],
        others: "_Node | None",
        each: "_Node | None",
    ) -> None:
        self._raw = raw
        self._kind: str = raw.get("type") or ""
        self._rules = rules
        self._fields = fields
        self._others = others
        self._each = each
        self._convert = converter(raw) if rules else None
        is_map = raw.get("x-kubernetes-list-type") == "map"
        self._keys: tuple[str, ...] = tuple(raw.get("x-kubernetes-list-map-keys") or ()) if is_map else ()

    def check(self, value: Any, old: Any, path: str, found: _Findings) -> None:
        """Raises _GiveUp."""
        if value is None:
            return
        if self._rules:
            self._run(value, old, path, found)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            for name, item in value.items():
                node = self._fields.get(name) or self._others
                if node is not None:
                    is_key = name not in self._fields
                    inner = f"{path}[{name}]" if is_key and path else f"{path}.{name}" if path else name
                    node.check(item, before.get(name), inner, found)
        elif isinstance(value, list) and self._each is not None:
            for position, item in enumerate(value):
                self._each.check(item, self._earlier(item, old), f"{path}[{position}]", found)

    def _earlier(self, item: Any, old: Any) -> Any:
        """The element that was this one before."""
        if not self._keys or not isinstance(old, list) or not isinstance(item, dict):
            return None
        wanted = [item.get(key) for key in self._keys]
        return next(
            (one for one in old if isinstance(one, dict) and [one.get(key) for key in self._keys] == wanted), None
        )

    def _run(self, value: Any, old: Any, path: str, found: _Findings) -> None:
        errors = found.errors
        given = self._convert(value) if self._convert else value
        before = self._convert(old) if self._convert and old is not None else old
        shown = field_errors.OMITTED if self._kind in ("object", "array") else value
        where = path or "<nil>"
        for rule in self._rules:
            if rule.uses_old and old is None and not rule.is_optional:
                continue  # A transition rule, and nothing to come from.
            try:
                cost = rule.least_cost(self._raw, given, is_object=not path)
                if cost > CALL_LIMIT:
                    raise TooCostly
                found.spent += cost
                if found.spent > BUDGET:
                    errors.append(field_errors.invalid(where, self._kind, OUT_OF_BUDGET))
                    raise _GiveUp
                passed = rule.program().run(_activation(rule, given, before))
            except CelError as error:
                errors.append(field_errors.invalid(where, self._kind, f"rule compile error: {error}"))
                continue
            except TooCostly as error:
                told = f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {rule.told}"
                errors.append(field_errors.invalid(where, self._kind, told))
                raise _GiveUp from error
            except (Evaluation, RuntimeError) as error:
                errors.append(field_errors.invalid(where, self._kind, _trouble(str(error), rule)))
                continue
            if passed is True or (not rule.uses_old and old is not None and old == value):
                continue  # What was there before may stay.
            errors.append(_failure(rule, path, shown, rule.message(given, before)))


def _activation(rule: _Rule, value: Any, old: Any) -> Any:
    if rule.is_optional:
        values = {"self": value, "hasOldSelf": old is not None, "givenOldSelf": old}
    else:
        values = {"self": value, "oldSelf": old} if rule.uses_old else {"self": value}
    return evaluator(*rule.variables).activation(values)


def _trouble(why: str, rule: _Rule) -> str:
    if why.startswith("no such overload"):
        return f"'{why}': call arguments did not match a supported operator, function or macro signature for rule: {rule.told}"
    return f"{why} evaluating rule: {rule.told}"


def _failure(rule: _Rule, path: str, shown: Any, detail: str) -> FieldError:
    field = rule.raw.get("fieldPath", "")
    where = f"{path}{field}".removeprefix(".") if field else path
    where = where or "<nil>"
    reason = rule.raw.get("reason") or "FieldValueInvalid"
    if reason in _FAILURES:
        return _FAILURES[reason](where, detail)
    if reason == "FieldValueDuplicate":
        return field_errors.duplicate(where, shown)
    return field_errors.invalid(where, shown, detail)
