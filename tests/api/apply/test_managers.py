"""Who manages what after writes and applies, and what is merged, kept and removed."""

import orjson
import pytest

from kobune.api.apply.fieldset import field_set, paths, shown
from kobune.api.apply.managers import EVERYTHING, LAST_APPLIED, Manager, Reach, apply, track
from kobune.api.apply.shapes import rule_of_object
from kobune.api.errors import Conflict
from kobune.api.schema import load_schemas

NOW, LATER = "2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z"
RULE = rule_of_object(load_schemas("1.36").of("apps", "v1", "Deployment"))
PODS = rule_of_object(load_schemas("1.36").of("", "v1", "Pod"))
ALICE = Manager("alice", "Apply", "apps/v1")
BOB = Manager("bob", "Apply", "apps/v1")
EDITOR = Manager("editor", "Update", "apps/v1")


def deployment(replicas=None, labels=None, containers=None):
    obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {}}
    if replicas is not None:
        obj["spec"]["replicas"] = replicas
    if labels is not None:
        obj["metadata"]["labels"] = labels
    if containers is not None:
        obj["spec"]["template"] = {"spec": {"containers": containers}}
    return obj


def applied(live, wanted, manager, *, force=False, now=NOW):
    made = apply(live, wanted, RULE, manager, now, force=force, reach=EVERYTHING)
    return {**made.obj, "metadata": {**made.obj["metadata"], "managedFields": made.entries}}


def start(wanted, manager=ALICE):
    """As created by an apply."""
    return applied(None, wanted, manager)


def updated(old, new, manager=EDITOR, *, now=NOW, rule=RULE, reach=EVERYTHING):
    known = (old or {}).get("metadata", {}).get("managedFields", [])
    entries = track(known, old, new, rule, manager, now, reach)
    return {**new, "metadata": {**new["metadata"], "managedFields": entries}}


def managed(obj):
    """By manager the paths that it manages."""
    return {
        entry["manager"]: [shown(path) for path in paths(entry["fieldsV1"])]
        for entry in obj["metadata"]["managedFields"]
    }


def test_applying_twice_changes_nothing():
    once = start(deployment(2, {"a": "b"}))
    assert applied(once, deployment(2, {"a": "b"}), ALICE, now=LATER) == once


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
    assert set(managed(live)) == {"alice", "bob"}


def test_force_takes_the_field_over():
    live = applied(start(deployment(2, {"a": "1"})), deployment(3), BOB, force=True)
    assert live["spec"]["replicas"] == 3
    assert managed(live)["alice"] == [".metadata.labels.a"]


def test_list_elements_merge_by_their_keys():
    live = start(deployment(containers=[{"name": "a", "image": "1"}]))
    both = applied(live, deployment(containers=[{"name": "b", "image": "2"}]), BOB)
    assert both["spec"]["template"]["spec"]["containers"] == [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]
    alone = applied(both, deployment(), BOB)
    assert alone["spec"]["template"]["spec"]["containers"] == [{"name": "a", "image": "1"}]


def test_an_update_takes_the_fields_it_changes():
    live = start(deployment(2, {"a": "1"}))
    assert managed(updated(live, {**live, "spec": {"replicas": 5}})) == {
        "alice": [".metadata.labels.a"],
        "editor": [".spec.replicas"],
    }


def test_an_update_that_changes_nothing_takes_nothing():
    live = start(deployment(2, {"a": "1"}))
    assert updated(live, live, now=LATER) == live


def test_what_an_update_removes_nobody_manages():
    live = start(deployment(2, {"a": "1"}))
    bare = {**live, "spec": {}}
    assert managed(updated(live, bare)) == {"alice": [".metadata.labels.a"]}


def test_a_conflict_with_an_updater_names_its_version():
    live = start(deployment(2))
    new = updated(live, {**live, "spec": {"replicas": 5}})
    with pytest.raises(Conflict, match=r'conflict with "editor" using apps/v1: \.spec\.replicas'):
        applied(new, deployment(2), ALICE)


def test_an_object_nobody_kept_account_of_has_a_first_manager():
    live = deployment(2)
    with pytest.raises(Conflict, match="before-first-apply"):
        applied(live, deployment(3), ALICE)
    assert set(managed(applied(live, deployment(2), ALICE))) == {"alice", "before-first-apply"}


