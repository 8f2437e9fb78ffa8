"""Who manages what after writes and applies, and what is merged, kept and removed."""

import pytest

from kobune.api.apply.fieldset import from_json, shown
from kobune.api.apply.managers import Manager, apply, read_managers, track, write_managers
from kobune.api.apply.values import fields_of
from kobune.api.errors import Conflict
from kobune.api.schema import load_schemas

NOW = "2026-01-02T03:04:05Z"
SCHEMA = load_schemas("1.36").of("apps", "v1", "Deployment")
ALICE = Manager("alice", "Apply", "apps/v1")
BOB = Manager("bob", "Apply", "apps/v1")
NONE = frozenset()


def deployment(replicas=None, labels=None, containers=None):
    obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {}}
    if replicas is not None:
        obj["spec"]["replicas"] = replicas
    if labels is not None:
        obj["metadata"]["labels"] = labels
    if containers is not None:
        obj["spec"]["template"] = {"spec": {"containers": containers}}
    return obj


def applied(live, wanted, manager, *, force=False):
    obj, managers = apply(live, wanted, SCHEMA, manager, NOW, force=force, ignored=NONE)
    write_managers(obj, managers)
    return obj


def start(wanted, manager=ALICE):
    """As created by an apply."""
    empty = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}}
    return applied(empty, wanted, manager)


def managers_of(obj):
    return {managed.manager.name: managed.fields for managed in read_managers(obj).values()}


def test_field_sets_round_trip():
    fields = fields_of(
        deployment(2, {"a": "b"}, [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]), SCHEMA
    )
    assert from_json(fields.to_json()) == fields
    assert '.spec.template.spec.containers[name="c"].ports[containerPort=80,protocol="TCP"]' in map(
        shown, fields.paths()
    )


def test_applying_twice_changes_nothing():
    once = start(deployment(2, {"a": "b"}))
    assert applied(once, deployment(2, {"a": "b"}), ALICE) == once


def test_what_is_no_longer_applied_goes():
    live = start(deployment(2, {"a": "1", "b": "2"}))
    changed = applied(live, deployment(labels={"a": "1"}), ALICE)
    assert changed["metadata"]["labels"] == {"a": "1"}
    assert "replicas" not in changed["spec"]


def test_what_another_manages_too_stays():
    live = applied(start(deployment(2, {"a": "1"})), deployment(labels={"a": "1"}), BOB)
    changed = applied(live, deployment(2), ALICE)
    assert changed["metadata"]["labels"] == {"a": "1"}


def test_changing_what_another_applies_conflicts():
    live = start(deployment(2))
    with pytest.raises(Conflict) as conflict:
        applied(live, deployment(3), BOB)
    assert str(conflict.value) == 'Apply failed with 1 conflict: conflict with "alice": .spec.replicas'
    assert conflict.value.causes[0].reason == "FieldManagerConflict"


def test_agreeing_shares_the_field():
    live = applied(start(deployment(2)), deployment(2), BOB)
    assert set(managers_of(live)) == {"alice", "bob"}


def test_force_takes_the_field_over():
    live = applied(start(deployment(2, {"a": "1"})), deployment(3), BOB, force=True)
    assert live["spec"]["replicas"] == 3
    assert [shown(path) for path in managers_of(live)["alice"].paths()] == [".metadata.labels.a"]


def test_list_elements_merge_by_their_keys():
    live = start(deployment(containers=[{"name": "a", "image": "1"}]))
    both = applied(live, deployment(containers=[{"name": "b", "image": "2"}]), BOB)
    assert both["spec"]["template"]["spec"]["containers"] == [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]
    alone = applied(both, deployment(), BOB)
    assert alone["spec"]["template"]["spec"]["containers"] == [{"name": "a", "image": "1"}]


def test_an_update_takes_the_fields_it_changes():
    live = start(deployment(2, {"a": "1"}))
    new = {**live, "spec": {"replicas": 5}}
    writer = Manager("kubectl-edit", "Update", "apps/v1")
    managers = track(live, new, SCHEMA, writer, NOW, ignored=NONE)
    fields = {managed.manager.name: [shown(path) for path in managed.fields.paths()] for managed in managers.values()}
    assert fields == {"alice": [".metadata.labels.a"], "kubectl-edit": [".spec.replicas"]}


def test_a_conflict_with_an_updater_names_its_version():
    live = start(deployment(2))
    new = {**live, "spec": {"replicas": 5}}
    write_managers(new, track(live, new, SCHEMA, Manager("editor", "Update", "apps/v1"), NOW, ignored=NONE))
    with pytest.raises(Conflict, match=r'conflict with "editor" using apps/v1: \.spec\.replicas'):
        applied(new, deployment(2), ALICE)


def test_an_object_nobody_kept_account_of_has_a_first_manager():
    live = deployment(2)
    with pytest.raises(Conflict, match="before-first-apply"):
        applied(live, deployment(3), ALICE)
    assert set(managers_of(applied(live, deployment(2), ALICE))) == {"alice", "before-first-apply"}
