"""What becomes of machines: plans taken step by step, with a cluster that does what it is told."""

from dataclasses import replace

import pytest

from kobune.aks.clusters import Cluster, NodePool, UpgradeSettings
from kobune.aks.instances import Instances, MachineState, OperationState
from kobune.aks.operations import begin, end
from kobune.aks.plan import Goal, Seen, is_at_rest, plan, surge_nodes
from kobune.aks.steps import Create, Drain, Fail, Forget, Quarantine, Relabel, Release, Settle, take

RUNNING, DRAINING, DELETING = MachineState.RUNNING, MachineState.DRAINING, MachineState.DELETING
POOL = NodePool("np1", 3)
CLUSTER = Cluster("demo", "1.36.1", (POOL,))


class World:
    """The cluster's side: nodes become Ready at once, drains end at once but on `stuck` nodes."""

    def __init__(self, cluster, *, room=100):
        self.cluster, self.room = cluster, room
        self.control_plane = cluster.kubernetes_version
        self.instances = Instances()
        self.kind, self.now, self.wishes = "create", 1000.0, 0
        self.stuck, self.unready, self.history = set(), set(), []
        self.wish(cluster, "create")

    def wish(self, cluster, kind="update"):
        """Ask for it, and go on until nothing changes any more; the outcome."""
        self.ask(cluster, kind)
        return self.settle()

    def ask(self, cluster, kind="update"):
        self.cluster, self.kind, self.wishes = cluster, kind, self.wishes + 1
        self.instances = begin(self.instances, cluster, str(self.wishes), self.now)
        self.history = []

    @property
    def goal(self):
        return Goal(self.cluster, self.kind, self.control_plane, self.room)

    def settle(self, rounds=500):
        for _ in range(rounds):
            if not self.step():
                break
        if is_at_rest(self.goal, self.instances, self.now):
            outcome = end(self.instances, self.kind)
            self.instances = replace(self.instances, operation=outcome or self.instances.operation)
        return self.instances.operation

    def step(self):
        seen = {
            each.name: Seen(
                ready=each.name not in self.unready,
                pods_left=int(each.name in self.stuck),
                blocked="PDB web" if each.name in self.stuck else "",
                is_down=each.state is DELETING,
            )
            for each in self.instances.machines
        }
        steps = plan(self.goal, self.instances, seen, self.now)
        for step in steps:
            self.instances = take(step, self.instances, self.now)
        self.history += steps
        self.ready_at_least = min(getattr(self, "ready_at_least", 10**6), self.in_service())
        self.now += 1
        return steps

    def in_service(self):
        return sum(each.state is RUNNING for each in self.instances.machines)

    def names(self, pool="np1"):
        return [each.name[-6:] for each in self.instances.of(pool)]

    def pool(self, **changes):
        return replace(self.cluster, pools=(replace(self.cluster.pools[0], **changes), *self.cluster.pools[1:]))

    def of_kind(self, kind):
        return [step for step in self.history if isinstance(step, kind)]


def test_a_new_pool_has_numbers_from_nothing_and_zones_in_turn():
    world = World(replace(CLUSTER, pools=(replace(POOL, count=4, zones=("1", "2", "3")),)))
    assert world.names() == ["000000", "000001", "000002", "000003"]
    assert [each.zone for each in world.instances.machines] == ["1", "2", "3", "1"]
    assert world.instances.operation.state is OperationState.SUCCEEDED


def test_scaling_in_drains_the_newest_and_scaling_out_never_takes_its_number_again():
    world = World(CLUSTER)
    world.wish(world.pool(count=1))
    assert [step.name[-1] for step in world.of_kind(Drain)] == ["2", "1"]
    world.wish(world.pool(count=2))
    assert world.names() == ["000000", "000003"]
    # Its address is that of a machine that is gone.
    assert [each.index for each in world.instances.machines] == [0, 1]


def test_numbers_begin_again_after_the_last():
    world = World(replace(CLUSTER, pools=(replace(POOL, count=1),)))
    world.instances = replace(world.instances, next_numbers={"np1": 36**6 - 1})
    world.wish(world.pool(count=3))
    assert world.names() == ["000000", "zzzzzz", "000001"]


def test_scaling_in_takes_from_the_fullest_zone_and_first_what_is_not_ready():
    world = World(replace(CLUSTER, pools=(replace(POOL, count=4, zones=("1", "2", "3")),)))
    world.wish(world.pool(count=3))
    assert world.names() == ["000000", "000001", "000002"]  # Zone 1 had two: 0 and 3.
    world.unready = {world.instances.machines[0].name}
    world.wish(world.pool(count=2))
    assert world.names() == ["000001", "000002"]


