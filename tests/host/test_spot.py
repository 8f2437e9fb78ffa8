"""Spot machines that are taken back."""

from dataclasses import replace

import pytest

from kobune.aks.clusters import Cluster, NodePool
from kobune.aks.instances import Instances, first_instances
from kobune.host.instances import write_instances
from kobune.host.layout import Layout
from kobune.host.spec import Spec, read_spec, write_spec
from kobune.host.spot import NotEvictable, evict


@pytest.fixture
def cluster(tmp_path):
    """A cluster with a machine of each kind and a spot pool of which one machine is long gone."""
    spot = NodePool("spot", 2, mode="User", spot=True, evicted=("gone",))
    spec = Spec(Cluster("c1", "1.36.1", (NodePool("system", 1), spot)), 6443)
    layout = Layout(tmp_path).cluster("c1")
    layout.root.mkdir(parents=True)
    write_instances(layout, Instances(first_instances(spec.cluster)))
    write_spec(layout, spec)
    return layout


def machines(cluster):
    return {machine.pool: machine.name for machine in first_instances(read_spec(cluster).cluster)}


def test_what_is_taken_back_is_asked_for_with_those_before_that_are_still_there(cluster):
    spec, name = read_spec(cluster), machines(cluster)["spot"]
    evict(cluster, spec, name)
    wanted = read_spec(cluster)
    assert [pool.evicted for pool in wanted.cluster.pools] == [(), (name,)]
    assert replace(wanted, cluster=spec.cluster) == spec


def test_others_are_not_taken_back(cluster):
    spec = read_spec(cluster)
    with pytest.raises(NotEvictable, match="has no spot machines"):
        evict(cluster, spec, machines(cluster)["system"])
    with pytest.raises(NotEvictable, match="has no node 'nobody'"):
        evict(cluster, spec, "nobody")
    assert read_spec(cluster) == spec
