"""TokenRequests."""

from kobune.api.errors import Json

TOKEN_SECONDS = 3600


def default_token_request(request: Json) -> None:
    request.setdefault("spec", {}).setdefault("expirationSeconds", TOKEN_SECONDS)


DEFAULTS = {"TokenRequest": default_token_request}
