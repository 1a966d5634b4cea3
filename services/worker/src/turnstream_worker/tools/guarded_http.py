"""HTTP to one server, which is on the public Internet or allowed by the operator."""

import ssl
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

import httpcore
import httpx
from httpcore import SOCKET_OPTION

from turnstream.errors import FetchError
from turnstream.guard import Guard
from turnstream_worker.tools.mcp_errors import BrokenError, StatusError, elsewhere, not_mcp, unreachable
from turnstream_worker.tools.tool import ToolError

REDIRECTS_LIMIT = 5
CONNECTIONS_LIMIT = 16  # to one server at a time; further requests wait
CONNECT_PATIENCE = 10  # seconds for each of a server's addresses, and for TLS
# Seconds that a connection is kept without use. Servers keep theirs for five at least, and a call that goes into one
# that is just being closed is lost.
KEEP = 2
# A POST stays one behind these alone.
_KEEP_THE_METHOD = frozenset({HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT})


class GuardedHttp:
    """Sends requests to a server's origin, for which alone they and their headers are meant.

    It sends no cookie and uses no proxy. Raises ToolError for a URL that leads nowhere.
    """

    def __init__(self, url: str, guard: Guard, tls: ssl.SSLContext) -> None:
        try:
            self._origin = _origin(httpx.URL(url))
        except httpx.InvalidURL as error:
            raise unreachable() from error
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=CONNECTIONS_LIMIT,
            keepalive_expiry=KEEP,
            network_backend=_GuardedNetwork(guard),
        )

    async def send(self, request: httpx.Request) -> httpcore.Response:
        """Send a request and return its answer, which is one of success, and to be closed.

        Redirects are followed as long as they stay with the server. Raises ToolError.
        """
        url = self.within(request.url, "")
        for _ in range(REDIRECTS_LIMIT + 1):
            if not url:
                raise elsewhere()
            response = await self._sent(request, url)
            location = httpx.Headers(response.headers).get("location")
            if response.status not in _KEEP_THE_METHOD or location is None:
                return await _checked(response)
            await response.aclose()
            url = self.within(url, location)
        raise ToolError(f"The MCP server redirects more than {REDIRECTS_LIMIT} times.", reason="too_many_redirects")

    def within(self, url: httpx.URL, location: str) -> httpx.URL | None:
        """Return where a server's word leads from a URL, None if that is not on the server."""
        try:
            target = url.join(location)
        except httpx.InvalidURL:
            return None
        return target if _origin(target) == self._origin else None

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def _sent(self, request: httpx.Request, url: httpx.URL) -> httpcore.Response:
        with _connected():
            return await self._pool.handle_async_request(
                httpcore.Request(
                    request.method,
                    str(url),
                    headers=request.headers.raw,
                    content=request.content,
                    extensions={"timeout": {"connect": CONNECT_PATIENCE}},
                )
            )


async def read(response: httpcore.Response) -> AsyncGenerator[bytes]:
    """Yield a body, piece by piece; raise ToolError if it breaks off."""
    with _connected():
        async for piece in response.aiter_stream():
            yield piece


def media_type(response: httpcore.Response) -> str:
    """Return what a body says that it is."""
    return str(httpx.Headers(response.headers).get("content-type", "")).lower()


class _GuardedNetwork(httpcore.AnyIOBackend):
    """Looks a host up once, and connects to the addresses that were checked: another look-up might find others."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception | None = None
        try:
            addresses = await self._guard.addresses(host)
        except (FetchError, OSError, UnicodeError) as error:
            raise httpcore.ConnectError from error
        for address in addresses:
            try:
                return await super().connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise httpcore.ConnectError from failure


@contextmanager
def _connected() -> Iterator[None]:
    """Raise what goes wrong with a connection as ToolError."""
    try:
        yield
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        raise unreachable() from error
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError, ValueError) as error:
        raise BrokenError from error


async def _checked(response: httpcore.Response) -> httpcore.Response:
    """Return an answer whose body may be read as it is; a compressed one, unasked for, may be a bomb."""
    encoding = httpx.Headers(response.headers).get("content-encoding", "identity")
    if HTTPStatus(200) <= response.status < HTTPStatus(300) and encoding == "identity":
        return response
    await response.aclose()
    raise StatusError(response.status) if encoding == "identity" else not_mcp()


def _origin(url: httpx.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port
