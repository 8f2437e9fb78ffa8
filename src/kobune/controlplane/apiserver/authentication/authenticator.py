"""The ways of proving who asks, tried in turn."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from kobune.api.errors import Unauthorized
from kobune.controlplane.apiserver.authentication.front_proxy import FrontProxies, RequestHeaders
from kobune.controlplane.apiserver.authentication.x509 import CertificateAuthenticator
from kobune.controlplane.apiserver.request import ANONYMOUS, Request, User

# A token's owner; None: not this kind of token, or no good.
TokenAuthenticator = Callable[[str], Awaitable[User | None]]
AUTHENTICATED = "system:authenticated"
# What anybody may ask.
PUBLIC = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})


class Authenticator:
    def __init__(
        self,
        tokens: Sequence[TokenAuthenticator],
        *,
        anonymous_health: bool,
        anonymous_paths: Collection[str] | None = (),
        request_headers: RequestHeaders | None = None,
    ) -> None:
        self._proxies = FrontProxies(request_headers) if request_headers is not None else None
        self._certificates = CertificateAuthenticator()
        self._tokens = tuple(tokens)
        self._anonymous_health = anonymous_health
        self._anonymous_paths = anonymous_paths  # None: whatever path.

    async def authenticate(self, request: Request) -> User:
        """Who sent the request. Raises Unauthorized."""
        certificate, proxies = request.certificate, self._proxies
        if proxies is not None and certificate is not None:
            user = proxies.user(certificate, request.headers)
            if user is not None:
                return _authenticated(user)
            if not proxies.is_client(certificate):
                certificate = None
        user = self.by_certificate(certificate)
        header = request.headers.get("authorization") or ""
        if user is None and header:
            user = await self._by_header(header)
        if user is None:
            protocols = request.headers.get("sec-websocket-protocol") or ""
            user = await self._by_websocket_protocol(protocols) if protocols else None
        if user is not None:
            return user
        if not header and self._may_be_nobody(request.path):
            return ANONYMOUS
        raise Unauthorized("Unauthorized")

    def _may_be_nobody(self, path: str) -> bool:
        paths = self._anonymous_paths
        return paths is None or path in paths or (self._anonymous_health and is_public(path))

    def by_certificate(self, certificate: bytes | None) -> User | None:
        return self._certificates.user(certificate) if certificate else None

    async def by_token(self, token: str) -> User | None:
        for authenticate in self._tokens:
            user = await authenticate(token)
            if user is not None:
                return _authenticated(user)
        return None

    async def _by_header(self, header: str) -> User | None:
        scheme, _, token = header.partition(" ")
        token = token.strip()
        return await self.by_token(token) if scheme.lower() == "bearer" and token else None

    async def _by_websocket_protocol(self, protocols: str) -> User | None:
        """Browsers cannot set headers: the token comes as a sub-protocol. Source: upstream websocket authenticator."""
        import base64
        import binascii

        prefix = "base64url.bearer.authorization.k8s.io."
        for protocol in (part.strip() for part in protocols.split(",")):
            if protocol.startswith(prefix):
                encoded = protocol.removeprefix(prefix)
                try:
                    return await self.by_token(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode())
                except (binascii.Error, UnicodeDecodeError):
                    return None
        return None


def _authenticated(user: User) -> User:
    if AUTHENTICATED in user.groups:
        return user
    return User(user.name, user.uid, (*user.groups, AUTHENTICATED), user.extra)


def is_public(path: str) -> bool:
    """Whether anybody may ask this: health and version."""
    return path in PUBLIC or path.startswith(("/healthz/", "/livez/", "/readyz/"))


def static_tokens(table: Mapping[str, tuple[str, str, tuple[str, ...]]]) -> TokenAuthenticator:
    """The authenticator of a token file's content."""
    users = {token: User(name, uid, groups) for token, (name, uid, groups) in table.items()}

    async def authenticate(token: str) -> User | None:
        return users.get(token)

    return authenticate


def read_token_file(text: str) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """The content of a token file: lines of `token,user,uid[,"group1,group2"]`. Raises ValueError."""
    import csv

    table: dict[str, tuple[str, str, tuple[str, ...]]] = {}
    for number, row in enumerate(csv.reader(text.splitlines(), skipinitialspace=True), start=1):
        if not row or not "".join(row).strip():
            continue
        if len(row) < 3:
            raise ValueError(
                f"line {number}: a token needs at least 3 columns (token, user name, user uid), found {len(row)}"
            )
        token, name, uid = (column.strip() for column in row[:3])
        if not token:
            continue
        groups = tuple(group.strip() for group in row[3].split(",") if group.strip()) if len(row) > 3 else ()
        table[token] = (name, uid, groups)
    return table
