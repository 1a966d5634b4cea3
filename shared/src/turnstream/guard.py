"""What keeps us from servers that only we can reach, whoever names them.

A URL is somebody else's text: it may name a server inside, or a name may lead to one on the second look-up, or a server
may redirect to one. So each name is looked up once, all of its addresses are checked, and the connection is made to
those.
"""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from turnstream.addresses import Address, is_public
from turnstream.errors import FetchError
from turnstream.settings import FetchSettings

URL_LIMIT = 8192  # characters
LOOKUPS_LIMIT = 16  # look-ups at a time

# One wording for all of these: the difference between them would tell what there is inside.
OUT_OF_REACH = "Its URL could not be reached. Only what is on the public Internet can be."

type Lookup = Callable[[str], list[str]]
"""Returns the addresses of a host by its name; may block, and raises OSError if it knows none."""


def look_up(host: str) -> list[str]:
    """Return a host's addresses as the system knows them."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Guard:
    """Opens the way to hosts on the public Internet, and to those that the operator allows."""

    def __init__(self, settings: FetchSettings, lookup: Lookup = look_up) -> None:
        self._hosts = {allowed for allowed in settings.fetch_allow if isinstance(allowed, str)}
        self._networks = [allowed for allowed in settings.fetch_allow if not isinstance(allowed, str)]
        self._lookup = lookup
        # Threads of its own: a name server that stays silent must not hold up the process's other look-ups.
        self._threads = ThreadPoolExecutor(LOOKUPS_LIMIT, "guard-lookup")

    async def resolver(self, url: URL) -> AbstractResolver:
        """Return what a connection to a URL's host, as it is looked up now, finds its addresses by.

        It is a connector's to be asked for that host alone. Raises as `addresses` does.
        """
        return _Pinned(await self.addresses(url.raw_host or ""))

    async def addresses(self, host: str) -> list[Address]:
        """Look a host up and return its addresses, all of which may be connected to.

        Raises FetchError if the host is refused, and OSError or UnicodeError if its name leads nowhere.
        """
        try:
            addresses = [ip_address(host)]
        except ValueError:
            loop = asyncio.get_running_loop()
            addresses = [ip_address(found) for found in await loop.run_in_executor(self._threads, self._lookup, host)]
        if host not in self._hosts and not all(self._is_allowed(address) for address in addresses):
            raise FetchError(OUT_OF_REACH, reason="refused")
        return addresses

    def close(self) -> None:
        """Give up the threads; a look-up that is under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

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


def web_url(text: str, base: URL | None = None) -> URL:
    """Return a URL, which may be relative to `base`, if it is one to be fetched; raise FetchError otherwise."""
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
