"""What a CustomResourceDefinition adds to the catalogue."""

import pytest

from kobune.api.catalogue import Catalogue
from kobune.api.custom import field_text, row_of, scale_paths, storage_version_of

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
BETA = {"name": "v1beta1", "served": True, "storage": False}
DEFINITION = {
    "metadata": {"name": "ships.example.com"},
    "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"kind": "Ship", "plural": "ships", "singular": "vessel", "listKind": "Fleet", "shortNames": ["sh"],
                  "categories": ["all"]},
        "versions": [BETA, V1],
    },
}  # fmt: skip


def test_every_version_is_a_row():
    beta, stable = row_of(DEFINITION, BETA), row_of(DEFINITION, V1)
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
    beta, stable = row_of(DEFINITION, BETA), row_of(DEFINITION, V1)
    catalogue = Catalogue((beta, stable))
    assert storage_version_of(DEFINITION) == "v1"
    assert catalogue.storage_version(beta) is stable
    assert catalogue.storage_version(stable) is stable
    assert beta.prefix == stable.prefix


def test_names_are_those_that_were_accepted():
    accepted = {"kind": "Ship", "plural": "ships", "singular": "ship", "listKind": "ShipList"}
    stable = row_of({**DEFINITION, "status": {"acceptedNames": accepted}}, V1)
    assert (stable.short, stable.singular, stable.list_name) == ((), "ship", "ShipList")


def test_scale_knows_where_its_numbers_are():
    paths = scale_paths(V1)
    ship = {"spec": {"sails": 3}, "status": {"selector": "a=b"}}
    assert (paths.wanted.find(ship), paths.current.find(ship), paths.selector.find(ship)) == ([3], [], ["a=b"])
    assert scale_paths(BETA) is None


@pytest.mark.parametrize(
    ("obj", "text"), [({"spec": {"fast": True}}, "true"), ({"spec": {"fast": 3}}, "3"), ({"spec": {}}, "")]
)
def test_selectable_fields_have_text(obj, text):
    assert field_text("spec.fast", obj) == text
