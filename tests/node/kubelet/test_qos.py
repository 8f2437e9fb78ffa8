"""Quality of service, and admission by resources."""

import pytest

from kobune.node.kubelet.admission import host_ports, refuse
from kobune.node.kubelet.config import Amounts, KubeletConfig
from kobune.node.kubelet.environment import ConfigError
from kobune.node.kubelet.pod import pod_from_json
from kobune.node.kubelet.qos import QoS, linux_resources, oom_score_adj, pod_requests, qos_class
from kobune.node.kubelet.security import security_context


def pod_of(*resources, init=(), **spec):
    containers = [{"name": f"c{number}", "resources": each} for number, each in enumerate(resources)]
    inits = [{"name": f"i{number}", **each} for number, each in enumerate(init)]
    return pod_from_json(
        {"metadata": {"name": "web"}, "spec": {"containers": containers, "initContainers": inits, **spec}}
    )


FULL = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}}


@pytest.mark.parametrize(
    "resources, expected",
    [
        pytest.param([{}], QoS.BEST_EFFORT, id="nothing-asked"),
        pytest.param([FULL], QoS.GUARANTEED, id="limits-equal-requests"),
        pytest.param([FULL, {}], QoS.BURSTABLE, id="one-container-without"),
        pytest.param([{"requests": {"cpu": "1"}}], QoS.BURSTABLE, id="requests-alone"),
        pytest.param(
            [{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}], QoS.BURSTABLE, id="less"
        ),
    ],
)
def test_the_class_follows_from_requests_and_limits(resources, expected):
    assert qos_class(pod_of(*resources)) == expected


@pytest.mark.parametrize(
    "resources, expected",
    [([{}], 1000), ([FULL], -997), ([{"requests": {"memory": "4Gi"}}], 500), ([{"requests": {"memory": "1"}}], 999)],
)
def test_who_asked_for_more_is_killed_later(resources, expected):
    pod = pod_of(*resources)
    assert oom_score_adj(pod, pod.spec.containers[0], 8 << 30) == expected


def test_cpu_and_memory_become_cgroup_settings():
    settings = linux_resources(
        pod_of({"limits": {"cpu": "1500m", "memory": "1Gi"}, "requests": {"cpu": "500m"}}).spec.containers[0].resources
    )
    assert (settings.cpu_shares, settings.cpu_quota_us, settings.memory_limit_bytes) == (512, 150_000, 1 << 30)


def test_init_containers_count_where_they_need_more_than_the_rest():
    pod = pod_of(
        {"requests": {"cpu": "1"}},
        init=[
            {"restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}},
            {"resources": {"requests": {"cpu": "2"}}},
        ],
        overhead={"cpu": "100m"},
    )
    assert pod_requests(pod)[0] == 2600


CONFIG = KubeletConfig(
    "node-1",
    addresses=[],
    root_dir=None,
    max_pods=2,
    capacity=Amounts(2000, 2 << 30, 10 << 30),
    kube_reserved=Amounts(500),
)


def test_allocatable_is_capacity_less_reservations_and_thresholds():
    assert CONFIG.allocatable() == Amounts(1500, (2 << 30) - (100 << 20), 9 << 30, 0)


def test_a_pod_that_does_not_fit_is_refused_in_upstream_s_words():
    pod, other = pod_of({"requests": {"cpu": "1"}}), pod_of({"requests": {"cpu": "600m"}})
    assert refuse(pod, [], CONFIG) is None
    verdict = refuse(pod, [pod_requests(other)], CONFIG)
    assert verdict.reason == "OutOfcpu"
    words = "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000, used: 600, capacity: 1500"
    assert verdict.message == words
    assert refuse(pod_of({}), [pod_requests(pod_of({}))] * 2, CONFIG).reason == "OutOfpods"


def test_a_container_that_must_not_be_root_is_not_made_as_root():
    pod = pod_of({}, securityContext={"runAsNonRoot": True})
    with pytest.raises(ConfigError, match="container has runAsNonRoot and image will run as root"):
        security_context(pod, pod.spec.containers[0])
    assert security_context(pod, pod.spec.containers[0], image_user="1000").run_as_user == 1000


def test_the_container_s_own_security_context_goes_before_the_pod_s():
    pod = pod_from_json(
        {
            "spec": {
                "securityContext": {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4]},
                "containers": [
                    {
                        "name": "main",
                        "securityContext": {
                            "runAsUser": 5,
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                    }
                ],
            }
        }
    )
    made = security_context(pod, pod.spec.containers[0])
    assert (made.run_as_user, made.run_as_group, list(made.supplemental_groups)) == (5, 2, [4, 3])
    assert made.no_new_privileges
    assert list(made.drop_capabilities) == ["ALL"]
    assert made.seccomp == "RuntimeDefault"


def with_port(address="", port=80, protocol="TCP"):
    container = {
        "name": "c",
        "ports": [{"containerPort": 1, "hostPort": port, "hostIP": address, "protocol": protocol}],
    }
    return pod_from_json({"metadata": {"name": "web"}, "spec": {"containers": [container]}})


@pytest.mark.parametrize(
    "other, is_refused",
    [
        pytest.param(with_port(), True, id="the-same-port"),
        pytest.param(with_port("10.0.0.1"), True, id="on-one-address"),
        pytest.param(with_port(protocol="UDP"), False, id="another-protocol"),
        pytest.param(with_port(port=81), False, id="another-port"),
    ],
)
def test_a_host_port_is_had_once(other, is_refused):
    verdict = refuse(with_port(), [], CONFIG, host_ports(other))
    assert (verdict is not None) is is_refused
    if verdict:
        words = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
        assert (verdict.reason, verdict.message) == ("NodePorts", f"Pod was rejected: {words}")


def test_no_container_gets_more_processors_than_its_node_has():
    [four, none] = pod_of({"limits": {"cpu": "4"}}, {}).spec.containers
    assert linux_resources(four.resources, cpu_ceiling=2000).cpu_quota_us == 200_000
    assert linux_resources(four.resources, cpu_ceiling=8000).cpu_quota_us == 400_000
    assert linux_resources(none.resources, cpu_ceiling=2000).cpu_quota_us == 0
