"""Tokens that somebody else issues: OpenID Connect."""

import time

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kobune.api import jwt
from kobune.api.clock import SystemClock
from kobune.api.errors import Unauthorized
from kobune.controlplane.apiserver.authentication.authenticator import Authenticator
from kobune.controlplane.apiserver.authentication.issuers import anonymous_paths, flag_issuer, issuers_of
from kobune.controlplane.apiserver.authentication.oidc import Oidc
from kobune.controlplane.apiserver.request import Request

URL = "https://issuer.example.com"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = ec.generate_private_key(ec.SECP256R1())


class Web:
    """The issuer's documents."""

    def __init__(self, *keys):
        self.keys = list(keys)
        self.asked = []
        self.down = False

    async def fetch(self, url, authority):
        self.asked.append(url)
        if self.down:
            raise OSError("no route to host")
        if url.endswith("/.well-known/openid-configuration"):
            return orjson.dumps({"issuer": URL, "jwks_uri": f"{URL}/keys"})
        assert url == f"{URL}/keys"
        return orjson.dumps(jwt.jwks(key.public_key() for key in self.keys))


def claims(**more):
    now = int(time.time())
    return {"iss": URL, "aud": "kube", "sub": "jo", "exp": now + 60, "nbf": now - 60, **more}


def by_flags(web=None, **more):
    given = {
        "username_claim": "sub", "username_prefix": "", "groups_claim": "", "groups_prefix": "", "required": {},
        "algorithms": (), "authority": "", **more,
    }  # fmt: skip
    return Oidc(flag_issuer(URL, "kube", **given), clock=SystemClock(), fetch=(web or Web(KEY, OTHER)).fetch)


def by_file(web=None, **more):
    issuer = {"url": URL, "audiences": ["kube", "other"], "audienceMatchPolicy": "MatchAny"}
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"}
    (found,) = issuers_of({**document, "jwt": [{"issuer": issuer, **more}]})
    return Oidc(found, clock=SystemClock(), fetch=(web or Web(KEY)).fetch)


async def test_the_subject_is_the_user_with_the_issuer_before_its_name():
    user = await by_flags().authenticate(jwt.sign(claims(), KEY))
    assert user.name == f"{URL}#jo"
    assert (await by_flags().authenticate(jwt.sign(claims(), OTHER))).name == f"{URL}#jo"


@pytest.mark.parametrize(
    ("flags", "more", "name", "groups"),
    [
        ({"username_prefix": "-"}, {}, "jo", ()),
        ({"username_prefix": "oidc:"}, {}, "oidc:jo", ()),
        ({"username_claim": "email"}, {"email": "jo@x", "email_verified": True}, "jo@x", ()),
        (
            {"username_prefix": "-", "groups_claim": "roles", "groups_prefix": "r:"}, {"roles": ["a", "b"]}, "jo",
            ("r:a", "r:b"),
        ),
        ({"username_prefix": "-", "groups_claim": "role"}, {"role": "a"}, "jo", ("a",)),
    ],
)  # fmt: skip
async def test_names_and_groups_come_from_claims(flags, more, name, groups):
    user = await by_flags(**flags).authenticate(jwt.sign(claims(**more), KEY))
    assert (user.name, tuple(user.groups)) == (name, groups)


@pytest.mark.parametrize(
    ("flags", "more"),
    [
        ({}, {"aud": "somebody"}),
        ({}, {"exp": 1}),
        ({}, {"nbf": time.time() + 3600}),
        ({}, {"iss": "https://other.example.com"}),
        ({}, {"sub": 7}),
        ({"username_claim": "email"}, {"email": "jo@x", "email_verified": False}),
        ({"required": {"team": "red"}}, {"team": "blue"}),
        ({"algorithms": ("ES256",)}, {}),
        ({"groups_claim": "roles"}, {"roles": [1]}),
    ],
)
async def test_what_does_not_hold_is_refused(flags, more):
    assert await by_flags(**flags).authenticate(jwt.sign(claims(**more), KEY)) is None


