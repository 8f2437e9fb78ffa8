"""A machine joins with a token that a Secret holds, while it lasts."""

import pytest

SECRETS = "/api/v1/namespaces/kube-system/secrets"
TOKEN = "abcdef.0123456789abcdef"


def secret(**changes):
    data = {
        "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:nodes", **changes,
    }  # fmt: skip
    return {"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "stringData": data}


async def test_the_tokens_bearer_is_a_bootstrapper(ask):
    await ask.create(SECRETS, secret())
    user = await ask.server.authenticator.by_token(TOKEN)
    assert user.name == "system:bootstrap:abcdef"
    assert user.groups == ("system:bootstrappers", "system:bootstrappers:nodes", "system:authenticated")


@pytest.mark.parametrize(
    "changes",
    [
        {"token-secret": "fedcba9876543210"},
        {"usage-bootstrap-authentication": "false"},
        {"expiration": "2020-01-02T03:04:05Z"},
        {"expiration": "soon"},
        {"auth-extra-groups": "system:masters"},
    ],
)
async def test_what_is_wrong_or_over_lets_nobody_in(ask, changes):
    await ask.create(SECRETS, secret(**changes))
    assert await ask.server.authenticator.by_token(TOKEN) is None