def test_named_machines_go_before_the_count_is_looked_at():
    world = World(CLUSTER)
    world.wish(world.pool(count=2, removed=(world.instances.machines[0].name,)), "delete-machines")
    assert world.names() == ["000001", "000002"]
    # The name stays in the spec and means nothing any more.
    assert world.wish(world.pool(count=3)).state is OperationState.SUCCEEDED
    assert world.names() == ["000001", "000002", "000003"]


def test_a_pool_goes_to_nothing_and_a_deleted_one_is_forgotten():
    two = replace(CLUSTER, pools=(POOL, NodePool("np2", 2, mode="User")))
    world = World(two)
    world.wish(replace(two, pools=(POOL, NodePool("np2", 0, mode="User"))))
    assert world.names("np2") == []
    world.wish(replace(two, pools=(POOL, NodePool("np2", 2, mode="User"))))
    world.wish(CLUSTER)
    assert world.names("np2") == []
    world.wish(CLUSTER)
    assert list(world.instances.pools) == ["np1"]


def test_a_stopped_pool_keeps_its_machines_and_they_come_back():
    world = World(CLUSTER)
    assert world.wish(world.pool(running=False)).state is OperationState.SUCCEEDED
    assert {each.state for each in world.instances.machines} == {MachineState.STOPPED}
    born = [each.born for each in world.instances.machines]
    world.wish(world.pool(running=True))
    assert world.names() == ["000000", "000001", "000002"]
    assert {each.state for each in world.instances.machines} == {RUNNING}
    assert all(new.born > old for new, old in zip(world.instances.machines, born, strict=True))


def test_nodes_beyond_what_the_machine_carries_are_simulated():
    world = World(CLUSTER, room=2)
    assert [each.simulated for each in world.instances.machines] == [False, False, True]


def test_windows_and_arm_nodes_are_simulated():
    arm = NodePool("arm", 1, "Standard_D2ps_v5")
    assert [each.simulated for each in World(replace(CLUSTER, pools=(arm,))).instances.machines] == [True]


def test_new_labels_and_taints_reach_nodes_that_are_there():
    world = World(CLUSTER)
    world.wish(world.pool(labels={"a": "b"}, taints=("k=v:NoSchedule",), mode="User"))
    [step, *_] = world.of_kind(Relabel)
    assert step.labels == {"a": "b", "kubernetes.azure.com/mode": "user"}
    assert step.taints == ("k=v:NoSchedule",)
    assert len(world.of_kind(Relabel)) == 3
    assert not world.of_kind(Create)


def test_a_pool_of_spot_machines_is_tainted():
    world = World(replace(CLUSTER, pools=(replace(POOL, spot=True),)))
    assert world.instances.machines[0].taints == ("kubernetes.azure.com/scalesetpriority=spot:NoSchedule",)


@pytest.mark.parametrize("max_surge, count, expected", [
    ("10%", 3, 1),
    ("33%", 4, 2),
    ("100%", 5, 5),
    ("2", 10, 2),
    ("0", 10, 0),
])  # fmt: skip
def test_surge_is_a_number_or_a_share_rounded_up(max_surge, count, expected):
    assert surge_nodes(replace(POOL, upgrade=UpgradeSettings(max_surge)), count) == expected


def upgraded(cluster, **settings):
    pools = tuple(replace(pool, upgrade=UpgradeSettings(**settings)) for pool in cluster.pools)
    return replace(cluster, kubernetes_version="1.37.0", pools=pools)


def test_an_upgrade_renews_every_node_under_its_name_and_is_never_below_the_count():
    world = World(CLUSTER)
    world.control_plane = "1.37.0"
    world.ready_at_least = 3
    assert world.wish(upgraded(CLUSTER), "upgrade").state is OperationState.SUCCEEDED
    assert world.names() == ["000000", "000001", "000002"]
    assert {each.kubernetes_version for each in world.instances.machines} == {"1.37.0"}
    assert world.ready_at_least == 3
    assert [step.machine.surge for step in world.of_kind(Create)] == [True]


def test_no_node_is_upgraded_before_the_control_plane():
    world = World(CLUSTER)
    world.ask(upgraded(CLUSTER), "upgrade")
    assert world.step() == []
    assert not is_at_rest(world.goal, world.instances, world.now)


