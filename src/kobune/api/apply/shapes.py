"""How each part of a kind's objects is managed, compiled from its schema for the walks over every object written."""

from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from kobune.api.apply.fieldset import MEMBER, Fields
from kobune.api.schema import Schema

# What a list's key counts as where the element does not have it. Source: the `+default` markers of container and service
# ports, the only ones on list keys.
KEY_DEFAULTS = {"protocol": "TCP"}

# Shapes of a value.
LEAF: Final = 0  # One manager has all of it.
FIELDS: Final = 1  # A struct: its fields have managers.
ENTRIES: Final = 2  # A map: its entries have managers, and each entry is one itself.
ELEMENTS: Final = 3  # A list by keys.
VALUES: Final = 4  # A list that is a set.
UNMANAGED: Final = 5  # Nobody's.

# Fields of an object that nobody manages. Source: upstream stripmeta.go.
STRIPPED = frozenset({"apiVersion", "kind"})
STRIPPED_METADATA = frozenset(
    {
        "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
        "resourceVersion",
    }
)  # fmt: skip
# Structs that upstream's types hold by value: wherever the object around them is, they are, too, if only empty. Those
# that the schemas require are held so as well. Source: the published Go types.
HELD = frozenset(
    {
        "metadata", "spec", "status", "strategy", "updateStrategy", "state", "lastState", "kubeletEndpoint",
        "daemonEndpoints", "nodeInfo", "loadBalancer", "acceptedNames", "limitResponse", "devices", "deprecatedSource",
    }
)  # fmt: skip
HELD_BY = {
    "io.k8s.api.apps.v1.ReplicaSetSpec": frozenset({"template"}),
    "io.k8s.api.core.v1.Container": frozenset({"resources"}),
    "io.k8s.api.core.v1.EphemeralContainer": frozenset({"resources"}),
    "io.k8s.api.core.v1.Event": frozenset({"source"}),
    "io.k8s.api.core.v1.PersistentVolumeClaimSpec": frozenset({"resources"}),
    "io.k8s.api.core.v1.PodTemplate": frozenset({"template"}),
    "io.k8s.api.networking.v1.NetworkPolicySpec": frozenset({"podSelector"}),
    "io.k8s.api.discovery.v1.Endpoint": frozenset({"conditions"}),
}
# Times that upstream's types hold by value: null where nobody gives them, and there all the same.
TIMES = {
    "Condition": ("lastHeartbeatTime", "lastProbeTime", "lastTransitionTime", "lastUpdateTime"),
    "ContainerStateRunning": ("startedAt",),
    "ContainerStateTerminated": ("startedAt", "finishedAt"),
}
MEMO_LIMIT = 512  # Sorts of structs with plain fields only that are remembered for each type.


class Rule:
    """How a value is managed.

    Attributes:
        shape: one of the shapes above.
        fields: of a struct, its fields' rules by name; any name may be asked for.
        below: the rule of a map's entries and of a list's elements.
        keys: the names of a list's keys, in order.
        defaults: what each key counts as where an element lacks it.
        held: the fields that are there whenever the value is: what is empty or zero of them is as if not written.
        always: of a struct, the elements of its fields that are in every one, given or not.
        elements: of a list by one key, the names of elements by its values, as far as remembered.
        memo: of a struct, what its fields come to, by their names.
    """

    __slots__ = ("always", "below", "defaults", "elements", "fields", "held", "keys", "memo", "shape")

    def __init__(self, shape: int) -> None:
        self.shape = shape
        self.fields: dict[str, Rule] = {}
        self.below: Rule = self
        self.keys: tuple[str, ...] = ()
        self.defaults: tuple[Any, ...] = ()
        self.held: frozenset[str] = frozenset()
        self.always: dict[str, Fields] = {}
        self.elements: dict[str, str] = {}
        self.memo: dict[tuple[str, ...], Fields] = {}


