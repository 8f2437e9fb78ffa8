"""The endpoint over HTTP: signing in, and what is refused before any operation is reached."""

import base64
import io
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from kobune.aks.arm.server import ArmServer
from kobune.aks.arm.sign_in import SignIn
from kobune.aks.arm.tokens import Issuer, Principal, new_key_pem

SCOPE = "https://management.core.windows.net//.default"


@pytest.fixture
async def client(arm) -> AsyncIterator[TestClient]:
    async with TestClient(TestServer(ArmServer(arm.service).application())) as client:
        yield client


async def token_of(client: TestClient, arm, path: str = "", **changes: str):
    principal = arm.service.sign_in.principal
    form = {
        "grant_type": "client_credentials",
        "client_id": principal.client_id,
        "client_secret": "secret",
        "scope": SCOPE,
    }
    return await client.post(path or f"/{principal.tenant}/oauth2/v2.0/token", data=form | changes)


async def bearer(client: TestClient, arm) -> dict[str, str]:
    return {"Authorization": f"Bearer {(await (await token_of(client, arm)).json())['access_token']}"}


async def test_metadata_has_the_shape_of_its_api_version(client):
    newer = await (await client.get("/metadata/endpoints?api-version=2022-09-01")).json()
    older = await (await client.get("/metadata/endpoints?api-version=2019-05-01")).json()
    assert newer["resourceManager"].endswith("/")
    assert newer["authentication"]["loginEndpoint"].endswith("/adfs")
    assert [cloud["name"] for cloud in older] == [newer["name"]]


@pytest.mark.parametrize("path", ["/adfs/oauth2/token", "/adfs/{tenant}/oauth2/v2.0/token"])
async def test_tokens_are_given_wherever_clients_look(client, arm, path):
    answer = await token_of(client, arm, path.format(tenant=arm.service.sign_in.tenant))
    body = await answer.json()
    assert answer.status == 200
    claims = json.loads(base64.urlsafe_b64decode(body["access_token"].split(".")[1] + "=="))
    assert claims["aud"] == "https://management.core.windows.net/"
    assert {"tid", "oid", "appid"} <= set(claims)
    assert isinstance(body["expires_in"], int)


async def test_the_openid_configuration_leads_to_the_token_endpoint(client, arm):
    for path in (f"/{arm.service.sign_in.tenant}/v2.0", "/organizations/v2.0", "/adfs"):
        found = await (await client.get(f"{path}/.well-known/openid-configuration")).json()
        assert found["token_endpoint"].endswith("/token")
        assert found["device_authorization_endpoint"]


@pytest.mark.parametrize(
    "changes, status, error, number",
    [
        pytest.param({"client_secret": "wrong"}, 401, "invalid_client", 7000215, id="secret"),
        pytest.param({"client_id": "other"}, 400, "unauthorized_client", 700016, id="client"),
        pytest.param({"grant_type": "password"}, 400, "unsupported_grant_type", 70003, id="grant"),
    ],
)
async def test_wrong_credentials_are_refused_in_entras_words(client, arm, changes, status, error, number):
    answer = await token_of(client, arm, **changes)
    body = await answer.json()
    assert (answer.status, body["error"], body["error_codes"]) == (status, error, [number])
    assert body["error_description"].startswith(f"AADSTS{number}: ")


async def test_a_device_code_and_its_refresh_token_are_exchanged(client, arm):
    code = await (await client.post("/adfs/oauth2/devicecode", data={"client_id": "az", "scope": SCOPE})).json()
    grant = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": code["device_code"],
        "client_id": "az",
    }
    first = await (await client.post("/adfs/oauth2/token", data=grant | {"scope": SCOPE})).json()
    assert first["id_token"].count(".") == 2
    again = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"], "client_id": "az", "scope": SCOPE}
    assert (await (await client.post("/adfs/oauth2/token", data=again)).json())["access_token"]
    assert (await client.post("/adfs/oauth2/token", data=grant)).status == 400


async def test_without_a_token_arm_names_the_authority(client):
    answer = await client.get("/subscriptions?api-version=2022-12-01")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith('Bearer authorization_uri="https://')
    assert (await answer.json())["error"]["code"] == "AuthenticationFailed"


