"""A small client of the gateway: which model there is, and one streamed turn."""

import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from turnstream_local.errors import KeyNeededError, TurnFailedError

TIMEOUT = httpx.Timeout(60.0, connect=5.0)  # seconds; the first for a silence between two events
END = "response.completed"


@dataclass(frozen=True)
class Turn:
    """What a streamed turn was like."""

    events: int
    contiguous: bool  # sequence numbers 0, 1, 2 … with no gap and no repetition
    first_token: float | None  # seconds from the request to the first text; None when there was none
    last_event: str  # its type
    error: str | None = None  # what the gateway said of a turn that failed

    @property
    def summary(self) -> str:
        """One line for the terminal."""
        numbers = "contiguous" if self.contiguous else "NOT contiguous"
        token = "no text" if self.first_token is None else f"first token after {self.first_token * 1000:.0f} ms"
        end = self.last_event + (f" ({self.error})" if self.error else "")
        return f"{self.events} events, sequence numbers {numbers}, {token}, ended with {end}"

    @property
    def as_promised(self) -> bool:
        """Whether the turn was completed and every event came once."""
        return self.contiguous and self.first_token is not None and self.last_event == END


async def first_model(url: str) -> str:
    """Ask a gateway for the first of its language models."""
    async with _client(url) as client:
        try:
            answer = await client.get("/v1/models")
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                raise KeyNeededError(f"the gateway at {url} asks for an API key")
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise TurnFailedError(f"the gateway at {url} does not list its models: {error}") from error
    models = [model for model in answer.json()["data"] if _speaks(model)]
    if not models:
        raise TurnFailedError(f"the gateway at {url} has no language model: look into the workers' logs")
    return str(models[0]["id"])


async def stream_turn(url: str, model: str, text: str, show: Callable[[str], None]) -> Turn:
    """Stream one turn, showing its text as it comes."""
    first_token = None
    numbers: list[int | None] = []
    last, error = "nothing", None
    async with _client(url) as client:
        started = time.perf_counter()
        async for event in _events(client, {"model": model, "input": text, "stream": True}):
            numbers.append(event.get("sequence_number"))
            last = str(event["type"])
            if last == "response.output_text.delta":
                first_token = first_token or time.perf_counter() - started
                show(event["delta"])
            elif last == "response.failed":
                error = (event["response"].get("error") or {}).get("message")
    return Turn(len(numbers), bool(numbers) and numbers == list(range(len(numbers))), first_token, last, error)


async def _events(client: httpx.AsyncClient, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    try:
        async with client.stream("POST", "/v1/responses", json=body) as answer:
            if answer.status_code != httpx.codes.OK:
                text = (await answer.aread()).decode(errors="replace")
                raise TurnFailedError(f"the gateway answered {answer.status_code}: {text[:500]}")
            async for line in answer.aiter_lines():
                data = line.removeprefix("data: ")
                if data is not line and data != "[DONE]":
                    yield json.loads(data)
    except httpx.HTTPError as error:
        raise TurnFailedError(f"the stream broke: {error!r}") from error


def _client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=TIMEOUT, trust_env=False)


def _speaks(model: dict[str, Any]) -> bool:
    # Llama Stack lists embedding models beside the others; OpenAI's own listing has no such field.
    kind = model.get("model_type") or (model.get("custom_metadata") or {}).get("model_type") or "llm"
    return bool(kind == "llm")
