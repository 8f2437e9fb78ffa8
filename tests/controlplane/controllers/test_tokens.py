"""Tokens kept in Secrets: of ServiceAccounts, and of nodes that join."""

import asyncio
import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kobune.api.clock import SystemClock
from kobune.api.jwt import read_claims, sign
from kobune.api.objects.core import ConfigMap, ObjectReference, Secret, ServiceAccount
from kobune.api.objects.meta import Key, ObjectMeta
from kobune.api.timestamps import format_time
from kobune.client.client import Client
from kobune.controlplane.apiserver.config import ApiServerConfig, ServiceAccountKeys
from kobune.controlplane.apiserver.request import MASTER
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.controllers.controller import Settings
from kobune.controlplane.controllers.tokens.legacy_token_cleaner import LAST_USED, TRACKING, is_unused, names_secret
from kobune.controlplane.controllers.tokens.service_account_tokens import TokenSecret
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.local import LocalTransport
from kobune.host.pki import new_signing_key
from kobune.testing import Cluster

TOKENS = "serviceaccount-token-controller"
BOOTSTRAP = "bootstrap-signer-controller,token-cleaner-controller"
TYPE = "kubernetes.io/service-account-token"


class FixedClock(SystemClock):
    """Real waits, at a moment of one's choice."""

    def __init__(self, moment):
        self.moment = moment

    def now(self):
        return self.moment


def secret(name="key", account="robot", **metadata):
    annotations = {"kubernetes.io/service-account.name": account}
    return {"metadata": {"name": name, "annotations": annotations, **metadata}, "type": TYPE}


@pytest.fixture
def settings():
    return Settings(root_ca=b"PEM", service_account_key=new_signing_key())


def test_a_secret_made_for_a_token_gets_it(tell, settings):
    async def story(world):
        account = await world.create("serviceaccounts", {"metadata": {"name": "robot"}})
        await world.create("secrets", secret())
        await world.sleep(2)
        return account, await world.get("secrets", "key")

    account, made = tell(story, TOKENS, settings=settings)
    data = {name: base64.b64decode(value) for name, value in made["data"].items()}
    assert data["namespace"] == b"default"
    assert data["ca.crt"] == b"PEM"
    assert made["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == account["metadata"]["uid"]
    assert read_claims(data["token"].decode()) == {
        "iss": "kubernetes/serviceaccount",
        "kubernetes.io/serviceaccount/namespace": "default",
        "kubernetes.io/serviceaccount/secret.name": "key",
        "kubernetes.io/serviceaccount/service-account.name": "robot",
        "kubernetes.io/serviceaccount/service-account.uid": account["metadata"]["uid"],
        "sub": "system:serviceaccount:default:robot",
    }


def test_a_token_goes_with_its_account(tell, settings):
    async def story(world):
        await world.create("serviceaccounts", {"metadata": {"name": "robot"}})
        await world.create("secrets", secret())
        await world.sleep(2)
        await world.delete("serviceaccounts", "robot")
        await world.sleep(2)
        return await world.find("secrets", "key")

    assert tell(story, TOKENS, settings=settings) is None


def test_a_deleted_token_is_no_longer_named_by_its_account(tell, settings):
    async def story(world):
        await world.create("serviceaccounts", {"metadata": {"name": "robot"}, "secrets": [{"name": "key"}]})
        await world.create("secrets", secret())
        await world.sleep(2)
        await world.delete("secrets", "key")
        await world.sleep(2)
        return await world.get("serviceaccounts", "robot")

    assert "secrets" not in tell(story, TOKENS, settings=settings)


async def test_the_api_server_takes_such_a_token_as_long_as_its_secret_lives():
    async with Cluster(nodes=0) as cluster:
        client = cluster.client

        async def who(token):
            review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
            answer = await client.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=orjson.dumps(review))
            return orjson.loads(answer)["status"]

        await client.create(Secret, secret(account="default", namespace="default"))
        key = Key("default", "key")
        async with asyncio.timeout(20):
            while not (token := (await client.get(Secret, key)).data.get("token")):
                await asyncio.sleep(0.05)
        token = base64.b64decode(token).decode()
        living, forged = await who(token), await who(token[:-4] + "AAAA")
        await client.delete(Secret, key)
        gone = await who(token)
    assert living["user"]["username"] == "system:serviceaccount:default:default"
    assert not forged.get("authenticated")
    assert not gone.get("authenticated")


@pytest.mark.parametrize(
    "spec, named",
    [
        pytest.param({"volumes": [{"name": "v", "secret": {"secretName": "key"}}]}, True, id="mounted"),
        pytest.param({"containers": [{"envFrom": [{"secretRef": {"name": "key"}}]}]}, True, id="variables"),
        pytest.param({"imagePullSecrets": [{"name": "key"}]}, True, id="pulls-images"),
        pytest.param({"volumes": [{"name": "key", "configMap": {"name": "key"}}]}, False, id="not-a-secret"),
    ],
)
def test_what_of_a_pod_names_a_secret(spec, named):
    assert names_secret(spec, "key") is named


