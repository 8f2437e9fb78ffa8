"""What many objects repeat is there once, and says the same as before."""

import msgspec
import pytest

from kobune.api.objects import lean, scheduling
from kobune.api.objects.core import Node, Pod
from kobune.api.sharing import FEW, shared_map


def test_small_maps_are_one_object_and_large_ones_share_their_texts():
    small = {"a": "x" * 40, "n": 1, "f": 0.5}
    assert shared_map(small) == small
    assert shared_map(small) is shared_map(dict(small))
    large = [{f"name-{number}": f"value-{number}" for number in range(FEW + 1)} for _ in range(2)]
    one, other = (shared_map(each) for each in large)
    assert one == other == large[0]
    assert one is not other
    assert shared_map(large[0] | {"number": 1}) == large[0] | {"number": 1}
    assert all(mine is theirs for mine, theirs in zip(one, other, strict=True))


def test_views_of_like_objects_share_what_they_repeat():
    pod = {"metadata": {"labels": {"app": "web"}}, "status": {"conditions": [{"type": "Ready", "status": "False", "message": "not yet, at all"}]}}  # fmt: skip
    one, other = (msgspec.json.decode(msgspec.json.encode(pod), type=Pod) for _ in range(2))
    assert one == other
    assert one.metadata.labels is other.metadata.labels
    assert one.status.conditions[0].message is other.status.conditions[0].message
    node = {"status": {"allocatable": {"cpu": "4", "memory": "16Gi"}}}
    first, second = (msgspec.json.decode(msgspec.json.encode(node), type=Node) for _ in range(2))
    assert first.status.allocatable is second.status.allocatable


@pytest.mark.parametrize("view", [lean.Pod, scheduling.Pod])
def test_pods_of_one_template_share_what_it_says(view):
    template = {
        "containers": [{"name": "main", "image": "web:1", "resources": {"requests": {"cpu": "1"}}}],
        "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
    }
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1"}
    one, other, unlike = (
        msgspec.json.decode(
            msgspec.json.encode({"metadata": {"name": name, "ownerReferences": [owner]}, "spec": spec}), type=view
        )
        for name, spec in (
            ("one", template),
            ("other", {**template, "nodeName": "node-1", "volumes": [{"name": "token-xyz", "projected": {}}]}),
            ("unlike", {**template, "containers": [{"name": "other"}]}),
        )
    )
    assert one.spec.containers is other.spec.containers
    assert one.spec.tolerations is other.spec.tolerations
    assert one.spec.affinity is other.spec.affinity
    assert one.metadata.owner_references is other.metadata.owner_references
    assert one.spec.init_containers is other.spec.volumes == []
    assert (one.name, other.name, other.spec.node_name) == ("one", "other", "node-1")
    assert [each.name for each in unlike.spec.containers] == ["other"]


def test_volumes_that_bear_on_nothing_are_left_out():
    volumes = [
        {"name": "token", "projected": {"sources": []}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "scratch", "ephemeral": {}},
        {"name": "tmp", "emptyDir": {}},
    ]
    body = msgspec.json.encode({"spec": {"volumes": volumes}})
    kept = {view: msgspec.json.decode(body, type=view).spec.volumes for view in (lean.Pod, scheduling.Pod)}
    assert [each.name for each in kept[lean.Pod]] == ["data", "scratch"]
    assert [each.name for each in kept[scheduling.Pod]] == ["data", "scratch", "tmp"]
