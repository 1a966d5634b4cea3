"""Answers to requests, matched by a token, on one subscription for all.

nats-py's own does the same for more: it draws random bytes for each token, and times each request by a task.
"""

import asyncio

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

NO_RESPONDERS = "503"


class Replies:
    """The requests of one connection that wait for their answers."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = ""
        self._sent = 0
        self._waiting: dict[str, asyncio.Future[Msg]] = {}

    async def open(self) -> None:
        """Subscribe to the answers."""
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(f"{self._inbox}.*", cb=self._on_reply)

    async def request(self, subject: str, payload: bytes, within: float, headers: dict[str, str] | None) -> Msg:
        """Send a request and return its answer.

        Raises TimeoutError after so many seconds, NoRespondersError if nobody listens, and what publishing raises.
        """
        loop = asyncio.get_running_loop()
        self._sent += 1
        token = str(self._sent)
        answer = self._waiting[token] = loop.create_future()
        timer = loop.call_later(within, _give_up, answer)
        try:
            await self._client.publish(subject, payload, reply=f"{self._inbox}.{token}", headers=headers)
            message: Msg = await answer
        finally:
            timer.cancel()
            del self._waiting[token]
        if message.headers and message.headers.get("Status") == NO_RESPONDERS:
            raise NoRespondersError
        return message

    async def round_trip(self, within: float) -> None:
        """Return once the server has seen all that was sent before; raise TimeoutError after so many seconds.

        nats-py's own flush does not say so: its PING is sent ahead of what waits to be sent.
        """
        await self.request(f"{self._inbox}.{self._sent + 1}", b"", within, None)

    async def _on_reply(self, message: Msg) -> None:
        answer = self._waiting.get(message.subject.rpartition(".")[2])
        if answer and not answer.done():  # else it came too late
            answer.set_result(message)


def _give_up(answer: asyncio.Future[Msg]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())