def test_as_many_nodes_at_a_time_as_there_are_surge_nodes():
    world = World(replace(CLUSTER, pools=(replace(POOL, count=6),)))
    world.control_plane, world.ready_at_least = "1.37.0", 6
    world.wish(upgraded(world.cluster, max_surge="50%"), "upgrade")
    assert len(world.of_kind(Create)) == 3
    first = next(step for step in world.history if isinstance(step, Drain))
    at = world.history.index(first)
    assert [type(step) for step in world.history[at : at + 3]] == [Drain] * 3
    assert world.ready_at_least == 6


def test_without_surge_as_many_as_may_be_unavailable():
    world = World(replace(CLUSTER, pools=(replace(POOL, count=6),)))
    world.control_plane, world.ready_at_least = "1.37.0", 6
    world.wish(upgraded(world.cluster, max_surge="0", max_unavailable="2"), "upgrade")
    assert not world.of_kind(Create)
    assert world.ready_at_least == 4


def test_pools_are_upgraded_one_after_the_other():
    world = World(replace(CLUSTER, pools=(POOL, replace(POOL, name="np2"))))
    world.control_plane = "1.37.0"
    world.wish(upgraded(world.cluster), "upgrade")
    order = [step.name.split("-")[1] for step in world.history if isinstance(step, Drain)]
    assert order == ["np1"] * 4 + ["np2"] * 4  # Three nodes and the surge node of each.


def test_the_control_plane_alone_is_upgraded_where_pools_have_their_own_version():
    world = World(replace(CLUSTER, pools=(replace(POOL, kubernetes_version="1.36.1"),)))
    world.control_plane = "1.37.0"
    assert world.wish(replace(world.cluster, kubernetes_version="1.37.0"), "upgrade").state == "Succeeded"
    assert world.history == []


def test_the_image_alone_is_upgraded():
    world = World(replace(CLUSTER, pools=(replace(POOL, image_version="AKSUbuntu-2404gen2containerd-202608.12.0"),)))
    assert world.wish(world.pool(image_version=""), "update").state is OperationState.SUCCEEDED
    assert world.history == []  # Nobody asked for the newest.
    world.wish(world.pool(image_version=""), "node-image")
    assert {each.image_version for each in world.instances.machines} == {"AKSUbuntu-2404gen2containerd-202608.26.0"}
    assert {each.kubernetes_version for each in world.instances.machines} == {"1.36.1"}


def test_a_node_soaks_before_the_next_one_is_drained():
    world = World(CLUSTER)
    world.control_plane = "1.37.0"
    world.ask(upgraded(CLUSTER, node_soak_minutes=10), "upgrade")
    world.settle(20)
    assert len(world.of_kind(Drain)) == 1
    assert not is_at_rest(world.goal, world.instances, world.now)  # Nothing to do, and not at its end.
    world.now += 600
    world.settle(20)
    assert len(world.of_kind(Drain)) == 2


def test_a_blocked_drain_fails_the_upgrade_and_the_same_wish_again_recovers():
    world = World(CLUSTER)
    world.control_plane = "1.37.0"
    stuck = world.instances.machines[0].name
    world.stuck = {stuck}
    world.ask(upgraded(CLUSTER, drain_timeout_minutes=5), "upgrade")
    world.settle()
    world.now += 301
    outcome = world.settle()
    assert (outcome.state, outcome.code) == (OperationState.FAILED, "UpgradeFailed")
    assert stuck in outcome.message
    assert "PDB web" in outcome.message
    assert world.names() == ["000000", "000001", "000002"]  # The surge node is gone.
    assert [step.name for step in world.of_kind(Release)] == [stuck]
    assert not world.step()  # It stays so.
    world.stuck = set()
    assert world.wish(world.cluster, "upgrade").state is OperationState.SUCCEEDED
    assert {each.kubernetes_version for each in world.instances.machines} == {"1.37.0"}


def test_an_undrainable_node_is_cordoned_where_the_pool_says_so_and_the_others_are_upgraded():
    world = World(CLUSTER)
    world.control_plane = "1.37.0"
    stuck = world.instances.machines[0].name
    world.stuck = {stuck}
    world.ask(upgraded(CLUSTER, drain_timeout_minutes=5, undrainable="Cordon"), "upgrade")
    world.settle()
    world.now += 301
    outcome = world.settle()
    assert outcome.state is OperationState.FAILED
    assert stuck in outcome.message
    assert [step.name for step in world.of_kind(Quarantine)] == [stuck]
    old = [each.name for each in world.instances.machines if each.kubernetes_version == "1.36.1"]
    assert old == [stuck]
    # A surge node stands in for it, so there are still three that take pods.
    assert len(world.instances.machines) == 4
    assert not any(each.surge for each in world.instances.machines)
    world.stuck = set()
    assert world.wish(world.cluster, "upgrade").state is OperationState.SUCCEEDED
    assert len(world.instances.machines) == 3


