"""Which versions a cluster can go to."""

import pytest

from kobune.aks.versions import available_upgrades, check_version_change
from kobune.api.errors import Invalid


def test_newer_patches_and_the_next_minors_are_offered():
    assert available_upgrades("1.34.1") == ["1.34.2", "1.35.0", "1.35.1"]
    assert available_upgrades("1.37.0") == []


@pytest.mark.parametrize("current, wanted, said", [
    ("1.36.1", "1.35.1", "cannot be downgraded"),
    ("1.36.1", "1.36.0", "cannot be downgraded"),
    ("1.34.2", "1.36.1", "one minor version at a time; from 1.34.2 there is 1.35.0, 1.35.1"),
])  # fmt: skip
def test_downgrades_and_skipped_minors_are_refused(current, wanted, said):
    with pytest.raises(Invalid, match=said):
        check_version_change(current, wanted)


def test_the_same_and_the_next_are_allowed():
    check_version_change("1.36.1", "1.36.1")
    check_version_change("1.36.1", "1.37.0")
