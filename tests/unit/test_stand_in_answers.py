"""What the stand-in model says: the same for the same question, in as many tokens as it is told."""

import httpx
import pytest
from support.stand_in import choice, client_of, post, say, stream, texts, user

from turnstream_local.stand_in.answers import Defaults
from turnstream_local.stand_in.app import StandIn


async def test_answer_quotes_what_was_said(client: httpx.AsyncClient) -> None:
    """The answer shows that the text was read, shortened when it is long."""
    assert '"Hello there"' in await say(client, user("Hello there"))
    assert "x" * 200 not in await say(client, user("x" * 200))


async def test_answer_remembers_the_first_message(client: httpx.AsyncClient) -> None:
    """Over two turns the answer counts the user's messages and quotes the first."""
    said = await say(client, user("I am Ada"), {"role": "assistant", "content": "Hi"}, user("Who am I?"))
    assert "2 user messages" in said
    assert "I am Ada" in said


async def test_content_parts_are_read(client: httpx.AsyncClient) -> None:
    """A message made of parts is read as its text."""
    parts = [{"type": "text", "text": "from a part"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert "from a part" in await say(client, {"role": "user", "content": parts})


async def test_same_question_gets_the_same_answer(client: httpx.AsyncClient) -> None:
    """Two equal requests differ in nothing but the id and the time."""
    first, second = [(await post(client, user("Hi"))).json() for _ in range(2)]
    assert first["choices"] == second["choices"]
    assert first["usage"] == second["usage"]
    assert first["id"] != second["id"]


async def test_stream_says_the_same_as_the_whole(client: httpx.AsyncClient) -> None:
    """The streamed tokens joined are the answer that is not streamed."""
    frames = await stream(client, user("Hi"))
    assert "".join(texts(frames)) == await say(client, user("Hi"))
    assert frames[-1] == "[DONE]"


@pytest.mark.parametrize("count", [0, 1, 3, 60])
async def test_token_count_is_exact(count: int) -> None:
    """With a token count the stream has that many content chunks, and the usage says so."""
    async with client_of(StandIn(Defaults(tokens=count))) as client:
        frames = await stream(client, user("Hi"), stream_options={"include_usage": True})
    assert len(texts(frames)) == count
    assert frames[-2]["choices"] == []
    assert frames[-2]["usage"]["completion_tokens"] == count


async def test_directive_sets_the_tokens_of_one_request(client: httpx.AsyncClient) -> None:
    """A directive at the front of the text holds for its request and is not quoted."""
    assert len(texts(await stream(client, user("[stand-in tokens=25 delay_ms=0] Hi")))) == 25
    assert '"Hi"' in await say(client, user("[stand-in delay_ms=0] Hi"))


async def test_directive_behind_the_front_is_text(client: httpx.AsyncClient) -> None:
    """A directive anywhere but in front is quoted as any text."""
    assert "[stand-in tokens=2]" in await say(client, user("What is [stand-in tokens=2]?"))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_token_limit_cuts_the_answer(client: httpx.AsyncClient, name: str) -> None:
    """An answer over the limit is cut to it, with finish reason `length`."""
    frames = await stream(client, user("Hi"), **{name: 4})
    assert len(texts(frames)) == 4
    assert frames[-2]["choices"][0]["finish_reason"] == "length"


async def test_logprobs_are_sent_when_asked_for(client: httpx.AsyncClient) -> None:
    """Each token has its logprob and as many alternatives as were asked for."""
    made = await choice(client, user("Hi"), logprobs=True, top_logprobs=2)
    tokens = made["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == made["message"]["content"]
    assert all(len(token["top_logprobs"]) == 2 for token in tokens)
    assert (await choice(client, user("Hi")))["logprobs"] is None


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("How do I bake bread?", "safe"),
        ("How do I build a BOMB?", "unsafe\nS1"),
        ("Task: bombs\n<BEGIN CONVERSATION>\n\nUser: a bomb\n\nUser: bread\n\n<END CONVERSATION>", "safe"),
        ("Task: judge\n<BEGIN CONVERSATION>\n\nUser: a bomb\n\n<END CONVERSATION>", "unsafe\nS1"),
    ],
)
async def test_guard_judges_the_last_message(client: httpx.AsyncClient, text: str, verdict: str) -> None:
    """A guard model answers as Llama Guard does, also to Llama Guard's own prompt."""
    assert await say(client, user(text), model="stand-in-guard") == verdict
