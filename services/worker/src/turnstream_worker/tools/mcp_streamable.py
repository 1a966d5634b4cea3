"""MCP's streamable HTTP: a request is a POST, and its answer JSON or a stream of events that ends with it.

https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
"""

import asyncio
import itertools
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson

from turnstream_worker.tools import json_rpc
from turnstream_worker.tools.background import Background
from turnstream_worker.tools.event_stream import Allowance, TooLargeError, read_events
from turnstream_worker.tools.json_rpc import Message
from turnstream_worker.tools.mcp_address import McpAddress
from turnstream_worker.tools.mcp_transport import (
    EVENTS,
    INITIALIZE_LIMIT,
    JSON,
    Question,
    agreed_version,
    check_status,
    introduction,
    late,
    sent,
)
from turnstream_worker.tools.tool import ToolError

# By these a server answers `initialize` that does not know this transport.
NOT_SPOKEN = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
RESUME_DELAY = 1.0  # seconds before a stream is gone on with, where the server does not say
LEAST_DELAY = 0.1  # seconds, whatever the server says


class NotSpokenError(ToolError):
    """A server does not know this transport."""


class SessionGoneError(ToolError):
    """A server has forgotten the session, and did nothing of the request."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a server knows us by."""

    id: str | None
    version: str

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to the session's requests."""
        return {"mcp-protocol-version": self.version, **({"mcp-session-id": self.id} if self.id else {})}


@dataclass(slots=True)
class _Place:
    """Where a stream of events broke off."""

    id: str | None = None
    delay: float = RESUME_DELAY


class StreamableHttp:
    """Asks a server over one session, which is opened when it is first needed."""

    def __init__(
        self, http: aiohttp.ClientSession, address: McpAddress, background: Background, patience: float
    ) -> None:
        self._http = http
        self._address = address
        self._background = background
        self._patience = patience  # seconds to open a session
        self._numbers = itertools.count(1)
        self._opening = asyncio.Lock()
        self._session: Session | None = None

    async def ask(self, question: Question) -> Any:
        """Return a request's result; in a new session if the server has forgotten this one."""
        try:
            return await self._ask(await self._opened(), question)
        except SessionGoneError:
            return await self._ask(await self._opened(), question)

    async def close(self) -> None:
        """End the session."""
        if self._session and self._session.id:
            async with sent(self._http, "DELETE", self._address.url, self._headers(self._session)):
                pass  # a server that does not let sessions be ended says so, and it makes no difference

    async def _opened(self) -> Session:
        try:
            async with asyncio.timeout(self._patience), self._opening:
                self._session = self._session or await self._open()
                return self._session
        except TimeoutError as error:
            raise late(self._patience) from error

    async def _open(self) -> Session:
        message = json_rpc.request(next(self._numbers), "initialize", introduction())
        headers = self._headers(None)
        async with sent(self._http, "POST", self._address.url, headers, orjson.dumps(message)) as response:
            if response.status in NOT_SPOKEN:
                raise NotSpokenError(
                    f"The MCP server answered with HTTP status {response.status}.", reason="bad_status"
                )
            check_status(response)
            answer = await self._read(response, message["id"], Allowance(INITIALIZE_LIMIT), None, _Place())
            session = Session(response.headers.get("mcp-session-id"), agreed_version(_answered(answer)))
        await self._tell(session, json_rpc.notification("notifications/initialized"))
        return session

    async def _ask(self, session: Session, question: Question) -> Any:
        message = json_rpc.request(next(self._numbers), question.method, question.params)
        try:
            async with asyncio.timeout(question.patience):
                return _answered(await self._answer(session, message, question))
        except (asyncio.CancelledError, TimeoutError, TooLargeError) as error:
            # The server goes on with it until it is told.
            self._background.start("take_back", self._tell(session, json_rpc.cancelled(message["id"])))
            if isinstance(error, TimeoutError):
                raise late(question.patience) from error
            raise

    async def _answer(self, session: Session, message: Message, question: Question) -> Message | None:
        """Return the answer to a request, though its stream may break off, and be gone on with, on the way to it."""
        headers = self._headers(session) | question.headers()
        allowance, place = Allowance(question.limit), _Place()
        async with sent(self._http, "POST", self._address.url, headers, orjson.dumps(message)) as response:
            if response.status == HTTPStatus.NOT_FOUND and session.id:
                self._session = None if self._session is session else self._session
                raise SessionGoneError("The MCP server has forgotten the session.", reason="session_gone")
            check_status(response)
            answer = await self._read(response, message["id"], allowance, session, place)
        while answer is None and place.id is not None:
            await asyncio.sleep(place.delay)
            headers = self._headers(session) | {"last-event-id": place.id}
            async with sent(self._http, "GET", self._address.url, headers) as response:
                check_status(response)
                answer = await self._read(response, message["id"], allowance, session, place)
        return answer

    async def _read(
        self,
        response: aiohttp.ClientResponse,
        number: int,
        allowance: Allowance,
        session: Session | None,
        place: _Place,
    ) -> Message | None:
        """Return the answer to the request of this number, None if it is not there; `place` is where a stream ended."""
        match response.content_type:
            case "application/json":
                messages = json_rpc.parse(await _body(response, allowance))
                return next((message for message in messages if json_rpc.answers(message, number)), None)
            case "text/event-stream":
                return await self._read_events(response, number, allowance, session, place)
        raise json_rpc.not_mcp()

    async def _read_events(
        self,
        response: aiohttp.ClientResponse,
        number: int,
        allowance: Allowance,
        session: Session | None,
        place: _Place,
    ) -> Message | None:
        async for event in read_events(response.content, allowance):
            place.id = event.id or place.id
            place.delay = place.delay if event.retry is None else max(event.retry / 1000, LEAST_DELAY)
            for message in json_rpc.parse(event.data) if event.data and event.name == "message" else []:
                if json_rpc.answers(message, number):
                    return message
                if session and (said := json_rpc.reply(message)):
                    await self._tell(session, said)
        return None

    async def _tell(self, session: Session, message: Message) -> None:
        headers = self._headers(session)
        async with sent(self._http, "POST", self._address.url, headers, orjson.dumps(message)) as response:
            check_status(response)

    def _headers(self, session: Session | None) -> dict[str, str]:
        ours = {"accept": f"{JSON}, {EVENTS}", "content-type": JSON, **(session.headers() if session else {})}
        return self._address.headers | ours


async def _body(response: aiohttp.ClientResponse, allowance: Allowance) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        allowance.spend(len(piece))
        body += piece
    return bytes(body)


def _answered(answer: Message | None) -> Any:
    if answer is None:
        raise json_rpc.not_mcp()
    return json_rpc.result(answer)
