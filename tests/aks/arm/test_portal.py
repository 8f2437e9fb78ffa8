"""The portal shows what there is, to those who may see it, and nothing on it runs."""

import base64
from html.parser import HTMLParser

import pytest
from aiohttp.test_utils import TestClient, TestServer

from kobune.aks.arm.directory import HASH, SERVICE_PRINCIPALS, secret_hash
from kobune.aks.arm.errors import ArmError
from kobune.aks.arm.portal import check_visitor, render
from kobune.aks.arm.server import ArmServer


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


class Reader(HTMLParser):
    """The page's text and tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes = "", set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_groups_clusters_pools_sums_and_operations_are_on_the_page(arm):
    arm.created("c1", arm.pool("system1"), arm.pool("users", mode="User", count=3))
    page = Reader(render(arm.service))
    for shown in ("rg1", "MC_rg1_c1_westeurope", "c1", "system1", "users", "1.36.1", "Succeeded", "Creating", "Free",
                  "az aks get-credentials -g rg1 -n c1", "kube-reserved: first core", "kobune reservations"):  # fmt: skip
        assert shown in page.text, shown


def test_an_empty_service_says_how_to_begin(arm):
    assert "az group create" in Reader(render(arm.service)).text


def test_what_users_wrote_is_shown_and_never_run(arm):
    arm.created()
    cluster = arm.service.find_group("rg1")
    cluster.document["location"] = "<script>alert(1)</script>'\""
    arm.service.save(cluster)
    page = Reader(render(arm.service))
    assert "<script>alert(1)</script>'\"" in page.text
    assert not page.tags & {"script", "img", "iframe", "form", "link"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_browsers_of_this_machine_need_no_secret(arm):
    for remote, host in (("127.0.0.1", "localhost:8443"), ("::1", "[::1]:8443")):
        check_visitor(arm.service, authorization="", host=host, remote=remote, base="https://x")


@pytest.mark.parametrize(
    "remote, host",
    [
        pytest.param("192.0.2.7", "localhost:8443", id="another-machine"),
        pytest.param("127.0.0.1", "evil.example:8443", id="a-name-that-was-rebound"),
        pytest.param("", "localhost", id="unknown"),
    ],
)
def test_others_are_asked_for_one(arm, remote, host):
    with pytest.raises(ArmError) as refused:
        check_visitor(arm.service, authorization="", host=host, remote=remote, base="https://x")
    assert refused.value.status == 401
    assert refused.value.headers["WWW-Authenticate"].startswith("Basic")


async def test_applications_sign_in_with_their_secret_or_a_token(arm):
    principal = arm.service.sign_in.principal
    async with TestClient(TestServer(ArmServer(arm.service).application())) as client:
        path, other = "/portal", {"Host": "kobune.example"}
        assert (await client.get(path, headers=other)).status == 401
        assert (
            await client.get(path, headers=other | {"Authorization": basic(principal.client_id, "wrong")})
        ).status == 401
        answer = await client.get(path, headers=other | {"Authorization": basic(principal.client_id, "secret")})
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        form = {"grant_type": "client_credentials", "client_id": principal.client_id, "client_secret": "secret"}
        token = (await (await client.post("/adfs/oauth2/token", data=form)).json())["access_token"]
        assert (await client.get(path, headers=other | {"Authorization": f"Bearer {token}"})).status == 200
        assert (await client.get(path, headers=other | {"Authorization": "Bearer x"})).status == 401


def test_who_may_not_read_the_subscription_sees_nothing(arm):
    directory, new_id = arm.service.sign_in.directory, arm.service.new_id
    directory.put(
        SERVICE_PRINCIPALS, {"id": new_id(), "appId": "ci", "passwordCredentials": [{HASH: secret_hash("s")}]}
    )
    encoded = basic("ci", "s")
    with pytest.raises(ArmError) as refused:
        check_visitor(arm.service, authorization=encoded, host="localhost", remote="127.0.0.1", base="https://x")
    assert refused.value.status == 403
