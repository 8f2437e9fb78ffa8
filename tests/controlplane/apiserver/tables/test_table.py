"""Tables and partial objects as documents; columns of custom kinds."""

from datetime import UTC, datetime

import pytest

from kobune.api.catalogue import find_builtin
from kobune.controlplane.apiserver.tables import custom_printer, find_printer, partial_list, render_table

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
NAMESPACE = {
    "kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "a", "creationTimestamp": "2026-01-02T11:59:00Z"},
    "status": {"phase": "Active"},
}  # fmt: skip
PARTIAL = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": NAMESPACE["metadata"]}
PRINTER = find_printer(find_builtin("", "v1", "Namespace"))


def test_a_table_has_columns_rows_and_the_lists_metadata():
    table = render_table(PRINTER, [NAMESPACE], now=NOW, metadata={"resourceVersion": "7"})
    assert (table["kind"], table["apiVersion"], table["metadata"]) == (
        "Table",
        "meta.k8s.io/v1",
        {"resourceVersion": "7"},
    )
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Status", "Age"]
    assert set(table["columnDefinitions"][0]) == {"name", "type", "format", "description", "priority"}
    assert table["rows"] == [{"cells": ["a", "Active", "60s"], "object": PARTIAL}]


@pytest.mark.parametrize(("include", "expected"), [("Object", NAMESPACE), ("None", None), ("Metadata", PARTIAL)])
def test_rows_carry_what_is_asked_for(include, expected):
    assert render_table(PRINTER, [NAMESPACE], now=NOW, include=include)["rows"][0]["object"] == expected


def test_columns_need_not_be_described_again():
    assert render_table(PRINTER, [NAMESPACE], now=NOW, headers=False)["columnDefinitions"] is None


def test_flow_schemas_are_listed_by_precedence():
    printer = find_printer(find_builtin("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"))
    schemas = [
        {"metadata": {"name": name}, "spec": {"matchingPrecedence": precedence}}
        for name, precedence in (("b", 900), ("c", 1), ("a", 900))
    ]
    rows = render_table(printer, schemas, now=NOW)["rows"]
    assert [row["cells"][0] for row in rows] == ["c", "a", "b"]


def test_a_partial_list_has_metadata_alone():
    assert partial_list([NAMESPACE], metadata={"resourceVersion": "7"}) == {
        "kind": "PartialObjectMetadataList",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "7"},
        "items": [PARTIAL],
    }


SHIP = {
    "kind": "Ship",
    "metadata": {"name": "maru", "creationTimestamp": "2026-01-02T11:00:00Z"},
    "spec": {"sails": 3, "length": 12.5, "crew": ["a", "b"], "ready": True, "launched": "2026-01-02T11:59:00Z"},
    "status": {"conditions": [{"type": "Afloat", "status": "True"}]},
}


@pytest.mark.parametrize(
    ("kind", "path", "cell"),
    [
        ("integer", ".spec.sails", 3),
        ("integer", ".spec.length", 12),
        ("number", ".spec.sails", 3.0),
        ("boolean", ".spec.ready", True),
        ("date", ".spec.launched", "60s"),
        ("date", ".metadata.name", "<invalid>"),
        ("string", ".spec.crew", '["a","b"]'),
        ("string", ".spec.crew[*]", "a"),
        ("string", ".spec.sails", "3"),
        ("string", '.status.conditions[?(@.type=="Afloat")].status', "True"),
        ("string", ".spec.missing", None),
        ("integer", ".metadata.name", None),
        ("boolean", ".spec.sails", None),
    ],
)
def test_a_custom_column_has_the_first_value_in_its_type(kind, path, cell):
    printer = custom_printer([{"name": "It", "type": kind, "jsonPath": path}])
    assert printer.cells(SHIP, NOW) == ["maru", cell]


def test_a_custom_kind_without_columns_shows_its_age():
    printer = custom_printer(None)
    assert [column.name for column in printer.columns] == ["Name", "Age"]
    assert printer.cells(SHIP, NOW) == ["maru", "60m"]


def test_a_column_that_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match="unrecognized path"):
        custom_printer([{"name": "It", "type": "string", "jsonPath": "spec]"}])
