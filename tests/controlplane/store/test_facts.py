"""What selection needs of an object, read off it in either form."""

import orjson

from kobune.controlplane.store.facts import FactReader, fields_after

SELECTABLE = ("metadata.name", "spec.nodeName", "spec.host", "spec.hostNetwork")
POD = {"metadata": {"name": "a", "labels": {"app": "web"}}, "spec": {"nodeName": "n1", "hostNetwork": True}}


def test_facts_are_the_same_from_text_and_from_the_object():
    reader = FactReader(SELECTABLE)
    assert reader.read(POD) == reader.decode(orjson.dumps(POD)) == ({"app": "web"}, ("a", "n1", "n1", "true"))


def test_labels_are_those_of_the_object_whatever_it_had_before():
    reader = FactReader(SELECTABLE)
    for before in ({"app": "web"}, {"app": "other"}, {}, {"app": "web", "tier": "b"}):
        assert reader.read(POD, before) == reader.read(POD)
        bare = {**POD, "metadata": {"name": "a"}}
        assert reader.read(bare, before).labels == {}


def test_a_changed_path_changes_every_field_that_reads_it():
    fields = FactReader(SELECTABLE).read(POD).fields
    assert fields_after(SELECTABLE, fields, {"spec.nodeName": "n2"}) == ("a", "n2", "n2", "true")
