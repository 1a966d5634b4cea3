"""A client that gets its turns done whatever happens: it asks again, comes back, and goes to another gateway."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import repeat
from random import Random
from typing import Any, Self

import httpx
from support.reader import Event

from chaos.record import Posted, Reading

AGAIN = {429, 502, 503, 504}  # the statuses that say to try again
PAUSE = 0.25  # seconds before it does
TIMEOUT = httpx.Timeout(8, connect=2)  # seconds; several of the gateways' signs of life
WHOLE = httpx.Timeout(40, connect=2)  # seconds; an answer that is no stream shows no life
# A slow reader's kernel takes little, so that what it does not read waits at the gateway soon.
NARROW = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)]

type Leaves = Callable[[Event], bool]


class Client:
    """Speaks to any of several gateways."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls
        self._wide = httpx.AsyncClient(verify=False, timeout=TIMEOUT)
        self._narrow = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(socket_options=NARROW, limits=httpx.Limits(max_keepalive_connections=0)),
            timeout=TIMEOUT,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._wide.aclose()
        await self._narrow.aclose()

    async def ask(self, rng: Random, method: str, path: str, **request: Any) -> httpx.Response:
        """Return the first answer that does not say to try again."""
        while True:
            with suppress(httpx.TransportError):
                answer = await self._wide.request(method, rng.choice(self._urls) + path, timeout=WHOLE, **request)
                if answer.status_code not in AGAIN:
                    return answer
            await asyncio.sleep(PAUSE)

    async def post(self, posted: Posted, rng: Random) -> dict[str, Any]:
        """Post a turn that is not streamed, and return its response, ended or not."""
        answer = await self.ask(rng, "POST", "/v1/responses", **_posting(posted))
        if not _is_taken(answer, posted):
            return {}
        response: dict[str, Any] = answer.json()
        posted.accepted_as(response["id"])
        return response

    async def follow(
        self,
        posted: Posted,
        reading: Reading,
        rng: Random,
        *,
        leaves: Leaves | None = None,
        naps: Iterator[float] | None = None,
    ) -> None:
        """Post a turn if that was not done, and read on to its end, or until the event that the reader leaves at.

        A slow reader naps for so many seconds after each event, and keeps its connection meanwhile.
        """
        http, naps = (self._narrow, naps) if naps else (self._wide, repeat(0))
        while not reading.over and not posted.oddities:
            with suppress(httpx.TransportError):
                async with (
                    self._stream(http, posted, reading, rng) as answer,
                    aclosing(reading.take(answer.aiter_lines(), again=posted.unstored)) as events,
                ):
                    async for event in events:
                        if leaves and leaves(event):
                            return
                        if nap := next(naps):
                            await asyncio.sleep(nap)
            await asyncio.sleep(PAUSE)

    async def cancel(self, posted: Posted, rng: Random) -> None:
        """Cancel a turn, and take down how it may end then."""
        answer = await self.ask(rng, "POST", f"/v1/responses/{posted.id}/cancel")
        if answer.status_code == httpx.codes.CONFLICT:  # it was over before
            return
        if _is_taken(answer, posted):
            posted.may_end = {"cancelled"}

    async def retrieve(self, posted: Posted, rng: Random) -> dict[str, Any]:
        """Return a turn's response as it is stored now; nothing if it is not to be stored."""
        answer = await self.ask(rng, "GET", f"/v1/responses/{posted.id}")
        if posted.unstored and answer.status_code == httpx.codes.NOT_FOUND:
            return {}
        return answer.json() if _is_taken(answer, posted) else {}

    async def list_all(self, rng: Random, path: str, **query: str) -> list[dict[str, Any]]:
        """Return all that a list holds."""
        found: list[dict[str, Any]] = []
        while True:
            after = {"after": found[-1]["id"]} if found else {}
            answer = await self.ask(rng, "GET", path, params={"limit": 100, **query, **after})
            page = answer.raise_for_status().json()
            found += page["data"]
            if not page["has_more"]:
                return found

    @asynccontextmanager
    async def _stream(
        self, http: httpx.AsyncClient, posted: Posted, reading: Reading, rng: Random
    ) -> AsyncIterator[httpx.Response]:
        url = rng.choice(self._urls)
        if posted.id is None or posted.unstored:  # which is found by its key alone
            opened = http.stream("POST", f"{url}/v1/responses", **_posting(posted))
        else:
            way = rng.choice((f"/v1/responses/{posted.id}?stream=true&", f"/v1/turns/{posted.id}/events?"))
            opened = http.stream("GET", f"{url}{way}starting_after={reading.last}")
        async with opened as answer:
            if answer.status_code in AGAIN:
                raise httpx.RemoteProtocolError("try again")
            if answer.status_code != httpx.codes.OK:
                await answer.aread()
            if _is_taken(answer, posted):
                posted.accepted_as(answer.headers["x-response-id"])
            yield answer


def _posting(posted: Posted) -> dict[str, Any]:
    return {"json": posted.body, "headers": {"Idempotency-Key": posted.key}}


def _is_taken(answer: httpx.Response, posted: Posted) -> bool:
    if answer.status_code != httpx.codes.OK:
        posted.oddities.append(f"{answer.request.method} was answered {answer.status_code}: {answer.text[:200]}")
    return answer.status_code == httpx.codes.OK
