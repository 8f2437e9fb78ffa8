"""Which objects of one kind a list or a watch is about."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from kobune.api.field_selectors import FieldSelector
from kobune.api.selectors import EVERYTHING, LabelSelector
from kobune.api.sharing import NONE

ANY_FIELDS = FieldSelector(())


class Item:
    """One object as readers get it. Shared: never change one."""

    __slots__ = ("body", "fields", "key", "labels", "namespace", "revision")

    def __init__(
        self,
        key: str,
        namespace: str,
        body: bytes,
        revision: int,
        labels: Mapping[str, str] = NONE,
        fields: tuple[str, ...] = (),
    ) -> None:
        self.key = key  # The storage key.
        self.namespace = namespace  # "" for cluster-scoped kinds.
        self.body = body  # The JSON object, resourceVersion included.
        self.revision = revision
        self.labels = labels
        self.fields = fields  # In the order of the kind's `selectable`.

    @property
    def name(self) -> str:
        return self.key[self.key.rindex("/") + 1 :]

    def __repr__(self) -> str:
        return f"Item({self.key!r} at {self.revision})"


Predicate = Callable[[Item], bool]


class Selection(NamedTuple):
    """A conjunction; what is left out selects everything."""

    namespace: str = ""
    name: str = ""
    labels: LabelSelector = EVERYTHING
    fields: FieldSelector = ANY_FIELDS

    @property
    def is_filter(self) -> bool:
        """Whether selectors leave objects out, so that how many remain is not known without looking."""
        return not (self.labels.is_everything and self.fields.is_everything)

    @property
    def exact_name(self) -> str:
        """The one name that can match; "" when there may be several."""
        return self.name or self.fields.exact("metadata.name") or ""

    @property
    def exact_namespace(self) -> str:
        return self.namespace or self.fields.exact("metadata.namespace") or ""

    def predicate(self, selectable: Sequence[str]) -> Predicate | None:
        """A test of one object whose kind has these selectable fields; None when everything passes.

        Raises:
            KeyError: a field that cannot be selected.
        """
        tests: list[Predicate] = []
        if self.namespace:
            tests.append(_in_namespace(self.namespace))
        if self.name:
            tests.append(_named(self.name))
        tests += [
            _field_test(one.field, one.operator == "=", one.value, selectable) for one in self.fields.requirements
        ]
        if not self.labels.is_everything:
            tests.append(_labelled(self.labels))
        if len(tests) < 2:
            return tests[0] if tests else None
        return lambda item: all(test(item) for test in tests)


def _in_namespace(namespace: str) -> Predicate:
    return lambda item: item.namespace == namespace


def _named(name: str) -> Predicate:
    end = f"/{name}"
    return lambda item: item.key.endswith(end)


def _labelled(selector: LabelSelector) -> Predicate:
    return lambda item: selector.matches(item.labels)


def _field_test(field: str, equal: bool, value: str, selectable: Sequence[str]) -> Predicate:
    if field == "metadata.name":
        return lambda item: (item.name == value) is equal
    if field == "metadata.namespace":
        return lambda item: (item.namespace == value) is equal
    if field not in selectable:
        raise KeyError(field)
    index = selectable.index(field)
    if equal:
        return lambda item: item.fields[index] == value
    return lambda item: item.fields[index] != value
