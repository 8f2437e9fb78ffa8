"""What `kobune up` makes of stores, tiers and nodes that are asked for or were there; nothing is started."""

from pathlib import Path

import pytest
import typer

from kobune.aks.clusters import Cluster, NodePool, check_cluster
from kobune.cli.up import StoreKind, Tier, chosen_pools, store_and_tier
from kobune.host import etcd_members
from kobune.host.layout import ClusterLayout, Layout
from kobune.host.spec import Spec

POOL = NodePool("simulated", 1, simulated=True)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kobune.cli.up.is_installed", lambda: True)


@pytest.fixture
def layout(tmp_path: Path) -> ClusterLayout:
    return Layout(tmp_path).cluster("kobune")


def spec(store: str, tier: str = "Free") -> Spec:
    return Spec(check_cluster(Cluster("kobune", "1.36", (POOL,), tier=tier)), 6443, store=store)


@pytest.mark.parametrize(
    ("previous", "store", "tier", "found"),
    [
        (None, None, None, (StoreKind.SQLITE, Tier.FREE)),
        (None, None, Tier.STANDARD, (StoreKind.ETCD, Tier.STANDARD)),
        (None, StoreKind.ETCD, None, (StoreKind.ETCD, Tier.FREE)),
        # A cluster that is started again is what it was.
        (spec("etcd", "Premium"), None, None, (StoreKind.ETCD, Tier.PREMIUM)),
        (spec("sqlite"), None, None, (StoreKind.SQLITE, Tier.FREE)),
    ],
)
def test_store_and_tier_follow_from_each_other_and_from_what_was(layout, previous, store, tier, found):
    assert store_and_tier(layout, previous, store, tier) == found


@pytest.mark.parametrize(
    ("previous", "store", "tier", "said"),
    [
        (None, StoreKind.SQLITE, Tier.STANDARD, "--store etcd is one"),
        (spec("sqlite"), StoreKind.ETCD, None, "would start without them"),
        (spec("sqlite"), None, Tier.STANDARD, "--store etcd is one"),
        (spec("etcd"), None, Tier.STANDARD, "one etcd member"),
    ],
)
def test_what_would_lose_objects_or_promises_is_refused(layout, previous, store, tier, said, capsys):
    if previous is not None and previous.store == "etcd":
        assert len(etcd_members.members(layout, previous)) == etcd_members.ONE
    with pytest.raises((SystemExit, typer.Exit)):
        store_and_tier(layout, previous, store, tier)
    assert said in capsys.readouterr().err


def test_a_missing_etcd_is_named_with_its_package(layout, monkeypatch, capsys):
    monkeypatch.setattr("kobune.cli.up.is_installed", lambda: False)
    with pytest.raises((SystemExit, typer.Exit)):
        store_and_tier(layout, None, None, Tier.STANDARD)
    assert "etcd-server" in capsys.readouterr().err


def test_a_cluster_started_again_has_the_nodes_it_had(monkeypatch):
    monkeypatch.setattr("kobune.cli.up.find_missing", list)
    before = spec("sqlite")
    assert chosen_pools(before, None, None, None, None) == before.cluster.pools
    assert [(pool.name, pool.count) for pool in chosen_pools(None, None, None, None, None)] == [("nodepool1", 1)]
    asked = chosen_pools(before, 2, 5, None, 30)
    assert [(pool.name, pool.count, pool.max_pods, pool.mode) for pool in asked] == [
        ("nodepool1", 2, 30, "System"),
        ("simulated", 5, 30, "User"),
    ]