def test_a_new_object_belongs_to_its_writer_but_for_the_structs_that_are_always_there():
    container = {"name": "c", "image": "i", "resources": {}, "ports": [{"containerPort": 80, "protocol": "TCP"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}, "status": {}}
    pod["spec"] = {"containers": [container], "tolerations": [{"key": "x"}], "securityContext": {}}
    new = updated(None, pod, Manager("", "Update", "v1"), rule=PODS)
    (entry,) = new["metadata"]["managedFields"]
    assert (entry["manager"], entry["time"]) == ("unknown", NOW)
    assert entry["fieldsV1"] == {
        "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
        "f:spec": {
            "f:containers": {
                'k:{"name":"c"}': {
                    ".": {},
                    "f:name": {},
                    "f:image": {},
                    "f:resources": {},
                    "f:ports": {
                        ".": {},
                        'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:protocol": {}},
                    },
                }
            },
            "f:tolerations": {},
            "f:securityContext": {},
        },
    }


def test_elements_with_the_same_key_are_managed_as_one():
    def pod(*values):
        env = [{"name": "A", "value": value} for value in values]
        return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "env": env}]}}

    twice = updated(None, pod("1", "2"), rule=PODS)
    element = '.spec.containers[name="c"].env[name="A"]'
    assert [path for path in managed(twice)["editor"] if path.startswith(element)] == [element]
    once = updated(twice, {**pod("1"), "metadata": twice["metadata"]}, Manager("other", "Update", "v1"), rule=PODS)
    assert managed(once)["other"] == [element, f"{element}.name", f"{element}.value"]


def test_a_way_of_writing_reaches_its_own_fields():
    live = {"metadata": {"name": "p", "managedFields": []}, "spec": {"nodeName": "a"}, "status": {}}
    new = {**live, "spec": {"nodeName": "b"}, "status": {"phase": "Running"}}
    kubelet = Manager("kubelet", "Update", "v1", "status")
    status = Reach(field_set((("f:spec",),)))
    assert managed(updated(live, new, kubelet, rule=PODS, reach=status)) == {"kubelet": [".status.phase"]}
    resize = Reach({}, field_set((("f:spec", "f:containers", "*", "f:resources"),)))
    grown = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}]}}
    small = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "resources": {}}]}}
    resized = updated(small, grown, Manager("vpa", "Update", "v1", "resize"), rule=PODS, reach=resize)
    limits = '.spec.containers[name="c"].resources.limits'
    assert managed(resized) == {"vpa": [limits, f"{limits}.cpu"]}


def test_the_oldest_of_many_updaters_become_one():
    obj = updated(None, deployment(labels={}))
    for number in range(13):
        new = {**obj, "metadata": {**obj["metadata"], "labels": {str(one): "x" for one in range(number + 1)}}}
        obj = updated(
            obj, new, Manager(f"writer-{number:02}", "Update", "apps/v1"), now=f"2026-01-02T03:04:{number:02}Z"
        )
    entries = {entry["manager"]: entry for entry in obj["metadata"]["managedFields"]}
    assert len(entries) == 10
    assert entries["ancient-changes"]["time"] == "2026-01-02T03:04:04Z"
    assert managed(obj)["ancient-changes"] == [f".metadata.labels.{number}" for number in range(5)]


def test_kubectl_takes_over_what_its_client_side_apply_has_set():
    said = orjson.dumps(deployment(2, {"a": "1"})).decode()
    live = deployment(2, {"a": "1"})
    live["metadata"]["annotations"] = {LAST_APPLIED: said}
    live = updated(None, live, Manager("kubectl-client-side-apply", "Update", "apps/v1"))
    kubectl = Manager("kubectl", "Apply", "apps/v1")
    taken = applied(live, deployment(3, {"a": "1"}), kubectl)
    assert taken["spec"]["replicas"] == 3
    assert orjson.loads(taken["metadata"]["annotations"][LAST_APPLIED]) == deployment(3, {"a": "1"})
    changed = updated(live, {**live, "spec": {"replicas": 9}})
    with pytest.raises(Conflict, match='conflict with "editor"'):
        applied(changed, deployment(3, {"a": "1"}), kubectl)
