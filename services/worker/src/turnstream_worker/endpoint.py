"""An endpoint of a model's provider: where it is, as whom it is called, and what its failures are in our words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from turnstream.errors import ModelError
from turnstream_worker.provider_errors import refused

OK = 200
STALE_CONNECTIONS = 3  # that one request may meet in a row
ERROR_LIMIT = 64 << 10  # bytes of an error's body that are read


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider takes requests, and as whom."""

    base_url: str  # ends before /chat/completions
    headers: dict[str, str] = field(repr=False)  # credentials stand in them
    defaults: dict[str, Any] = field(default_factory=dict)  # parameters the provider's adapter adds

    @asynccontextmanager
    async def post(
        self, session: aiohttp.ClientSession, path: str, request: dict[str, Any]
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """Post a request and yield the body of the answer once the provider has taken it.

        Raises ModelError if it cannot be reached, refuses, or breaks off; the call may be tried again as long as
        nothing of the body has come.
        """
        url = f"{self.base_url.rstrip('/')}/{path}"
        # What is compressed arrives in larger pieces, later.
        headers = {**self.headers, "accept-encoding": "identity"}
        come = 0
        try:
            async with await _post(session, url, orjson.dumps({**self.defaults, **request}), headers) as response:
                if response.status != OK:
                    raise refused(response.status, response.headers, await response.content.read(ERROR_LIMIT))
                try:
                    yield response.content
                finally:
                    come = response.content.total_bytes
        except aiohttp.ConnectionTimeoutError as error:
            raise ModelError("The model's provider cannot be reached.", status=504, retry_after=0.0) from error
        except TimeoutError as error:
            raise ModelError("The model did not answer in time.", status=504) from error
        except aiohttp.ClientError as error:
            message = "The connection to the model's provider failed."
            raise ModelError(message, retry_after=None if come else 0.0) from error


async def _post(
    session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]
) -> aiohttp.ClientResponse:
    """Post a request, again where a connection that was kept turns out to have been closed by its server.

    llama.cpp closes each right behind its answer, and whether that is seen before the next request is a matter of luck.
    """
    for _ in range(STALE_CONNECTIONS):
        try:
            return await session.post(url, data=body, headers=headers)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            continue
    return await session.post(url, data=body, headers=headers)
