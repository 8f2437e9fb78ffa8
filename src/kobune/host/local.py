"""The client's way to an API server in the same process: a call, no sockets, no certificates, bytes shared."""

from collections.abc import AsyncIterator, Mapping

from kobune.api.errors import ServiceUnavailable
from kobune.client.client import error_of
from kobune.client.transport import NO_QUERY, Answer
from kobune.controlplane.apiserver.request import Request, User
from kobune.controlplane.apiserver.server import ApiServer


class LocalTransport:
    """Requests by `user`, handed to the server's own handler chain: authorization and admission apply as over HTTPS."""

    def __init__(self, server: ApiServer, user: User, *, user_agent: str = "kobune") -> None:
        self._server = server
        self._user = user
        self._said = {"user-agent": user_agent}

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        headers = {**self._said, "accept": accept}
        if body:
            headers["content-type"] = content_type
        response = await self._server.handle(
            Request(method=method, path=path, query=query, headers=headers, body=body, user=self._user)
        )
        content = response.body
        if not isinstance(content, bytes):
            content = b"".join([part if isinstance(part, bytes) else part.whole async for part in content])
        return Answer(response.status, content, response.headers)

    async def stream(self, path: str, *, query: Mapping[str, str] = NO_QUERY) -> AsyncIterator[bytes]:
        response = await self._server.handle(Request(method="GET", path=path, query=query, user=self._user))
        if isinstance(response.body, bytes):
            if response.status >= 300:
                raise error_of(Answer(response.status, response.body, response.headers))
            raise ServiceUnavailable(f"{path} is no watch")
        # Frames that are due together come together; each ends with a newline, and none holds one inside.
        async for chunk in response.body:
            for frame in chunk.splitlines():
                yield frame

    async def close(self) -> None:
        """Nothing is held."""
