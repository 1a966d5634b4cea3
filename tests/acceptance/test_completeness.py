"""A client can prove that it has all events of a turn, byte by byte, whichever way it got them."""

import httpx
import pytest
from support.deployment import Gateway
from support.reader import TIMEOUT

from turnstream.errors import IncompleteStreamError
from turnstream.verify import verify

BODY = {"model": "stand-in", "input": "[stand-in tokens=20] go on", "stream": True}


async def streamed(gateway: Gateway, method: str, path: str, **options: object) -> tuple[str, list[str]]:
    """Return the id of a turn, and the lines of a stream of its events."""
    async with (
        httpx.AsyncClient(base_url=gateway.url, timeout=TIMEOUT) as http,
        http.stream(method, path, **options) as answer,  # type: ignore[arg-type]  # passed on
    ):
        assert answer.status_code == httpx.codes.OK
        return answer.headers["x-response-id"], [line async for line in answer.aiter_lines()]


async def test_every_stream_proves_itself(gateway: Gateway) -> None:
    """A turn's events are proven as they come, when they are asked for again, and as a browser gets them."""
    turn, live = await streamed(gateway, "POST", "/v1/responses", json=BODY)
    proven = verify(live)
    assert proven.digest
    for path in (f"/v1/responses/{turn}?stream=true", f"/v1/turns/{turn}/events"):
        assert verify((await streamed(gateway, "GET", path))[1]) == proven


async def test_stream_in_pieces_proves_itself(gateway: Gateway) -> None:
    """The pieces of a stream that broke are proven together, and none alone."""
    turn, live = await streamed(gateway, "POST", "/v1/responses", json=BODY)
    _, rest = await streamed(gateway, "GET", f"/v1/responses/{turn}?stream=true&starting_after=5")
    begin = [line for line in live if line.startswith("data:")][:6]
    assert verify([*begin, *rest]) == verify(live)
    for part in (begin, rest, [*begin[:5], *rest], [*begin, begin[5], *rest]):
        with pytest.raises(IncompleteStreamError):
            verify(part)


async def test_without_obfuscation(gateway: Gateway) -> None:
    """The digest is of what is stored: of a turn begun without obfuscation, and not of a view that drops it."""
    turn, _ = await streamed(gateway, "POST", "/v1/responses", json=BODY)
    _, plain = await streamed(gateway, "GET", f"/v1/responses/{turn}?stream=true&include_obfuscation=false")
    with pytest.raises(IncompleteStreamError, match="digest"):
        verify(plain)
    options = {"include_obfuscation": False}
    _, bare = await streamed(gateway, "POST", "/v1/responses", json=BODY | {"stream_options": options})
    verify(bare)