class _Rules(dict[str, Rule]):
    """Rules of fields, made when first asked for: types may contain themselves."""

    def __init__(self, schema: Schema, *, root: bool, meta: bool) -> None:
        self._schema = schema
        self._root = root
        self._meta = meta

    def __missing__(self, name: str) -> Rule:
        if (self._root and name in STRIPPED) or (self._meta and name in STRIPPED_METADATA):
            rule = _UNMANAGED
        else:
            field = self._schema.properties.get(name)
            if name == "metadata" and (own := getattr(self._schema, "metadata", None)) is not None:
                field = cast(Schema, own)  # The schema of a custom kind leaves metadata out, but knows it.
            if field is None:
                # A field that the schema does not have; there may be any number of them.
                return DEDUCED if _keeps_unknown(self._schema) else _LEAF
            rule = _made(field, meta=self._root and name == "metadata")
        self[name] = rule
        return rule


_LEAF = Rule(LEAF)
_UNMANAGED = Rule(UNMANAGED)
DEDUCED = Rule(ENTRIES)  # Of what no schema describes: objects are maps, lists have one manager. Its entries are alike.
_OBJECTS: "WeakKeyDictionary[Schema, Rule]" = WeakKeyDictionary()
_PARTS: "WeakKeyDictionary[Schema, Rule]" = WeakKeyDictionary()


def rule_of_object(schema: Schema) -> Rule:
    """The rule of whole objects of a kind."""
    rule = _OBJECTS.get(schema)
    if rule is None:
        rule = _OBJECTS[schema] = _made(schema, root=True)
    return rule


def rule_of(schema: Schema | None) -> Rule:
    """The rule of a value with this schema."""
    if schema is None:
        return _LEAF
    rule = _PARTS.get(schema)
    if rule is None:
        rule = _PARTS[schema] = _made(schema)
    return rule


def shape_of(value: Any, rule: Rule) -> int:
    """The shape of a value: a leaf if it is not what the rule is for."""
    shape = rule.shape
    if shape in (FIELDS, ENTRIES):
        return shape if isinstance(value, dict) else LEAF
    if shape == ELEMENTS:
        return shape if isinstance(value, list) and all(isinstance(one, dict) for one in value) else LEAF
    return shape if shape == VALUES and isinstance(value, list) else LEAF


def _made(schema: Schema, *, root: bool = False, meta: bool = False) -> Rule:
    rule = Rule(_shape(schema))
    if rule.shape == FIELDS:
        rule.fields = _Rules(schema, root=root, meta=meta)
        if schema.definition:
            rule.held = HELD | frozenset(schema.required) | HELD_BY.get(schema.definition, frozenset())
            rule.always = {f"f:{name}": MEMBER for name in _times(schema)}
        elif root:
            rule.held = frozenset({"metadata"})
    elif rule.shape == ENTRIES:
        rule.below = rule_of(schema.additional) if schema.additional is not None else DEDUCED
    elif rule.shape in (ELEMENTS, VALUES):
        rule.below = rule_of(schema.items)
        rule.keys = tuple(sorted(schema.list_keys))
        rule.defaults = tuple(_key_default(schema, key) for key in rule.keys)
    return rule


def _shape(schema: Schema) -> int:
    if schema.map_type == "atomic" or schema.int_or_string:
        return LEAF
    if schema.type == "object":
        return ENTRIES if schema.additional is not None else FIELDS
    if schema.type == "array":
        return {"map": ELEMENTS, "set": VALUES}.get(schema.list_type, LEAF)
    # Where anything may stand, objects are maps by their fields if the schema says to keep those.
    return ENTRIES if not schema.type and _keeps_unknown(schema) else LEAF


def _keeps_unknown(schema: Schema) -> bool:
    return bool(schema.raw.get("x-kubernetes-preserve-unknown-fields"))


def _times(schema: Schema) -> list[str]:
    name = schema.definition.rpartition(".")[2]
    return [
        field
        for field in TIMES.get("Condition" if name.endswith("Condition") else name, ())
        if field in schema.properties
    ]


def _key_default(schema: Schema, key: str) -> Any:
    field = schema.items.properties.get(key) if schema.items is not None else None
    return field.default if field is not None and field.default is not None else KEY_DEFAULTS.get(key)
