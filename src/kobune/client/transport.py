"""How a request reaches an API server: over HTTPS, or by a call inside the same process."""

from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple, Protocol

NO_QUERY: Mapping[str, str] = {}


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str]


class Transport(Protocol):
    """One identity's way to one API server."""

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
        """The whole answer, whatever its status. Raises ServiceUnavailable when the server cannot be reached."""

    def stream(self, path: str, *, query: Mapping[str, str] = NO_QUERY) -> AsyncIterator[bytes]:
        """The frames of a watch, each one complete JSON document, until the server ends it.

        Raises:
            ApiError: the server refused; ServiceUnavailable when it cannot be reached or the stream broke.
        """

    async def close(self) -> None:
        """Let go of connections."""
