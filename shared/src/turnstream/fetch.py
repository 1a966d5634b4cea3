"""Fetch what a client names by URL, and nothing that only we can reach.

A URL is somebody else's text: it may name a server inside, or a name may lead to one on the second look-up, or a server
may redirect to one. So each name is looked up once, all of its addresses are checked, and the connection is made to
those.
"""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from turnstream.addresses import Address, is_public
from turnstream.errors import FetchError
from turnstream.logs import log
from turnstream.media import Media
from turnstream.settings import FetchSettings

REDIRECTS_LIMIT = 5
URL_LIMIT = 8192  # characters
LOOKUPS_LIMIT = 16  # look-ups at a time

_HEADERS = {"User-Agent": "Turnstream", "Accept": "*/*", "Accept-Encoding": "identity"}
_OK = 200
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

# One wording for all of these: the difference between them would tell what there is inside.
_OUT_OF_REACH = "Its URL could not be reached. Only what is on the public Internet can be."

type Lookup = Callable[[str], list[str]]
"""Returns the addresses of a host by its name; may block, and raises OSError if it knows none."""


def look_up(host: str) -> list[str]:
    """Return a host's addresses as the system knows them."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Fetcher:
    """Fetches URLs from the public Internet, and from where the operator allows it.

    It sends no cookie and no credentials, and uses no proxy.
    """

    def __init__(self, settings: FetchSettings, lookup: Lookup = look_up) -> None:
        self._timeout = settings.fetch_timeout
        self._hosts = {allowed for allowed in settings.fetch_allow if isinstance(allowed, str)}
        self._networks = [allowed for allowed in settings.fetch_allow if not isinstance(allowed, str)]
        self._lookup = lookup
        # Threads of its own: a name server that stays silent must not hold up the process's other look-ups.
        self._threads = ThreadPoolExecutor(LOOKUPS_LIMIT, "fetch-lookup")

    async def fetch(self, url: str, *, limit: int) -> Media:
        """Return what is at a URL, `limit` bytes of it at most, decompressed; redirects are followed.

        Raises FetchError.
        """
        target = _parsed(url)
        try:
            return await self._in_time(target, limit)
        except FetchError as error:
            # The host alone: a path or a query may be the secret that opens what it leads to.
            log.info("fetch.failed", host=target.raw_host, reason=error.reason)
            raise

    def close(self) -> None:
        """Give up the threads; a look-up that is under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_time(self, url: URL, limit: int) -> Media:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._follow(url, limit)
        except TimeoutError as error:
            message = f"Its URL did not deliver it within {self._timeout:g} seconds."
            raise FetchError(message, reason="timeout") from error

    async def _follow(self, url: URL, limit: int) -> Media:
        for _ in range(REDIRECTS_LIMIT + 1):
            try:
                found = await self._get(url, limit)
            except (aiohttp.ClientError, OSError, UnicodeError) as error:
                raise FetchError(_OUT_OF_REACH, reason="unreachable") from error
            if isinstance(found, Media):
                return found
            url = found
        raise FetchError(f"Its URL redirects more than {REDIRECTS_LIMIT} times.", reason="too_many_redirects")

    async def _get(self, url: URL, limit: int) -> Media | URL:
        """Return what is at a URL, or where it redirects to; no cookie and no connection outlives the request."""
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(await self._addresses(url.raw_host or "")), use_dns_cache=False, force_close=True
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                headers=_HEADERS,
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
            ) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status in _REDIRECTS and "Location" in response.headers:
                return _parsed(response.headers["Location"], base=url)
            if response.status != _OK:
                raise FetchError(f"Its URL answered with status {response.status}.", reason="bad_status")
            return Media(response.content_type.lower(), await _read(response, limit))

    async def _addresses(self, host: str) -> list[Address]:
        """Return a host's addresses, all of which may be fetched from."""
        try:
            addresses = [ip_address(host)]
        except ValueError:
            loop = asyncio.get_running_loop()
            addresses = [ip_address(found) for found in await loop.run_in_executor(self._threads, self._lookup, host)]
        if host not in self._hosts and not all(self._is_allowed(address) for address in addresses):
            raise FetchError(_OUT_OF_REACH, reason="refused")
        return addresses

    def _is_allowed(self, address: Address) -> bool:
        return is_public(address) or any(address in network for network in self._networks)


class _Pinned(AbstractResolver):
    """Answers with the addresses that were checked: another look-up might find others."""

    def __init__(self, addresses: list[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del family  # a connector asks for any
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,  # noqa: PLR2004 - IPv4
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass


def _parsed(text: str, base: URL | None = None) -> URL:
    """Return a URL, which may be relative to `base`, if it is one to be fetched."""
    try:
        url = URL(text[: URL_LIMIT + 1])
        url = base.join(url) if base else url
    except ValueError as error:
        raise _bad_url() from error
    credentials = url.user is not None or url.password is not None
    if len(text) > URL_LIMIT or url.scheme not in {"http", "https"} or not url.raw_host or credentials:
        raise _bad_url()
    return url


def _bad_url() -> FetchError:
    message = f"Its URL must be one of http or https, without user and password, of up to {URL_LIMIT} characters."
    return FetchError(message, reason="bad_url")


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a body; what it was compressed to does not count, and each piece that is decompressed is small."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > limit:
            raise FetchError(f"What is at its URL is larger than {limit} bytes.", reason="too_large")
    return bytes(body)
