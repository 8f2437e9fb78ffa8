import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobune.api.catalogue import Kind
from kobune.api.defaulting import MODULES, _default_of, apply_defaults
from kobune.api.defaulting.images import pull_policy


def defaulted(obj, group="", version="v1", name="Pod"):
    result = copy.deepcopy(obj)
    apply_defaults(Kind(group, version, name, name.lower() + "s"), result)
    return result


def test_a_plain_pod():
    pod = defaulted({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}})
    assert pod["spec"] == {
        "containers": [
            {
                "name": "web",
                "image": "nginx",
                "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "resources": {},
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }


@pytest.mark.parametrize("image, policy", [
    ("nginx", "Always"), ("nginx:latest", "Always"), ("nginx:1.27", "IfNotPresent"), ("host:5000/nginx", "Always"),
    ("host:5000/a/nginx:1", "IfNotPresent"), ("nginx@sha256:" + "a" * 64, "IfNotPresent"),
    ("nginx:latest@sha256:" + "a" * 64, "Always"), ("", "IfNotPresent"), ("Not An Image", "IfNotPresent"),
    ("kobune.local/busybox", "Always"),
])  # fmt: skip
def test_pull_policy_follows_the_tag(image, policy):
    assert pull_policy(image) == policy


def test_requests_follow_limits_in_pods_but_not_in_templates():
    container = {
        "name": "a",
        "image": "a:1",
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100u"}},
    }
    pod = defaulted({"spec": {"containers": [container]}})
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1m", "memory": "1Gi"}
    deployment = defaulted({"spec": {"template": {"spec": {"containers": [container]}}}}, "apps", name="Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1m"}
    assert "enableServiceLinks" not in deployment["spec"]["template"]["spec"]


def test_pod_level_requests_come_from_containers_then_from_limits():
    pod = defaulted({"spec": {
        "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
        "initContainers": [{"name": "i", "image": "i:1", "resources": {"requests": {"cpu": "700m"}}}],
        "containers": [{"name": "a", "image": "a:1", "resources": {"requests": {"cpu": "250m"}}}] * 2,
    }})  # fmt: skip
    assert pod["spec"]["resources"]["requests"] == {"cpu": "700m", "memory": "1Gi"}


def test_everything_within_a_container():
    container = {
        "name": "a",
        "image": "a:1",
        "ports": [{"containerPort": 80}],
        "env": [
            {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ],
        "livenessProbe": {"httpGet": {"port": 80}},
        "readinessProbe": {"grpc": {"port": 80}},
        "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
    }
    result = defaulted({"spec": {"hostNetwork": True, "containers": [container]}})["spec"]["containers"][0]
    assert result["ports"] == [{"containerPort": 80, "protocol": "TCP", "hostPort": 80}]
    assert result["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert result["env"][1]["valueFrom"]["resourceFieldRef"]["divisor"] == "0"
    thresholds = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    assert result["livenessProbe"] == {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, **thresholds}
    assert result["readinessProbe"] == {"grpc": {"port": 80, "service": ""}, **thresholds}
    assert result["lifecycle"]["preStop"]["httpGet"] == {"port": 80, "path": "/", "scheme": "HTTP"}


def test_volumes():
    volumes = [
        {"name": "none"},
        {"name": "secret", "secret": {"secretName": "s"}},
        {"name": "host", "hostPath": {"path": "/"}},
        {"name": "all", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        {"name": "claim", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
    ]
    result = defaulted({"spec": {"containers": [], "volumes": volumes}})["spec"]["volumes"]
    assert result == [
        {"name": "none", "emptyDir": {}},
        {"name": "secret", "secret": {"secretName": "s", "defaultMode": 420}},
        {"name": "host", "hostPath": {"path": "/", "type": ""}},
        {"name": "all", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]}},
        {"name": "claim", "ephemeral": {"volumeClaimTemplate": {"spec": {"volumeMode": "Filesystem", "resources": {}}}}},
    ]  # fmt: skip


def test_service_account_names_mirror_each_other():
    assert defaulted({"spec": {"serviceAccount": "a"}})["spec"]["serviceAccountName"] == "a"
    assert defaulted({"spec": {"serviceAccount": "a", "serviceAccountName": "b"}})["spec"]["serviceAccount"] == "b"


def test_services():
    spec = defaulted({"spec": {"ports": [{"port": 80}]}}, name="Service")["spec"]
    assert spec == {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
    }
    balancer = defaulted({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP"}}, name="Service")["spec"]
    assert balancer["externalTrafficPolicy"] == "Cluster"
    assert balancer["allocateLoadBalancerNodePorts"] is True
    assert balancer["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


def test_workloads():
    deployment = defaulted({}, "apps", name="Deployment")["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    assert (deployment["revisionHistoryLimit"], deployment["progressDeadlineSeconds"]) == (10, 600)
    daemons = defaulted({}, "apps", name="DaemonSet")["spec"]
    assert daemons["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
    stateful = defaulted({}, "apps", name="StatefulSet")["spec"]
    assert stateful["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    assert stateful["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    job = defaulted({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}, "batch", name="Job")
    assert job["metadata"]["labels"] == {"a": "b"}
    assert {field: job["spec"][field] for field in ("completions", "parallelism", "backoffLimit")} == {
        "completions": 1, "parallelism": 1, "backoffLimit": 6,
    }  # fmt: skip
    parallel = defaulted({"spec": {"completions": 5}}, "batch", name="Job")["spec"]
    assert (parallel["completions"], parallel["parallelism"]) == (5, 1)


def test_autoscalers_of_both_versions():
    spec = defaulted(
        {"spec": {"behavior": {"scaleUp": {"selectPolicy": "Min"}}}}, "autoscaling", "v2", "HorizontalPodAutoscaler"
    )["spec"]
    assert spec["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 80}
    assert spec["behavior"]["scaleUp"]["selectPolicy"] == "Min"
    assert len(spec["behavior"]["scaleUp"]["policies"]) == 2
    assert "stabilizationWindowSeconds" not in spec["behavior"]["scaleDown"]
    old = defaulted({}, "autoscaling", "v1", "HorizontalPodAutoscaler")["spec"]
    assert old == {"minReplicas": 1, "targetCPUUtilizationPercentage": 80}


def test_a_namespace_carries_its_name_as_a_label():
    namespace = defaulted({"metadata": {"name": "a"}}, name="Namespace")
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "a"}
    assert namespace["status"] == {"phase": "Active"}


def test_limit_ranges_fill_each_other_in():
    item = {"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}
    result = defaulted({"spec": {"limits": [item]}}, name="LimitRange")["spec"]["limits"][0]
    assert result["default"] == {"cpu": "2"}
    assert result["defaultRequest"] == {"cpu": "2", "memory": "1Mi"}


EVERYTHING = [
    (group, name.partition("/")[0] if "/" in name else "v1", name.rpartition("/")[2])
    for group, module in MODULES.items()
    for name in __import__(f"kobune.api.defaulting.{module}", fromlist=["DEFAULTS"]).DEFAULTS
]


@pytest.mark.parametrize("group, version, name", EVERYTHING)
def test_an_object_that_says_nothing_can_be_defaulted_and_twice_is_once(group, version, name):
    once = defaulted({"metadata": {"name": "a"}}, group, version, name)
    assert defaulted(once, group, version, name) == once


def test_a_kind_without_defaults_stays_as_it_is():
    assert _default_of("coordination.k8s.io", "v1", "Lease") is None
    assert defaulted({"spec": {}}, "coordination.k8s.io", "v1", "Lease") == {"spec": {}}


texts = st.sampled_from(["", "a", "a:1", "Never", "None", "ClientIP", "LoadBalancer"])
containers = st.fixed_dictionaries(
    {"name": texts},
    optional={
        "image": texts,
        "resources": st.fixed_dictionaries(
            {}, optional={"limits": st.just({"cpu": "1", "memory": "1Gi"}), "requests": st.just({"cpu": "100u"})}
        ),
        "ports": st.lists(st.just({"containerPort": 1})),
        "startupProbe": st.sampled_from([{}, {"httpGet": {"port": 1}}, {"periodSeconds": 3}]),
    },
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "containers": st.lists(containers, max_size=2),
        "initContainers": st.lists(containers, max_size=2),
        "volumes": st.lists(st.sampled_from([{"name": "a"}, {"name": "a", "configMap": {"name": "b"}}]), max_size=2),
        "hostNetwork": st.booleans(),
        "restartPolicy": texts,
        "resources": st.just({"limits": {"cpu": "3"}}),
    },
)


@given(specs)
def test_defaulting_a_pod_twice_changes_nothing_and_loses_nothing(spec):
    once = defaulted({"spec": spec})
    assert defaulted(once) == once
    assert all(once["spec"][field] == value for field, value in spec.items() if isinstance(value, str | bool) and value)
