"""Every kind of the catalogue goes through defaulting and validation, whatever is in its fields."""

import copy
import random
from typing import Any

import pytest
from judge import subresource_faults

from kobune.api.catalogue import KINDS, Kind
from kobune.api.decode import check
from kobune.api.defaulting import apply_defaults
from kobune.api.schema import Schema, load_schemas
from kobune.api.validation import validate_create, validate_update
from kobune.api.validation.kinds import PLAIN, rules_of

NEWEST = load_schemas("1.37")
OF_EACH = 40
DEEPEST = 9
TEXTS = (
    "a", "", "A b", "a.example.com", "a.example.com/b", "10.0.0.1", "10.0.0.0/8", "::1", "100m", "1Gi", "50%", "/a", "../a", "In",
    "Exists", "Always", "Never", "TCP", "ClusterIP", "ExternalName", "Recreate", "RollingUpdate", "Pods", "Resource", "None", "*",
    "* * * * *", "Indexed", "0-3,5", "true", "v1", "ServiceAccount", "User", "rbac.authorization.k8s.io", "Equals", "1", "Local",
)  # fmt: skip
IDS = [f"{kind.group}/{kind.version}/{kind.name}" for kind in KINDS]
# Nothing beyond the metadata of these can be wrong.
UNRULED = {"ComponentStatus", "ServiceAccount"}


def grown(schema: Schema, source: random.Random, depth: int = 0) -> Any:
    """A value of the right shape: fields come and go at random."""
    if depth > DEEPEST:
        return None
    if schema.enum:
        return source.choice([*schema.enum, "x"])
    match schema.type, schema.format:
        case "object", _ if schema.properties:
            chance = 0.9 if depth < 2 else 0.55
            fields = {
                name: grown(field, source, depth + 1)
                for name, field in schema.properties.items()
                if source.random() < chance
            }
            return {name: value for name, value in fields.items() if value is not None}
        case "object", _:
            values = schema.additional
            keys = source.sample(TEXTS, source.randint(0, 2))
            return {key: value for key in keys if values and (value := grown(values, source, depth + 1)) is not None}
        case "array", _:
            items = (
                [grown(schema.items, source, depth + 1) for _ in range(source.randint(0, 2))] if schema.items else []
            )
            return [item for item in items if item is not None]
        case "boolean", _:
            return source.random() < 0.5
        case "integer" | "number", _:
            return source.choice([-1, 0, 1, 2, 80, 1000, 70000, 2**31 - 1])
        case _, "quantity":
            return source.choice(["1", "-1", "100m", "2Gi", "0"])
        case _, "int-or-string":
            return source.choice([0, 1, -1, 80, "25%", "http", "300%"])
        case _, "date-time":
            return "2026-01-02T03:04:05Z"
        case _, "byte":
            return "YQ=="
        case "string", _:
            return source.choice(TEXTS)
    return {"a": "b"}


def objects(kind: Kind) -> list[dict[str, Any]]:
    schema = NEWEST.find(kind.group, kind.version, kind.name)
    source = random.Random(kind.name)
    made: list[dict[str, Any]] = [{"metadata": {"name": "a"}}, {"metadata": {"name": "a"}, "spec": {}, "status": {}}]
    for _ in range(OF_EACH if schema else 0):
        obj = grown(schema, source)
        obj["metadata"] = {"name": "a", "resourceVersion": "1", "uid": "u"} | (
            {"namespace": "b"} if kind.namespaced else {}
        )
        # As the API server hands them over.
        check(schema, obj, kind=kind.name, version=kind.version)
        made.append(obj)
    return made


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_no_object_is_too_odd_to_be_judged(kind: Kind):
    previous: dict[str, Any] = {}
    for obj in objects(kind):
        apply_defaults(kind, obj)
        before = copy.deepcopy(obj)
        validate_create(kind, obj)
        for old in (obj, previous):
            validate_update(kind, obj, old)
            for subresource in ("status", "resize", "ephemeralcontainers", "finalize", "approval"):
                subresource_faults(kind, subresource, obj, old)
        assert obj == before
        previous = obj


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_defaulting_twice_is_defaulting_once(kind: Kind):
    for obj in objects(kind):
        apply_defaults(kind, obj)
        before = copy.deepcopy(obj)
        apply_defaults(kind, obj)
        assert obj == before


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_every_kind_has_rules(kind: Kind):
    if kind.name not in UNRULED:
        assert rules_of(kind) != PLAIN