async def test_a_token_of_another_key_is_refused_and_keys_are_not_asked_for_again_at_once():
    web = Web(KEY)
    oidc = by_flags(web)
    assert await oidc.authenticate(jwt.sign(claims(), OTHER)) is None
    assert await oidc.authenticate(jwt.sign(claims(), OTHER)) is None
    assert len(web.asked) == 2
    assert await oidc.authenticate(jwt.sign(claims(), KEY)) is not None
    assert await oidc.authenticate("nonsense") is None


async def test_an_issuer_that_does_not_answer_refuses_nobody_else():
    web = Web(KEY)
    web.down = True
    assert await by_flags(web).authenticate(jwt.sign(claims(), KEY)) is None


async def test_a_file_maps_claims_by_expressions():
    mappings = {
        "username": {"expression": "'x:' + claims.sub"}, "groups": {"expression": "claims.roles.split(',')"},
        "uid": {"claim": "id"}, "extra": [{"key": "example.com/team", "valueExpression": "claims.team"}],
    }  # fmt: skip
    user = await by_file(claimMappings=mappings).authenticate(
        jwt.sign(claims(roles="a,b", id="7", team="red", aud=["z", "other"]), KEY)
    )
    assert (user.name, user.uid, tuple(user.groups)) == ("x:jo", "7", ("a", "b"))
    assert user.extra == {"example.com/team": ("red",)}


@pytest.mark.parametrize(
    "rules",
    [
        {"claimValidationRules": [{"claim": "team", "requiredValue": "red"}]},
        {"claimValidationRules": [{"expression": "claims.exp - claims.nbf < 60", "message": "lives too long"}]},
        {"userValidationRules": [{"expression": "!user.username.startsWith('jo')"}]},
        {"claimValidationRules": [{"expression": "claims.nix == 1"}]},
    ],
)
async def test_rules_of_a_file_refuse(rules):
    mappings = {"username": {"claim": "sub", "prefix": ""}}
    token = jwt.sign(claims(), KEY)
    assert await by_file(claimMappings=mappings).authenticate(token) is not None
    assert await by_file(claimMappings=mappings, **rules).authenticate(token) is None


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [{}]},
        {
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "jwt": [{"issuer": {"url": "http://x", "audiences": ["a"]}}],
        },
        {
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "jwt": [{"issuer": {"url": "https://x", "audiences": ["a"]}}],
        },
    ],
)  # fmt: skip
def test_a_configuration_that_is_none_is_refused(document):
    with pytest.raises(ValueError, match=r"AuthenticationConfiguration|https|required"):
        issuers_of(document)


@pytest.mark.parametrize(("anonymous", "open_paths"), [
    (None, {"/readyz"}),
    ({"enabled": False}, {"/readyz"}),
    ({"enabled": True, "conditions": [{"path": "/apis"}]}, {"/readyz", "/apis"}),
    ({"enabled": True}, {"/readyz", "/apis", "/api/v1/pods"}),
])  # fmt: skip
async def test_the_configuration_says_what_may_be_asked_anonymously(anonymous, open_paths):
    one = Authenticator((), anonymous_health=True, anonymous_paths=anonymous_paths({"anonymous": anonymous}))
    for path in ("/readyz", "/apis", "/api/v1/pods"):
        if path in open_paths:
            assert (await one.authenticate(Request("GET", path))).name == "system:anonymous"
        else:
            with pytest.raises(Unauthorized):
                await one.authenticate(Request("GET", path))
    with pytest.raises(Unauthorized):
        await one.authenticate(Request("GET", "/readyz", headers={"authorization": "Bearer wrong"}))


def test_conditions_of_what_is_switched_off_are_a_mistake():
    with pytest.raises(ValueError, match="enabled should be set to true"):
        anonymous_paths({"anonymous": {"enabled": False, "conditions": [{"path": "/apis"}]}})
