"""Objects in Kubernetes' protobuf encoding. The messages were written down byte by byte from the published field numbers."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kobune.api.catalogue import KINDS
from kobune.api.errors import ApiError, BadRequest, UnsupportedMediaType
from kobune.api.protobuf import MAGIC, _table, decode, message_name
from kobune.api.schema import load_schemas


def field(number, content):
    """One field: a number as varint, everything else with its length."""
    if isinstance(content, bool | int):
        return varint(number << 3) + varint(int(content) & (1 << 64) - 1)
    data = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value):
    parts = []
    while True:
        value, low = value >> 7, value & 0x7F
        parts.append(low | (0x80 if value else 0))
        if not value:
            return bytes(parts)


def message(*fields):
    return b"".join(field(number, content) for number, content in fields)


def enveloped(api_version, kind, *fields):
    return MAGIC + message((1, message((1, api_version), (2, kind))), (2, message(*fields)), (3, ""), (4, ""))


META = message((1, "web"), (2, ""), (3, "default"), (8, b""), (11, message((1, "app"), (2, "web"))))


def test_what_go_writes_for_empty_is_left_out():
    body = enveloped("v1", "ConfigMap", (1, META), (2, message((1, "colour"), (2, "blue"))))
    assert decode(body) == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "data": {"colour": "blue"},
    }


def test_an_optional_zero_stays():
    spec = message((1, 0), (5, 0), (7, False))
    assert decode(enveloped("apps/v1", "Deployment", (1, META), (2, spec)))["spec"] == {"replicas": 0}
    none = message((1, 0), (2, 0), (3, ""))  # IntOrString's form of it.
    budget = decode(enveloped("policy/v1", "PodDisruptionBudget", (1, META), (2, message((3, none)))))
    assert budget["spec"] == {"maxUnavailable": 0}
    strategy = message((1, "RollingUpdate"), (2, message((1, none), (2, message((1, 1), (3, "20%"))))))
    found = decode(enveloped("apps/v1", "DaemonSet", (1, META), (2, message((3, strategy)))))
    assert found["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": "20%"}


def test_inlined_messages_stand_in_the_outer_object():
    volume = message((1, "settings"), (2, message((19, message((1, message((1, "settings"))), (4, True))))))
    found = decode(enveloped("v1", "Pod", (2, message((1, volume)))))
    assert found["spec"]["volumes"] == [{"name": "settings", "configMap": {"name": "settings", "optional": True}}]


def test_quantities_times_and_int_or_string_take_their_json_form():
    port = message((1, "http"), (2, "TCP"), (3, 80), (4, message((1, 1), (2, 0), (3, "web"))))
    assert decode(enveloped("v1", "Service", (2, message((1, port)))))["spec"]["ports"][0] == {
        "name": "http", "protocol": "TCP", "port": 80, "targetPort": "web",
    }  # fmt: skip
    limits = message((1, message((1, "cpu"), (2, message((1, "100m"))))))
    container = message((1, "main"), (8, limits))
    found = decode(
        enveloped("v1", "Pod", (1, message((8, message((1, 1767225600), (2, 0))))), (2, message((2, container))))
    )
    assert found["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"
    assert found["spec"]["containers"] == [{"name": "main", "resources": {"limits": {"cpu": "100m"}}}]


def test_bytes_are_base64_and_negative_numbers_keep_their_sign():
    assert decode(enveloped("v1", "Secret", (2, message((1, "key"), (2, b"\x00\xff")))))["data"] == {"key": "AP8="}
    weight = enveloped("scheduling.k8s.io/v1", "PriorityClass", (2, -7))
    assert decode(weight)["value"] == -7


def test_unknown_fields_are_passed_over():
    assert decode(enveloped("v1", "ConfigMap", (99, "later"), (98, 5))) == {"kind": "ConfigMap", "apiVersion": "v1"}


@pytest.mark.parametrize("body, refused", [
    pytest.param(b"{}", BadRequest, id="no-envelope"),
    pytest.param(MAGIC + b"\x0a\xff", BadRequest, id="cut-off"),
    pytest.param(enveloped("v1", "Nothing"), UnsupportedMediaType, id="unknown-kind"),
    pytest.param(MAGIC + field(2, b"\x0b") + field(1, message((1, "v1"), (2, "Pod"))), BadRequest, id="bad-wire-type"),
])  # fmt: skip
def test_bad_bodies_are_refused(body, refused):
    with pytest.raises(refused):
        decode(body)


@given(st.binary(max_size=200))
def test_no_bytes_do_harm(content):
    with contextlib.suppress(ApiError):
        decode(MAGIC + field(1, message((1, "v1"), (2, "Pod"))) + field(2, content))


def test_every_field_of_the_table_is_in_the_schema_of_some_version():
    """Names are those of the JSON form: a message that a kind's schema leads to has only fields that the schema has."""
    wrong = []
    schemas = [load_schemas(version) for version in ("1.34", "1.36")]
    for kind in KINDS:
        row = _table().get(message_name(kind.api_version, kind.name))
        if row is None:
            continue
        known = {"apiVersion", "kind"}
        for one in schemas:
            try:
                known |= set(one.of(kind.group, kind.version, kind.name).properties)
            except KeyError:
                continue
        if known == {"apiVersion", "kind"}:
            continue
        wrong += [
            f"{kind.name}.{name}" for text in row.values() if (name := text.partition(":")[0]) and name not in known
        ]
    assert wrong == []


def test_schemas_of_custom_resources_are_read():
    """Where a schema may stand beside something else, each form is read as what it was."""
    string = message((5, "string"))
    schema = message(
        (5, "object"),
        (8, message((1, b'{"size":1}'))),
        (23, "size"),
        (29, message((1, "list"), (2, message((5, "array"), (24, message((1, string))))))),
        (29, message((1, "open"), (2, message((5, "object"), (30, message((1, True))))))),
        (29, message((1, "closed"), (2, message((5, "object"), (30, message((1, False))))))),
        (29, message((1, "map"), (2, message((5, "object"), (30, message((1, True), (2, string))))))),
        (29, message((1, "size"), (2, message((11, bytes(8)), (20, message((1, b"1"))), (38, True))))),
        (32, message((1, "size"), (2, message((2, "list"), (2, "map"))))),
    )
    version = message((1, "v1"), (2, True), (3, True), (4, message((1, schema))), (5, message((1, b""))))
    spec = message((1, "example.com"), (4, "Namespaced"), (7, version))
    body = enveloped("apiextensions.k8s.io/v1", "CustomResourceDefinition", (1, META), (2, spec))
    found = decode(body)["spec"]["versions"][0]
    assert found["subresources"] == {"status": {}}
    assert found["schema"]["openAPIV3Schema"] == {
        "type": "object",
        "default": {"size": 1},
        "required": ["size"],
        "properties": {
            "list": {"type": "array", "items": {"type": "string"}},
            "open": {"type": "object", "additionalProperties": True},
            "closed": {"type": "object", "additionalProperties": False},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "size": {"minimum": 0.0, "enum": [1], "x-kubernetes-preserve-unknown-fields": True},
        },
        "dependencies": {"size": ["list", "map"]},
    }


def test_every_kind_of_the_newest_version_known_in_this_encoding_is_read():
    """Go clients send all of them so."""
    missing = [
        f"{kind.api_version} {kind.name}"
        for kind in KINDS
        if (kind.since or "1.0") < "1.37"
        and not kind.until
        and message_name(kind.api_version, kind.name) not in _table()
    ]
    assert missing == []
