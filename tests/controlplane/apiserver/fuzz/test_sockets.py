"""Bodies that are too much, and clients that take their time or leave half-way: answered or cut off, never harmful."""

import socket
import time

import orjson
import pytest

from tests.controlplane.apiserver.fuzz.conftest import ENOUGH_SECONDS, TOKEN, judge

MAPS = "/api/v1/namespaces/default/configmaps"
LAUGHS = b"a: &a [lol]\n" + b"".join(
    b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1)] * 9)) for name in b"bcdefghij"
)
BODIES = {
    "deep arrays": b'{"data":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep objects": b'{"data":' * 100_000 + b"1" + b"}" * 100_000,
    "deep but well formed": b'{"metadata":{"name":"deep"},"data":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
    "a huge integer": b'{"metadata":{"generation":' + b"9" * 100_000 + b"}}",
    "a huge exponent": b'{"metadata":{"generation":1e400}}',
    "invalid UTF-8": b'{"metadata":{"name":"\xff\xfe"}}',
    "half a surrogate": b'{"metadata":{"name":"a\\ud800"}}',
    "a zero byte": b'{"metadata":{"name":"a\\u0000b"}}',
    "many keys": b'{"metadata":{"name":"a"},"data":{' + b",".join(b'"k%d":1' % n for n in range(100_000)) + b"}}",
    "a key a hundred thousand times": b'{"metadata":{"name":"a"},' + b",".join([b'"data":1'] * 100_000) + b"}",
}
TYPES = (
    "application/json", "application/yaml", "application/merge-patch+json", "application/strategic-merge-patch+json",
    "application/json-patch+json", "application/apply-patch+yaml",
)  # fmt: skip


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_too_much_is_refused_in_time(target, body):
    status, _ = target.ask("POST", MAPS, body)
    assert status in (400, 413, 422)


@pytest.mark.parametrize("media_type", TYPES[2:])
@pytest.mark.parametrize(
    "body", [BODIES["deep arrays"], BODIES["a huge integer"], BODIES["invalid UTF-8"]], ids=range(3)
)
def test_no_kind_of_patch_takes_it(target, body, media_type):
    status, _ = target.ask("PATCH", f"{MAPS}/a?fieldManager=f", body, media_type)
    assert status in (400, 404, 413, 422)


@pytest.mark.parametrize("media_type", ["application/yaml", "application/apply-patch+yaml"])
def test_aliases_of_aliases_are_not_laughed_at(target, media_type):
    method, path = ("POST", MAPS) if media_type.endswith("/yaml") else ("PATCH", f"{MAPS}/a?fieldManager=f")
    status, content = target.ask(method, path, LAUGHS, media_type)
    assert status == 400, content


def test_a_key_given_twice_is_warned_of_or_refused(target):
    twice = b'{"metadata":{"name":"twice"},"data":{"a":"1","a":"2"}}'
    status, content = target.ask("POST", f"{MAPS}?fieldValidation=Strict", twice)
    assert (status, b'duplicate field \\"data.a\\"' in content) == (400, True)
    status, content = target.ask("POST", MAPS, twice)
    assert (status, orjson.loads(content)["data"]) == (201, {"a": "2"})


def connected(target):
    return socket.create_connection((target.host, target.port), timeout=ENOUGH_SECONDS)


def head(method, path, length, more=""):
    return (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{more}Content-Length: {length}\r\n\r\n"
    ).encode()


def test_slow_clients_hold_up_nobody(target):
    """Two hundred that have sent half a request each, and one that is answered at once."""
    slow = [connected(target) for _ in range(200)]
    for number, one in enumerate(slow):
        one.sendall(head("POST", MAPS, 100)[: 40 + number] if number % 2 else head("POST", MAPS, 100) + b"{")
    status, _ = target.ask("GET", f"{MAPS}?limit=1")
    assert status == 200
    for one in slow:
        one.close()
    assert target.ask("GET", f"{MAPS}?limit=1")[0] == 200


def test_a_watch_whose_client_says_it_has_finished_ends(target):
    with connected(target) as client:
        client.sendall(head("GET", f"{MAPS}?watch=1", 0))
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass  # What was under way; then the end, within the socket's patience.


def test_watches_that_are_cut_leave_nothing_behind(target):
    kind = target.server.catalogue.find("", "v1", "configmaps")
    for _ in range(50):
        with connected(target) as client:
            client.sendall(head("GET", f"{MAPS}?watch=1", 0))
            assert client.recv(12) == b"HTTP/1.1 200"
    cache, until = target.server.registry.open_cache(kind), time.monotonic() + ENOUGH_SECONDS
    while cache.watchers and time.monotonic() < until:
        time.sleep(0.01)
    assert not cache.watchers


@pytest.mark.parametrize("more", ["Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n", "Content-Length: -1\r\n"])
def test_heads_that_contradict_themselves_are_refused_or_cut_off(target, more):
    with connected(target) as client:
        client.sendall(head("POST", MAPS, 3, more) + b"abc\r\n0\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(65536):
            answer += part
    assert b"201" not in answer.partition(b"\r\n")[0]
    if answer:
        assert int(answer.split()[1]) < 500
    judge(*target.ask("GET", f"{MAPS}?limit=1"))
