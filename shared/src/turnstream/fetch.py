"""Fetch what a client names by URL, and nothing that only we can reach."""

import asyncio

import aiohttp
from yarl import URL

from turnstream.errors import FetchError
from turnstream.guard import OUT_OF_REACH, Guard, Lookup, look_up, web_url
from turnstream.logs import log
from turnstream.media import Media
from turnstream.settings import FetchSettings

REDIRECTS_LIMIT = 5

_HEADERS = {"User-Agent": "Turnstream", "Accept": "*/*", "Accept-Encoding": "identity"}
_OK = 200
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Fetcher:
    """Fetches URLs from the public Internet, and from where the operator allows it.

    It sends no cookie and no credentials, and uses no proxy.
    """

    def __init__(self, settings: FetchSettings, lookup: Lookup = look_up) -> None:
        self._timeout = settings.fetch_timeout
        self._guard = Guard(settings, lookup)

    async def fetch(self, url: str, *, limit: int) -> Media:
        """Return what is at a URL, `limit` bytes of it at most, decompressed; redirects are followed.

        Raises FetchError.
        """
        target = web_url(url)
        try:
            return await self._in_time(target, limit)
        except FetchError as error:
            # The host alone: a path or a query may be the secret that opens what it leads to.
            log.info("fetch.failed", host=target.raw_host, reason=error.reason)
            raise

    def close(self) -> None:
        """Give up the threads; a look-up that is under way ends by itself."""
        self._guard.close()

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
                raise FetchError(OUT_OF_REACH, reason="unreachable") from error
            if isinstance(found, Media):
                return found
            url = found
        raise FetchError(f"Its URL redirects more than {REDIRECTS_LIMIT} times.", reason="too_many_redirects")

    async def _get(self, url: URL, limit: int) -> Media | URL:
        """Return what is at a URL, or where it redirects to; no cookie and no connection outlives the request."""
        connector = aiohttp.TCPConnector(
            resolver=await self._guard.resolver(url), use_dns_cache=False, force_close=True
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
                return web_url(response.headers["Location"], base=url)
            if response.status != _OK:
                raise FetchError(f"Its URL answered with status {response.status}.", reason="bad_status")
            return Media(response.content_type.lower(), await _read(response, limit))


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a body; what it was compressed to does not count, and each piece that is decompressed is small."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > limit:
            raise FetchError(f"What is at its URL is larger than {limit} bytes.", reason="too_large")
    return bytes(body)
