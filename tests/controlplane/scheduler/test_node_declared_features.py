"""Nodes that say what they can do. Source: KEP Node Declared Features; upstream nodedeclaredfeatures."""

import pytest

from kobune.controlplane.scheduler.configuration import ProfileConfiguration
from kobune.controlplane.scheduler.events import Action, ClusterEvent, node_actions
from kobune.controlplane.scheduler.listers import Listers
from kobune.controlplane.scheduler.nominations import Nominations
from kobune.controlplane.scheduler.plugins.node_declared_features import NodeDeclaredFeatures
from kobune.controlplane.scheduler.profiles import build_profile

USERS, RESTART = "UserNamespacesHostNetworkSupport", "RestartAllContainersOnContainerExits"
RULES = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]


def restarting(**more):
    return {"name": "c", "image": "app", "restartPolicy": "Never", "restartPolicyRules": RULES, **more}


@pytest.fixture
def table(build):
    return build.table(
        build.node("old"),
        build.node("users", declaredFeatures=[USERS]),
        build.node("both", declaredFeatures=[RESTART, USERS]),
    )


@pytest.mark.parametrize(
    ("pod", "accepted"),
    [
        pytest.param({}, {"old", "users", "both"}, id="needs-nothing"),
        pytest.param({"hostNetwork": True}, {"old", "users", "both"}, id="host-network-alone"),
        pytest.param({"hostNetwork": True, "hostUsers": False}, {"users", "both"}, id="user-namespace-on-host-network"),
        pytest.param({"containers": [restarting()]}, {"both"}, id="restarts-all-containers"),
        pytest.param({"initContainers": [restarting()]}, {"both"}, id="an-init-container-does"),
        pytest.param(
            {"containers": [restarting()], "hostNetwork": True, "hostUsers": False}, {"both"}, id="needs-both"
        ),
    ],
)
def test_a_pod_goes_where_all_it_needs_is_declared(build, table, pod, accepted):
    info = build.info(**pod)
    profile = build_profile(ProfileConfiguration(), Listers()).profile
    mask = profile.feasible(info, table, Nominations())
    assert {name for name, row in table.row_of.items() if mask[row]} == accepted
    refused = profile.diagnose(info, table, Nominations()).counts()
    assert refused == (
        {} if len(accepted) == 3 else {"node(s) didn't match Pod's required features": 3 - len(accepted)}
    )


def test_an_upgraded_kubelet_helps(build, table):
    plugin, pod = NodeDeclaredFeatures(), build.info(containers=[restarting()])
    before, after = build.node("old"), build.node("old", declaredFeatures=[RESTART])
    assert plugin.helps(ClusterEvent("Node", node_actions(before, after), before, after), pod)
    assert not plugin.helps(ClusterEvent("Node", Action.ADD, None, before), pod)
    table.put_node(after)
    assert plugin.filter(pod, table, table.rows)[table.row_of["old"]]
