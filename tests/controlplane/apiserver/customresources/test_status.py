"""Which conditions a definition's status gets, and loses."""

from datetime import UTC, datetime
from typing import Any

from kobune.controlplane.apiserver.customresources.status import settled

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def definition(schema: dict[str, Any], conditions: Any = (), **spec: Any) -> dict[str, Any]:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": "Ship", "listKind": "ShipList", "plural": "ships", "singular": "ship"}
    return {
        "metadata": {"name": "ships.example.com"},
        "spec": {"group": "example.com", "names": names, "versions": [version], **spec},
        "status": {"conditions": list(conditions)},
    }


def non_structural(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in found["status"]["conditions"] if one["type"] == "NonStructuralSchema"]


def test_what_preserves_unknown_fields_is_not_structural_and_its_status_says_why():
    old = definition({"properties": {"spec": {"type": "object"}}}, preserveUnknownFields=True)
    (condition,) = non_structural(settled(old, [], NOW))
    assert (condition["status"], condition["reason"]) == ("True", "Violations")
    assert condition["message"] == (
        "[spec.preserveUnknownFields: Invalid value: true: must be false, "
        "spec.versions[0].schema.openAPIV3Schema.type: Required value: must not be empty at the root]"
    )


def test_a_single_violation_stands_without_brackets():
    (condition,) = non_structural(settled(definition({"type": "object"}, preserveUnknownFields=True), [], NOW))
    assert condition["message"] == "spec.preserveUnknownFields: Invalid value: true: must be false"


def test_the_condition_goes_with_what_it_complained_of():
    complaint = {"type": "NonStructuralSchema", "status": "True", "reason": "Violations", "message": "m"}
    after = settled(definition({"type": "object"}, [complaint]), [], NOW)
    assert [one["type"] for one in after["status"]["conditions"]] == ["NamesAccepted", "Established"]
    assert settled(after, [], NOW) == after
