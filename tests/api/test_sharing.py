"""What many objects repeat is there once, and says the same as before."""

import msgspec

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
