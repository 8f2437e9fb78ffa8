"""Which machines of a pool run containers."""

import pytest

from kobune.aks.clusters import Cluster, NodePool
from kobune.aks.instances import Instances, new_instances, simulated_instead
from kobune.aks.reservations import NodeOs


@pytest.mark.parametrize(
    "pool, room, instead",
    [
        pytest.param(NodePool("np1", 3), 3, 0, id="room-for-all"),
        pytest.param(NodePool("np1", 3), 1, 2, id="room-for-one"),
        pytest.param(NodePool("np1", 3, simulated=True), 3, 0, id="asked-for"),
        pytest.param(NodePool("np1", 3, os=NodeOs.WINDOWS), 3, 0, id="never-real-here"),
    ],
)
def test_machines_beyond_what_there_is_room_for_are_simulated_and_counted(pool, room, instead):
    cluster = Cluster("demo", "1.36.1", (pool,))
    made = new_instances(cluster, pool, pool.count, Instances(), now=0.0, room=room)
    assert simulated_instead(cluster, Instances(tuple(made))) == instead
