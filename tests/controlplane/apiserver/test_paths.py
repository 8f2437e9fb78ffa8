"""Health, version, discovery and the issuer's keys."""

from kobune.controlplane.apiserver.request import User


async def test_health_is_ok_for_everybody(ask):
    ask.user = None
    for path in ("/healthz", "/livez", "/readyz", "/readyz/ping"):
        response = await ask.raw("GET", path)
        assert (response.status, response.body) == (200, b"ok")


async def test_verbose_health_names_each_check(ask):
    response = await ask.raw("GET", "/readyz?verbose")
    assert response.body.startswith(b"[+]ping ok\n")
    assert response.body.endswith(b"readyz check passed\n")


async def test_an_unauthenticated_request_for_anything_else_is_401(ask):
    ask.user = None
    assert (await ask("GET", "/api/v1/pods", status=401))["reason"] == "Unauthorized"
    assert (await ask("GET", "/apis", status=401))["reason"] == "Unauthorized"


async def test_the_version_is_upstreams_form(ask):
    answer = await ask("GET", "/version")
    assert (answer["major"], answer["minor"]) == ("1", "36")
    assert answer["gitVersion"].startswith("v1.36.")


async def test_discovery_in_both_forms(ask):
    groups = await ask("GET", "/apis")
    assert "apps" in [group["name"] for group in groups["groups"]]
    assert (await ask("GET", "/apis/apps/v1"))["groupVersion"] == "apps/v1"
    assert (await ask("GET", "/api/v1"))["resources"]
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    response = await ask.raw("GET", "/apis", accept=accept)
    assert "as=APIGroupDiscoveryList" in response.content_type
    again = await ask.raw("GET", "/apis", **{"accept": accept, "if-none-match": response.headers["ETag"]})
    assert again.status == 304


async def test_the_issuers_keys_are_published(ask):
    configuration = await ask("GET", "/.well-known/openid-configuration")
    assert configuration["id_token_signing_alg_values_supported"] == ["ES256"]
    assert (await ask("GET", "/openid/v1/jwks"))["keys"][0]["kty"] == "EC"


async def test_metrics_count(ask):
    response = await ask.raw("GET", "/metrics")
    assert b'apiserver_resource_objects{group="",resource="namespaces"} 4' in response.body
    assert isinstance(ask.user, User)