NOW = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "days_old, labels, references, unused",
    [
        pytest.param(400, {}, ("key",), True, id="never-used"),
        pytest.param(400, {LAST_USED: "2024-12-01"}, ("key",), True, id="used-more-than-a-year-ago"),
        pytest.param(400, {LAST_USED: "2025-06-01"}, ("key",), False, id="used-this-year"),
        pytest.param(400, {LAST_USED: "yesterday"}, ("key",), False, id="nobody-knows-when"),
        pytest.param(300, {}, ("key",), False, id="young"),
        pytest.param(400, {}, ("other",), False, id="somebody-asked-for-it"),
    ],
)
def test_which_tokens_of_long_ago_are_unused(days_old, labels, references, unused):
    created = NOW - timedelta(days=days_old)
    kept = TokenSecret(metadata=ObjectMeta(name="key", labels=labels, creation_timestamp=created))
    account = ServiceAccount(secrets=[ObjectReference(name=name) for name in references])
    assert is_unused(kept, account, NOW) is unused


def bootstrap(name, expires=None, signing="true"):
    data = {"token-id": name, "token-secret": "s3cret", "usage-bootstrap-signing": signing}
    if expires:
        data["expiration"] = expires
    return {
        "metadata": {"name": f"bootstrap-token-{name}"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": data,
    }


def test_cluster_info_is_signed_by_every_token_that_may_until_it_expires(tell):
    async def story(world):
        if await world.find("namespaces", "kube-public", "") is None:
            await world.create("namespaces", {"metadata": {"name": "kube-public"}}, "")
        await world.create(
            "configmaps", {"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": "content"}}, "kube-public"
        )
        await world.create("secrets", bootstrap("aaaaaa"), "kube-system")
        soon = format_time(world.clock.now() + timedelta(minutes=5))
        await world.create("secrets", bootstrap("bbbbbb", soon), "kube-system")
        await world.create("secrets", bootstrap("cccccc", signing="false"), "kube-system")
        await world.sleep(2)
        before = (await world.get("configmaps", "cluster-info", "kube-public"))["data"]
        await world.sleep(310)
        after = (await world.get("configmaps", "cluster-info", "kube-public"))["data"]
        return before, after, await world.find("secrets", "bootstrap-token-bbbbbb", "kube-system")

    before, after, expired = tell(story, BOOTSTRAP, nodes=False)
    assert set(before) == {"kubeconfig", "jws-kubeconfig-aaaaaa", "jws-kubeconfig-bbbbbb"}
    assert set(after) == {"kubeconfig", "jws-kubeconfig-aaaaaa"}
    assert expired is None
    head, empty, tail = after["jws-kubeconfig-aaaaaa"].split(".")
    assert empty == ""
    assert orjson.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "HS256", "kid": "aaaaaa"}
    body = base64.urlsafe_b64encode(b"content").rstrip(b"=").decode()
    digest = hmac.new(b"s3cret", f"{head}.{body}".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(tail + "==") == digest


async def test_the_day_of_a_tokens_last_use_is_noted_and_a_token_marked_invalid_is_refused():
    clock = FixedClock(datetime(2026, 5, 6, 23, 0, tzinfo=UTC))
    key = load_pem_private_key(new_signing_key(), password=None)
    config = ApiServerConfig(service_account_keys=ServiceAccountKeys(key))
    async with ApiServer(config, MemoryStore(), clock=clock) as server:
        client = Client(LocalTransport(server, MASTER))
        account = await client.create(ServiceAccount, {"metadata": {"name": "robot", "namespace": "default"}})
        claims = {
            "iss": "kubernetes/serviceaccount",
            "kubernetes.io/serviceaccount/namespace": "default",
            "kubernetes.io/serviceaccount/secret.name": "key",
            "kubernetes.io/serviceaccount/service-account.name": "robot",
            "kubernetes.io/serviceaccount/service-account.uid": account.uid,
            "sub": "system:serviceaccount:default:robot",
        }
        token = sign(claims, key)
        data = {"token": base64.b64encode(token.encode()).decode()}
        kept = secret(namespace="default")
        await client.create(TokenSecret, {**kept, "data": data})
        where = Key("default", "key")
        found = [await server.service_account_tokens.authenticate(token)]
        first = await client.get(TokenSecret, where)
        clock.moment += timedelta(minutes=30)
        found.append(await server.service_account_tokens.authenticate(token))
        again = await client.get(TokenSecret, where)
        marked = {"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": "2026-05-06"}}}
        await client.patch(TokenSecret, where, marked)
        clock.moment += timedelta(days=2)
        refused = await server.service_account_tokens.authenticate(token)
        last = await client.get(TokenSecret, where)
        tracking = await client.get(ConfigMap, TRACKING)
    assert [user.name for user in found] == ["system:serviceaccount:default:robot"] * 2
    assert first.metadata.labels == {LAST_USED: "2026-05-06"}
    assert again.metadata.resource_version == first.metadata.resource_version  # Once a day is enough.
    assert refused is None
    assert last.metadata.labels[LAST_USED] == "2026-05-08"
    assert tracking.data == {"since": "2026-05-06"}
