"""Which volume suits which claim."""

import pytest

from kobune.api.objects.core import ObjectReference
from kobune.api.objects.meta import ObjectMeta
from kobune.api.objects.storage import (
    ClaimResources,
    ClaimSpec,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeSpec,
    PersistentVolumeStatus,
)
from kobune.controlplane.controllers.storage.matching import best_match, mismatch


def claim(size="5Gi", modes=("ReadWriteOnce",), storage_class="slow", **spec):
    return PersistentVolumeClaim(
        metadata=ObjectMeta(name="data", namespace="default", uid="c1"),
        spec=ClaimSpec(
            access_modes=list(modes),
            resources=ClaimResources(requests={"storage": size}),
            storage_class_name=storage_class,
            **spec,
        ),
    )


def volume(name, size="5Gi", modes=("ReadWriteOnce",), storage_class="slow", phase="Available", labels=None, **spec):
    return PersistentVolume(
        metadata=ObjectMeta(name=name, labels=labels or {}),
        spec=PersistentVolumeSpec(
            capacity={"storage": size}, access_modes=list(modes), storage_class_name=storage_class, **spec
        ),
        status=PersistentVolumeStatus(phase=phase),
    )


MINE = ObjectReference(namespace="default", name="data")
ANOTHERS = ObjectReference(namespace="default", name="other")


@pytest.mark.parametrize(
    "volumes, expected",
    [
        pytest.param([volume("big", "10Gi"), volume("small", "6Gi")], "small", id="the-smallest-that-is-large-enough"),
        pytest.param([volume("tiny", "4Gi")], None, id="none-too-small"),
        pytest.param([volume("fast", storage_class="fast")], None, id="none-of-another-class"),
        pytest.param([volume("held", claim_ref=ANOTHERS)], None, id="none-of-another-claim"),
        pytest.param([volume("pending", phase="Pending")], None, id="none-not-yet-available"),
        pytest.param(
            [volume("small"), volume("kept", "50Gi", claim_ref=MINE, storage_class="fast")],
            "kept",
            id="the-one-kept-for-it-comes-first-whatever-its-class",
        ),
        pytest.param(
            [volume("both", modes=("ReadWriteOnce", "ReadOnlyMany")), volume("one", "9Gi")],
            "one",
            id="few-access-modes-come-before-small-size",
        ),
    ],
)
def test_the_best_volume_for_a_claim(volumes, expected):
    found = best_match(claim(), volumes, delayed=False)
    assert (found.name if found else None) == expected


def test_a_delayed_claim_gets_only_what_is_kept_for_it():
    assert best_match(claim(), [volume("free")], delayed=True) is None
    assert best_match(claim(), [volume("kept", claim_ref=MINE)], delayed=True).name == "kept"


def test_a_selector_decides_among_volumes():
    chosen = claim(selector={"matchLabels": {"disk": "ssd"}})
    found = best_match(chosen, [volume("hdd"), volume("ssd", "9Gi", labels={"disk": "ssd"})], delayed=False)
    assert found.name == "ssd"


@pytest.mark.parametrize(
    "wanted, expected",
    [
        pytest.param(claim("6Gi"), "requested PV is too small", id="size"),
        pytest.param(claim(storage_class="fast"), "storageClassName does not match", id="class"),
        pytest.param(claim(modes=("ReadWriteMany",)), "incompatible accessMode", id="mode"),
        pytest.param(claim(volume_mode="Block"), "incompatible volumeMode", id="block"),
        pytest.param(claim(), None, id="fits"),
    ],
)
def test_why_a_volume_asked_for_by_name_cannot_be_had(wanted, expected):
    assert mismatch(volume("v"), wanted) == expected
