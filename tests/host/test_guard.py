"""A cluster with Entra integration believes the tenant's tokens and asks Azure's roles."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from kobune.aks.guard import SERVER_APPLICATION, Grant, Guard
from kobune.aks.roles import BUILT_IN
from kobune.api import jwt
from kobune.api.clock import SystemClock
from kobune.client.client import Client
from kobune.controlplane.apiserver.config import ApiServerConfig
from kobune.controlplane.apiserver.request import MASTER, Request
from kobune.controlplane.apiserver.server import ApiServer
from kobune.controlplane.store.memory import MemoryStore
from kobune.host.guard import BINDING, BINDINGS, EntraGuard, _bind, write_guard
from kobune.host.local import LocalTransport

TENANT, ADA, TEAM = "11111111-1111-1111-1111-111111111111", "aaaaaaaa-1111-1111-1111-111111111111", "team-id"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ROLES = {role.name: role for role in BUILT_IN}


def token(key=KEY, **more):
    now = int(time.time())
    claims = {"tid": TENANT, "aud": SERVER_APPLICATION, "oid": ADA, "nbf": now - 60, "exp": now + 600}
    return jwt.sign(claims | more, key)


def known(**more):
    return Guard(TENANT, jwt.jwks([KEY.public_key()]), **more)


def grant(role, principal=ADA, namespace=""):
    found = ROLES[f"Azure Kubernetes Service RBAC {role}"]
    return Grant(principal, namespace, tuple(found.data_actions), tuple(found.not_data_actions))


@pytest.fixture
async def cluster(tmp_path):
    """An API server with a guard, and a way to ask it with a token."""
    path = tmp_path / "guard.json"
    guard = EntraGuard(path, SystemClock())
    config = ApiServerConfig(token_authenticators=(guard.authenticate,), authorizers=(guard,))
    async with ApiServer(config, MemoryStore(), clock=SystemClock()) as server:

        async def ask(bearer, method, target, body=b""):
            headers = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
            answer = await server.handle(Request(method, target, {}, headers=headers, body=body))
            return answer.status

        yield server, path, ask


async def test_without_integration_no_token_of_the_tenant_is_good(cluster):
    _, _, ask = cluster
    assert await ask(token(), "GET", "/api/v1/namespaces") == 401


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"tid": "other"}, id="tenant"),
        pytest.param({"aud": "https://management.azure.com"}, id="audience"),
        pytest.param({"exp": 1}, id="expired"),
        pytest.param({"nbf": time.time() + 3600}, id="not-yet"),
        pytest.param({"oid": ""}, id="nobody"),
        pytest.param({"key": OTHER}, id="foreign-key"),
    ],
)
async def test_tokens_that_are_not_for_clusters_of_the_tenant_are_refused(tmp_path, more, caplog):
    guard = EntraGuard(tmp_path / "guard.json", SystemClock())
    write_guard(tmp_path / "guard.json", known())
    with caplog.at_level("INFO", "kobune.host.guard"):
        assert await guard.authenticate(token(**more)) is None
    assert caplog.records[0].message == "token refused"
    assert await guard.authenticate("no.token.atall") is None


async def test_people_are_named_by_their_principal_name_and_others_by_object_id(tmp_path):
    guard = EntraGuard(tmp_path / "guard.json", SystemClock())
    write_guard(tmp_path / "guard.json", known())
    machine = await guard.authenticate(token(groups=[TEAM]))
    assert (machine.name, machine.groups, machine.extra["oid"]) == (ADA, (TEAM,), (ADA,))
    assert (await guard.authenticate(token(upn="ada@kobune.local"))).name == "ada@kobune.local"


async def test_members_of_the_administrators_groups_are_administrators(cluster):
    server, path, ask = cluster
    write_guard(path, known(admin_groups=(TEAM,)))
    client = Client(LocalTransport(server, MASTER))
    await _bind(known(admin_groups=(TEAM,)), client)
    assert await ask(token(groups=[TEAM]), "GET", "/api/v1/secrets") == 200
    assert await ask(token(), "GET", "/api/v1/secrets") == 403
    await _bind(known(admin_groups=("other",)), client)
    assert await ask(token(groups=[TEAM]), "GET", "/api/v1/secrets") == 403
    assert b"other" in await client.call("GET", f"{BINDINGS}/{BINDING}")


async def test_azures_roles_allow_what_the_clusters_own_do_not(cluster):
    _, path, ask = cluster
    namespace = b'{"metadata": {"name": "team"}}'
    write_guard(path, known(decides=True))
    assert await ask(token(), "GET", "/api/v1/namespaces/team/pods") == 403
    write_guard(path, known(decides=True, grants=(grant("Cluster Admin"),)))
    assert await ask(token(), "POST", "/api/v1/namespaces", namespace) == 201
    write_guard(path, known(decides=True, grants=(grant("Reader", namespace="team"),)))
    assert await ask(token(), "GET", "/api/v1/namespaces/team/pods") == 200
    assert await ask(token(), "GET", "/api/v1/namespaces/default/pods") == 403
    assert await ask(token(), "GET", "/api/v1/namespaces/team/secrets") == 403
    write_guard(path, known(decides=True, grants=(grant("Writer", principal=TEAM),)))
    assert await ask(token(groups=[TEAM]), "GET", "/api/v1/namespaces/team/secrets") == 200
    assert await ask(token(), "GET", "/api/v1/namespaces/team/secrets") == 403
    write_guard(path, known(decides=False, grants=(grant("Cluster Admin"),)))
    assert await ask(token(), "GET", "/api/v1/pods") == 403
