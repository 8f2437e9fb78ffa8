"""Image references, pull messages and registry logins."""

import base64

import orjson
import pytest

from kobune.api.objects.core import Secret
from kobune.node.kubelet.images import _REFERENCE, duration, registry_of
from kobune.node.kubelet.sources import parse_logins

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "reference",
    [
        "busybox",
        "busybox:1.36",
        "library/busybox",
        "kobune.local/busybox",
        "localhost/x",
        "localhost:5000/x/y:z",
        "registry:5000/x",
        f"a.b/c@{DIGEST}",
        f"a.b/c:tag@{DIGEST}",
        "a__b/c-d.e",
    ],
)
def test_references_are_recognized(reference):
    assert _REFERENCE.fullmatch(reference)


@pytest.mark.parametrize(
    "reference", ["", "UPPER/x", "Busybox", "a//b", "a:", "a:b:c", "x/y@sha256:1", "-a", "a b", "/a"]
)
def test_what_is_no_reference_is_refused(reference):
    assert not _REFERENCE.fullmatch(reference)


@pytest.mark.parametrize(
    "reference, registry",
    [
        ("busybox", "docker.io"),
        ("a/b", "docker.io"),
        ("a.b/c", "a.b"),
        ("x:5000/c", "x:5000"),
        ("localhost/c", "localhost"),
    ],
)
def test_the_registry_of_a_reference(reference, registry):
    assert registry_of(reference) == registry


@pytest.mark.parametrize(
    "seconds, words",
    [(0.0001, "0s"), (0.31, "310ms"), (1.204, "1.204s"), (2.5, "2.5s"), (123.5, "2m3.5s"), (3723, "1h2m3s")],
)
def test_durations_are_spoken_as_go_does(seconds, words):
    assert duration(seconds) == words


def secret_of(key, document):
    return Secret(data={key: base64.b64encode(orjson.dumps(document)).decode()})


def test_logins_are_read_from_both_forms_of_secrets():
    auth = base64.b64encode(b"user:pass:word").decode()
    expected = {"a.b": {"username": "user", "password": "pass:word"}}
    assert parse_logins(secret_of(".dockerconfigjson", {"auths": {"https://a.b/v1/": {"auth": auth}}})) == expected
    plain = {"a.b": {"username": "user", "password": "pass:word"}}
    assert parse_logins(secret_of(".dockercfg", plain)) == expected
    assert parse_logins(Secret(data={".dockercfg": "bm8="})) == {}
