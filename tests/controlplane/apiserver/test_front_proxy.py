"""Front proxies that ask for others, and whoever only claims to be one."""

from datetime import UTC, datetime

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kobune.api.errors import Unauthorized
from kobune.controlplane.apiserver.authentication.authenticator import Authenticator
from kobune.controlplane.apiserver.authentication.front_proxy import RequestHeaders
from kobune.controlplane.apiserver.request import Request, User
from kobune.controlplane.apiserver.wire import read_plain, request_of
from kobune.host.pki import Authority

NOW = datetime.now(UTC)
FRONT, CLIENTS, OTHERS = (Authority.create(name, NOW) for name in ("front", "clients", "others"))
HEADERS = (
    "X-Remote-User: jo\r\nX-Remote-Uid: 7\r\nX-Remote-Group: devs\r\nX-Remote-Group: a, b\r\n"
    "X-Remote-Extra-acme.com%2Fteam: x\r\n"
)  # fmt: skip


def certificate(authority, name):
    pem = authority.issue_client(name, ["proxies"], NOW).certificate
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def authenticator(**options):
    front, clients = FRONT.credential.certificate, CLIENTS.credential.certificate
    return Authenticator((), anonymous_health=False, request_headers=RequestHeaders(front, clients, **options))


def asked(shown, headers=HEADERS):
    plain = read_plain(f"GET /apis HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
    return request_of(plain, shown, None)


async def test_a_proxy_says_for_whom_it_asks():
    user = await authenticator().authenticate(asked(certificate(FRONT, "proxy")))
    assert user == User("jo", "7", ("devs", "a, b", "system:authenticated"), {"acme.com/team": ["x"]})


async def test_only_those_with_the_right_name_may():
    one = authenticator(allowed_names=("proxy",))
    assert (await one.authenticate(asked(certificate(FRONT, "proxy")))).name == "jo"
    with pytest.raises(Unauthorized):
        await one.authenticate(asked(certificate(FRONT, "else")))


async def test_a_proxys_certificate_is_no_clients():
    with pytest.raises(Unauthorized):
        await authenticator().authenticate(asked(certificate(FRONT, "admin"), ""))
    with pytest.raises(Unauthorized):
        await authenticator().authenticate(asked(certificate(OTHERS, "admin")))


async def test_what_a_client_says_in_these_headers_counts_for_nothing():
    user = await authenticator().authenticate(asked(certificate(CLIENTS, "bob")))
    assert (user.name, tuple(user.groups)) == ("bob", ("proxies", "system:authenticated"))


async def test_who_acts_for_several_groups_has_them_all(ask):
    """Each in a header of its own, whatever is in it."""
    lines = "Impersonate-User: jo\r\nImpersonate-Group: devs\r\nImpersonate-Group: a, b\r\n"
    body = b'{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}'
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    request: Request = request_of(read_plain(head.encode() + body), certificate(CLIENTS, "root"), None)
    ask.server.authenticator.by_certificate = lambda _: User("root", groups=("system:masters",))
    answer = await ask.server.handle(request)
    groups = orjson.loads(answer.body)["status"]["userInfo"]["groups"]
    assert groups == ["devs", "a, b", "system:authenticated"]
