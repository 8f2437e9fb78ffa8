"""Wishes and states come back from their files as they were written."""

from kobune.aks.clusters import AutoscalerProfile, Cluster, NodePool, UpgradeSettings
from kobune.host.layout import Layout
from kobune.host.spec import (
    MachineState,
    NodeState,
    OperationState,
    Outcome,
    PoolState,
    ProcessStatus,
    Spec,
    Status,
    Wish,
    read_spec,
    read_status,
    write_spec,
    write_status,
)


def test_a_spec_comes_back_whole(tmp_path):
    layout = Layout(tmp_path).cluster("demo")
    pool = NodePool("np1", 2, zones=("1", "2"), labels={"a": "b"}, taints=("k=v:NoSchedule",), removed=("gone",))
    pool_of_spot = NodePool("np2", 0, spot=True, autoscaling=True, max_count=5, upgrade=UpgradeSettings("33%", "0", 5))
    profile = AutoscalerProfile(expander="least-waste,random", scale_down_utilization_threshold=0.7)
    cluster = Cluster("demo", "1.36.1", (pool, pool_of_spot), autoscaler=profile, authorized_ranges=("10.0.0.0/8",))
    spec = Spec(cluster, api_port=6443, wish=Wish("1", "create"))
    write_spec(layout, spec)
    assert read_spec(layout) == spec


def test_a_status_comes_back_whole(tmp_path):
    layout = Layout(tmp_path).cluster("demo")
    status = Status(
        running=True,
        processes=(ProcessStatus("control-plane", 7, 0, ""),),
        kubernetes_version="1.36.1",
        operation=Outcome("1", OperationState.FAILED, "UpgradeFailed", "because", 40),
        nodes=(NodeState("n", "np1", 3, "1.36.1", "image", "Standard_DS2_v2", "1", MachineState.RUNNING, True),),
        pools=(PoolState("np1", "1.36.1", "image", 1, True),),
    )
    write_status(layout, status)
    assert read_status(layout) == status


def test_a_cluster_nobody_asked_for_has_neither(tmp_path):
    layout = Layout(tmp_path).cluster("demo")
    assert read_spec(layout) is None
    assert read_status(layout) == Status()