def test_an_aborted_upgrade_releases_the_node_it_was_draining_and_ends_canceled():
    world = World(CLUSTER)
    world.control_plane = "1.37.0"
    world.stuck = {world.instances.machines[0].name}
    world.ask(upgraded(CLUSTER), "upgrade")
    world.settle()
    assert world.wish(world.cluster, "abort").state is OperationState.CANCELED
    assert {each.state for each in world.instances.machines} == {RUNNING}
    assert len(world.instances.machines) == 3


def test_a_blocked_drain_of_a_machine_to_be_deleted_fails_and_leaves_it():
    world = World(CLUSTER)
    world.stuck = {world.instances.machines[2].name}
    world.ask(world.pool(count=2), "scale")
    world.settle()
    world.now += 30 * 60 + 1
    outcome = world.settle()
    assert (outcome.state, outcome.code) == (OperationState.FAILED, "PodDrainFailure")
    assert len(world.instances.machines) == 3


def test_a_machine_that_never_becomes_a_node_fails_the_operation_and_is_replaced_by_the_next():
    world = World(CLUSTER)
    world.unready = {f"aks-np1-{CLUSTER.suffix}-vmss000003"}
    world.ask(world.pool(count=4), "scale")
    world.settle()
    world.now += 901
    outcome = world.settle()
    assert (outcome.state, outcome.code) == (OperationState.FAILED, "VMExtensionProvisioningTimeout")
    assert world.wish(world.cluster, "scale").state is OperationState.SUCCEEDED
    assert world.names() == ["000000", "000001", "000002", "000004"]


def test_an_autoscaled_pool_has_what_the_autoscaler_wants_within_its_bounds():
    pool = replace(POOL, count=3, autoscaling=True, min_count=1, max_count=5)
    world = World(replace(CLUSTER, pools=(pool,)))
    world.instances = replace(world.instances, targets={"np1": 9})
    world.settle()
    assert len(world.names()) == 5
    unwanted = replace(world.instances.machines[1], unwanted=True)
    machines = tuple(unwanted if each.name == unwanted.name else each for each in world.instances.machines)
    world.instances = replace(world.instances, machines=machines, targets={"np1": 4})
    world.settle()
    assert world.names() == ["000000", "000002", "000003", "000004"]


def test_every_plan_of_an_upgrade_can_be_interrupted_anywhere():
    """Whoever comes after us knows only what was remembered: all else is asked anew."""
    for moment in range(40):
        world = World(CLUSTER)
        world.control_plane = "1.37.0"
        world.ask(upgraded(CLUSTER), "upgrade")
        for _ in range(moment):
            world.step()
        later = World(CLUSTER)
        later.cluster, later.kind, later.control_plane = world.cluster, "upgrade", "1.37.0"
        later.instances, later.now = world.instances, world.now
        assert later.settle().state is OperationState.SUCCEEDED
        assert {each.kubernetes_version for each in later.instances.machines} == {"1.37.0"}
        assert later.names() == ["000000", "000001", "000002"]


def test_what_is_at_rest_plans_nothing():
    world = World(CLUSTER)
    assert world.step() == []
    assert {type(step) for step in world.history} == {Create, Settle}


def test_an_evicted_spot_machine_goes_without_a_drain_and_another_comes():
    world = World(replace(CLUSTER, pools=(replace(POOL, spot=True),)))
    name = world.instances.machines[1].name
    world.ask(world.pool(evicted=(name,)))
    world.settle()
    assert not world.of_kind(Drain)
    assert world.names() == ["000000", "000002", "000003"]


def test_machines_of_other_pools_are_never_evicted():
    world = World(CLUSTER)
    world.wish(world.pool(evicted=(world.instances.machines[1].name,)))
    assert world.names() == ["000000", "000001", "000002"]


def test_an_unready_node_is_taken_down_without_a_drain():
    world = World(CLUSTER)
    world.unready = {world.instances.machines[2].name}
    world.wish(world.pool(count=2))
    assert not world.of_kind(Drain)
    assert world.of_kind(Forget)


def test_the_first_failure_is_the_one_that_is_told():
    instances = begin(Instances(), CLUSTER, "1", 0.0)
    instances = take(Fail("A", "first"), instances, 1.0)
    assert take(Fail("B", "second"), instances, 2.0).operation.message == "first"
