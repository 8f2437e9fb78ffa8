"""What a CustomResourceDefinition adds to the catalogue."""

import pytest

from kobune.api.catalogue import Catalogue
from kobune.api.custom import find_version, kinds_of, scale_paths, selected_fields, storage_version_of

V1 = {
    "name": "v1", "served": True, "storage": True,
    "subresources": {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.sails", "statusReplicasPath": ".status.sails",
            "labelSelectorPath": ".status.selector",
        },
    },
    "selectableFields": [{"jsonPath": ".spec.colour"}, {"jsonPath": ".spec.fast"}],
}  # fmt: skip
DEFINITION = {
    "metadata": {"name": "ships.example.com"},
    "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"kind": "Ship", "plural": "ships", "singular": "vessel", "listKind": "Fleet", "shortNames": ["sh"],
                  "categories": ["all"]},
        "versions": [{"name": "v1beta1", "served": True, "storage": False}, V1, {"name": "v2", "served": False}],
    },
}  # fmt: skip


def test_every_served_version_is_a_row():
    beta, stable = kinds_of(DEFINITION)
    assert (stable.api_version, stable.name, stable.plural, stable.short) == (
        "example.com/v1",
        "Ship",
        "ships",
        ("sh",),
    )
    assert (stable.singular, stable.list_name, stable.categories) == ("vessel", "Fleet", ("all",))
    assert (stable.subresources, beta.subresources) == (("status", "scale"), ())
    assert stable.selectable == ("spec.colour", "spec.fast")
    assert stable.key("default", "maru") == "/registry/example.com/ships/default/maru"
    assert stable.custom
    assert stable.namespaced


def test_versions_share_the_stored_one():
    catalogue = Catalogue(kinds_of(DEFINITION))
    beta, stable = catalogue
    assert storage_version_of(DEFINITION) == "v1"
    assert catalogue.storage_version(beta) is stable
    assert catalogue.storage_version(stable) is stable
    assert beta.prefix == stable.prefix


def test_names_are_those_that_were_accepted():
    accepted = {"kind": "Ship", "plural": "ships", "singular": "ship", "listKind": "ShipList"}
    stable = kinds_of({**DEFINITION, "status": {"acceptedNames": accepted}})[1]
    assert (stable.short, stable.singular, stable.list_name) == ((), "ship", "ShipList")


def test_scale_knows_where_its_numbers_are():
    paths = scale_paths(find_version(DEFINITION, "v1"))
    ship = {"spec": {"sails": 3}, "status": {"selector": "a=b"}}
    assert (paths.wanted.find(ship), paths.current.find(ship), paths.selector.find(ship)) == ([3], [], ["a=b"])
    assert scale_paths(find_version(DEFINITION, "v1beta1")) is None


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"colour": "red", "fast": True}, {"spec.colour": "red", "spec.fast": "true"}),
        ({}, {"spec.colour": "", "spec.fast": ""}),
    ],
)
def test_selectable_fields_have_text(spec, fields):
    assert dict(selected_fields(V1, {"spec": spec})) == fields


def test_a_version_that_is_not_there_is_not_found():
    assert find_version(DEFINITION, "v3") is None
