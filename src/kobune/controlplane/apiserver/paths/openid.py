"""What others need to verify ServiceAccount tokens: the issuer's configuration and its public keys."""

from typing import TYPE_CHECKING

import orjson

from kobune.api.errors import NotFound
from kobune.api.jwt import algorithm, jwks
from kobune.controlplane.apiserver.request import Request, Response

if TYPE_CHECKING:
    from kobune.controlplane.apiserver.server import ApiServer

CACHE = {"Cache-Control": "public, max-age=3600"}


async def configuration(server: "ApiServer", request: Request) -> Response:
    tokens = server.service_account_tokens
    if tokens is None:
        raise NotFound("the server could not find the requested resource")
    host = request.headers.get("host") or f"{server.config.advertise_address}:{server.config.advertise_port}"
    content = {
        "issuer": server.config.service_account_issuer,
        "jwks_uri": f"https://{host}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted({algorithm(key) for key in tokens.public_keys}),
    }
    return Response(200, orjson.dumps(content), headers=CACHE)


async def keys(server: "ApiServer", request: Request) -> Response:
    tokens = server.service_account_tokens
    if tokens is None:
        raise NotFound("the server could not find the requested resource")
    return Response(200, orjson.dumps(jwks(tokens.public_keys)), "application/jwk-set+json", CACHE)
