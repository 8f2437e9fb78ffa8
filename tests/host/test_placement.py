"""Clusters that are made at the same moment go to different places of the machine."""

import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from kobune.host.layout import Layout
from kobune.host.placement import CLAIM_SECONDS, DEFAULT_PORT, PORTS_TRIED, SLOTS, find_port, find_slot

NOW = 1_767_600_000.0


@pytest.fixture(autouse=True)
def _own_claims(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_state_directories_that_choose_at_once_get_different_ports_and_ranges(tmp_path):
    layouts = [Layout(tmp_path / str(number)) for number in range(5)]
    with ThreadPoolExecutor(len(layouts)) as threads:
        ports = list(threads.map(lambda layout: find_port(layout, NOW), layouts))
        slots = list(threads.map(lambda layout: find_slot(layout, NOW), layouts))
    assert len(set(ports)) == len(set(slots)) == len(layouts)
    assert set(ports) <= set(range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED))


def test_a_claim_is_its_owners_and_does_not_last(tmp_path):
    mine, other = Layout(tmp_path / "mine"), Layout(tmp_path / "other")
    port = find_port(mine, NOW)
    assert find_port(mine, NOW + 1) == port
    assert find_port(other, NOW + 2) != port
    assert find_port(other, NOW + 1 + CLAIM_SECONDS) == port


def test_where_everything_is_claimed_and_nothing_used_the_first_is_taken(tmp_path):
    for number in range(SLOTS):
        find_slot(Layout(tmp_path / str(number)), NOW)
    assert find_slot(Layout(tmp_path / "late"), NOW) == find_slot(Layout(tmp_path / "0"), NOW)