@pytest.mark.parametrize(
    "change, code",
    [
        pytest.param(
            {"tenant": "99999999-9999-9999-9999-999999999999"}, "InvalidAuthenticationTokenTenant", id="tenant"
        ),
        pytest.param({"audience": "https://vault.azure.net"}, "InvalidAuthenticationTokenAudience", id="audience"),
        pytest.param({"age": 7200}, "ExpiredAuthenticationToken", id="expired"),
        pytest.param({"key": True}, "InvalidAuthenticationToken", id="foreign-key"),
    ],
)
async def test_tokens_that_are_not_for_here_are_refused(client, arm, change, code):
    sign_in, now = arm.service.sign_in, arm.service.clock.now().timestamp()
    principal = Principal("app", "secret", "object", change.get("tenant", sign_in.tenant))
    issuer = Issuer(new_key_pem()) if "key" in change else sign_in.issuer
    form = {"client_id": "app", "client_secret": "secret", "grant_type": "client_credentials"}
    form["scope"] = f"{change.get('audience', 'https://management.azure.com')}/.default"
    token = SignIn(issuer, principal, arm.service.sign_in.directory).token(
        form, base="https://x", now=now - change.get("age", 0), new_id="1"
    )
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    answer = await client.get("/subscriptions?api-version=2022-12-01", headers=headers)
    assert (answer.status, (await answer.json())["error"]["code"]) == (401, code)


@pytest.mark.parametrize(
    "method, path, status, code",
    [
        pytest.param("GET", "/subscriptions", 400, "MissingApiVersionParameter", id="no-version"),
        pytest.param("GET", "/subscriptions?api-version=latest", 400, "InvalidApiVersionParameter", id="bad-version"),
        pytest.param("GET", "/subscriptions/aaaa/resourceGroups?api-version=2024-11-01", 404, "SubscriptionNotFound", id="subscription"),
        pytest.param("GET", "/nonsense?api-version=2024-11-01", 404, "InvalidResourceType", id="path"),
        pytest.param("DELETE", "/tenants?api-version=2024-11-01", 405, "MethodNotAllowed", id="method"),
    ],
)  # fmt: skip
async def test_requests_that_fit_nothing_are_refused(client, arm, method, path, status, code):
    answer = await client.request(method, path, headers=await bearer(client, arm))
    assert (answer.status, (await answer.json())["error"]["code"]) == (status, code)


async def test_paths_are_matched_whatever_their_casing(client, arm):
    headers = await bearer(client, arm)
    path = f"/SUBSCRIPTIONS/{arm.service.subscription}/RESOURCEGROUPS/Rg1?api-version=2024-11-01"
    assert (await client.put(path, json={"location": "westeurope"}, headers=headers)).status == 201
    shown = await (await client.get(path.lower(), headers=headers)).json()
    assert shown["name"] == "Rg1"


async def test_bodies_beyond_the_limit_and_no_json_are_refused(client, arm):
    headers = await bearer(client, arm)
    path = f"/subscriptions/{arm.service.subscription}/resourcegroups/rg1?api-version=2024-11-01"
    assert (await client.put(path, data=io.BytesIO(b" " * (5 * 1024 * 1024)), headers=headers)).status == 413
    answer = await client.put(path, data=b"{", headers=headers)
    assert (answer.status, (await answer.json())["error"]["code"]) == (400, "InvalidRequestContent")


async def test_answers_carry_request_ids(client, arm):
    headers = await bearer(client, arm) | {"x-ms-client-request-id": "mine"}
    answer = await client.get("/subscriptions?api-version=2022-12-01", headers=headers)
    assert answer.headers["x-ms-client-request-id"] == "mine"
    assert answer.headers["x-ms-request-id"]


async def test_a_process_of_the_machine_gets_a_token_by_its_header(client, arm):
    path = "/msi/token?api-version=2019-08-01&resource=https://management.azure.com/"
    assert (await client.get(path)).status == 401
    answer = await client.get(path, headers={"X-IDENTITY-HEADER": "secret"})
    assert (await answer.json())["token_type"] == "Bearer"
