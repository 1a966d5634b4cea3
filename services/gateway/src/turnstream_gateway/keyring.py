"""The API keys that are valid, as the gateway last read them: a look-up costs no more than a hash and a dict.

All of them are held, and read again all at once. So no stranger's key, of which there are as many as strangers care to
send, takes room here, pushes another one out, or costs a query of its own.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from turnstream.errors import AuthenticationError, StoreUnavailableError
from turnstream.keys import WELL_FORMED, Caller, Keys, digest
from turnstream.subjects import DEFAULT_TENANT

ANYBODY = Caller(DEFAULT_TENANT, admin=True)  # while there are no keys: who reaches the gateway owns its machine
PAUSE = 0.25  # seconds between two readings at least, however many unknown keys are sent

type OnEnd = Callable[[AuthenticationError], None]


class Keyring:
    """The valid keys. None of them is taken for valid more than `ttl` seconds after it was read.

    Until there is a first one, and if the gateway is `private` to its machine, everybody is the default tenant, and an
    operator.
    """

    def __init__(self, keys: Keys, ttl: float, *, private: bool) -> None:
        self._keys = keys
        self._ttl = ttl
        self._open = private
        self._callers: dict[bytes, Caller] = {}
        self._read_at = -math.inf
        self._reading: asyncio.Task[None] | None = None
        self._used: dict[bytes | None, set[OnEnd]] = {}  # bearer tokens, with whom to tell when they are good no more
        self._watching: asyncio.Task[None] | None = None

    async def caller(self, bearer: bytes | None) -> Caller:
        """Return whose request it is that carries this bearer token.

        Raises AuthenticationError if it is nobody's, and StoreUnavailableError if that cannot be told.
        """
        now = monotonic()  # not the loop's time, which stands still while the loop is busy
        if self._read_at + self._ttl <= now:
            await self._renew(now)
        if bearer is None or not WELL_FORMED.fullmatch(bearer):
            if self._open:
                return ANYBODY
            raise _refusal(bearer)
        hashed = digest(bearer)
        if (caller := self._callers.get(hashed)) is None:
            await self._renew(now)  # it may have been made since
            caller = self._callers.get(hashed)
        # Also where no key is asked for: what is sent with a tenant's key must not end up as another tenant's.
        if caller is None:
            raise _refusal(bearer)
        return caller

    @contextmanager
    def in_use(self, bearer: bytes | None, on_end: OnEnd) -> Iterator[None]:
        """Call `on_end` once this bearer token, which was good, is nobody's any more; `ttl` seconds later at most.

        While that cannot be told, it goes on.
        """
        self._used.setdefault(bearer, set()).add(on_end)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), name="keyring.watch")
        try:
            yield
        finally:
            self._used[bearer].discard(on_end)
            if not self._used[bearer]:
                del self._used[bearer]

    async def _watch(self) -> None:
        """Look at the tokens in use, each once for all who use it, whenever the keys are to be read again."""
        while self._used:
            await asyncio.sleep(max(PAUSE, self._read_at + self._ttl - monotonic()))
            for bearer in tuple(self._used):
                try:
                    await self.caller(bearer)
                except AuthenticationError as error:
                    for on_end in self._used.get(bearer, ()):
                        on_end(error)
                except StoreUnavailableError:
                    break

    async def _renew(self, since: float) -> None:
        """Read the keys, unless that was begun since a certain time; all who wait share one reading."""
        while self._read_at < since:
            if self._reading is None:
                self._reading = asyncio.create_task(self._read(), name="keyring.read")
            await asyncio.shield(self._reading)

    async def _read(self) -> None:
        try:
            await asyncio.sleep(self._read_at + PAUSE - monotonic())
            began = monotonic()
            self._callers = await self._keys.callers()
            # Once there has been a key it stays so, whatever becomes of the table.
            self._open = self._open and not self._callers and not await self._keys.any()
            self._read_at = began
        finally:
            self._reading = None


def _refusal(bearer: bytes | None) -> AuthenticationError:
    if bearer is None:
        message = "No API key was sent. Send yours in the header 'Authorization: Bearer ...'."
    else:
        message = "The API key is not valid: it does not exist, or has been revoked."
    return AuthenticationError(message, code="invalid_api_key")
