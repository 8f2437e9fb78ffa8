"""Environment variables, and what pods can read about themselves."""

import base64

import msgspec
import pytest

from kobune.api.objects.core import ConfigMap, Secret, Service
from kobune.node.kubelet.config import Amounts
from kobune.node.kubelet.environment import (
    ConfigError,
    Data,
    environment_sources,
    expand,
    make_environment,
    service_environment,
)
from kobune.node.kubelet.fields import Place, UnknownField, field_value, resource_value
from kobune.node.kubelet.pod import ResourceFieldRef, pod_from_json

PLACE = Place(["10.244.0.7"], ["10.224.0.4"], "node-1", Amounts(cpu_millicores=1900, memory_bytes=4 << 30))
DATA = Data(
    {"settings": ConfigMap(data={"a": "1", "b": "2"}), "none": None},
    {"keys": Secret(data={"k": base64.b64encode(b"s3cret").decode()})},
)


def pod_of(**container):
    return pod_from_json(
        {
            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", **container}]},
        }
    )


def environment(**container):
    pod = pod_of(**container)
    return make_environment(pod, pod.spec.containers[0], DATA, {"SERVICE": "s", "A": "service"}, PLACE)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("plain", "plain"),
        ("$(A) and $(A)", "1 and 1"),
        ("$$(A)", "$(A)"),
        ("$(MISSING)", "$(MISSING)"),
        ("$A $", "$A $"),
        ("$$$(A)", "$1"),
    ],
)
def test_references_are_expanded(text, expected):
    assert expand(text, {"A": "1"}) == expected


def test_own_variables_go_before_those_of_whole_sources_and_services():
    env = environment(
        envFrom=[{"configMapRef": {"name": "settings"}, "prefix": "X_"}, {"secretRef": {"name": "keys"}}],
        env=[{"name": "A", "value": "own"}, {"name": "X_a", "value": "$(X_b)$(A)$(SERVICE)"}],
    )
    assert env == {"X_a": "2owns", "X_b": "2", "k": "s3cret", "A": "own", "SERVICE": "s"}


@pytest.mark.parametrize(
    "source, value",
    [
        ({"fieldRef": {"fieldPath": "metadata.name"}}, "web"),
        ({"fieldRef": {"fieldPath": "metadata.labels['app']"}}, "web"),
        ({"fieldRef": {"fieldPath": "status.podIP"}}, "10.244.0.7"),
        ({"fieldRef": {"fieldPath": "status.hostIPs"}}, "10.224.0.4"),
        ({"fieldRef": {"fieldPath": "spec.nodeName"}}, "node-1"),
        ({"configMapKeyRef": {"name": "settings", "key": "a"}}, "1"),
        ({"secretKeyRef": {"name": "keys", "key": "k"}}, "s3cret"),
        ({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}, "4096"),
    ],
)
def test_values_come_from_where_they_are_said_to_be(source, value):
    assert environment(env=[{"name": "V", "valueFrom": source}])["V"] == value


def test_an_optional_key_that_is_missing_leaves_no_variable():
    source = {"configMapKeyRef": {"name": "settings", "key": "z", "optional": True}}
    assert "V" not in environment(env=[{"name": "V", "valueFrom": source}])


@pytest.mark.parametrize(
    "source, words",
    [
        ({"configMapKeyRef": {"name": "none", "key": "a"}}, 'configmap "none" not found'),
        ({"configMapKeyRef": {"name": "settings", "key": "z"}}, "couldn't find key z in ConfigMap shop/settings"),
        ({"secretKeyRef": {"name": "other", "key": "a"}}, 'secret "other" not found'),
    ],
)
def test_a_missing_source_is_named(source, words):
    with pytest.raises(ConfigError, match=words):
        environment(env=[{"name": "V", "valueFrom": source}])


def test_only_what_is_named_is_fetched():
    pod = pod_of(
        envFrom=[{"secretRef": {"name": "keys"}}],
        env=[{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}],
    )
    assert environment_sources(pod.spec.containers) == ({"settings"}, {"keys"})


@pytest.mark.parametrize(
    "resources, reference, expected",
    [
        ({"limits": {"cpu": "250m"}}, {"resource": "limits.cpu"}, "1"),
        ({"limits": {"cpu": "250m"}}, {"resource": "limits.cpu", "divisor": "1m"}, "250"),
        ({"requests": {"memory": "100Mi"}}, {"resource": "requests.memory", "divisor": "1Mi"}, "100"),
        ({}, {"resource": "requests.cpu"}, "0"),
        ({}, {"resource": "limits.cpu"}, "2"),
    ],
)
def test_amounts_are_given_in_multiples_of_the_divisor(resources, reference, expected):
    pod = pod_of(resources=resources)
    wanted = msgspec.convert({"containerName": "main", **reference}, ResourceFieldRef, strict=False)
    assert resource_value(pod, wanted, PLACE) == expected


def test_an_unknown_field_is_refused():
    with pytest.raises(UnknownField):
        field_value(pod_of(), "spec.nothing", PLACE)


def service(namespace, name, address, *ports):
    return msgspec.convert(
        {"metadata": {"namespace": namespace, "name": name}, "spec": {"clusterIP": address, "ports": list(ports)}},
        Service,
    )


def test_services_show_as_variables():
    services = [
        service("shop", "my-db", "10.0.0.9", {"port": 5432, "name": "sql"}),
        service("default", "kubernetes", "10.0.0.1", {"port": 443}),
        service("shop", "headless", "None", {"port": 1}),
        service("other", "elsewhere", "10.0.0.2", {"port": 1}),
    ]
    env = service_environment(services, "shop", links=True)
    assert env["MY_DB_SERVICE_HOST"] == "10.0.0.9"
    assert env["MY_DB_SERVICE_PORT_SQL"] == "5432"
    assert env["MY_DB_PORT_5432_TCP_ADDR"] == "10.0.0.9"
    assert env["KUBERNETES_PORT"] == "tcp://10.0.0.1:443"
    assert not any(name.startswith(("HEADLESS", "ELSEWHERE")) for name in env)
    assert all(name.startswith("KUBERNETES") for name in service_environment(services, "shop", links=False))
