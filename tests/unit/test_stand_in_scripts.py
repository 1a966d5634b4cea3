"""What the stand-in model says when it is scripted, and which requests it keeps."""

from typing import Any

import httpx
from support.stand_in import choice, post, say, stream, texts, user

from turnstream_local.stand_in.script import MAX_REQUESTS, MAX_SCRIPTS


async def script(client: httpx.AsyncClient, match: str, *replies: dict[str, Any]) -> None:
    """Lay down a script."""
    response = await client.post("/script", json={"match": match, "replies": list(replies)})
    assert response.status_code == 201, response.text


def said(frames: list[Any]) -> list[tuple[str, str]]:
    """Give what each chunk says, by the delta's field."""
    deltas = [frame["choices"][0]["delta"] for frame in frames if isinstance(frame, dict) and frame.get("choices")]
    fields = ("reasoning_content", "content", "refusal")
    return [(field, delta[field]) for delta in deltas for field in fields if delta.get(field)]


async def test_replies_come_in_order_and_the_last_repeats(client: httpx.AsyncClient) -> None:
    """A script's replies are used one after another; others' requests do not use them up."""
    await script(client, "red", {"text": "one"}, {"text": "two"})
    said = [await say(client, user(text)) for text in ("a red one", "blue", "red", "red")]
    assert [said[0], said[2], said[3]] == ["one", "two", "two"]
    assert "blue" in said[1]


async def test_scripts_are_forgotten(client: httpx.AsyncClient) -> None:
    """After DELETE the stand-in answers by its rules again."""
    await script(client, "red", {"text": "one"})
    await client.delete("/script")
    assert "stand-in" in await say(client, user("red"))


async def test_misspelt_script_is_refused(client: httpx.AsyncClient) -> None:
    """A field that is not known is a 400, so that no test relies on it in vain."""
    response = await client.post("/script", json={"match": "x", "replies": [{"txt": "one"}]})
    assert response.status_code == 400


async def test_number_of_scripts_is_bounded(client: httpx.AsyncClient) -> None:
    """One script more than the limit is refused, a replaced one is not."""
    for number in range(MAX_SCRIPTS):
        await script(client, f"match {number}", {"text": "x"})
    await script(client, "match 0", {"text": "y"})
    response = await client.post("/script", json={"match": "more", "replies": [{"text": "x"}]})
    assert response.status_code == 409


async def test_scripted_chunks_and_ending(client: httpx.AsyncClient) -> None:
    """Chunks, usage and finish reason are sent as they were laid down."""
    usage = {"prompt_tokens": 5, "completion_tokens": 7}
    await script(client, "", {"chunks": ["a", " b\n"], "usage": usage, "finish_reason": "content_filter"})
    frames = await stream(client, user("Hi"), stream_options={"include_usage": True})
    assert texts(frames) == ["a", " b\n"]
    assert frames[-3]["choices"][0]["finish_reason"] == "content_filter"
    assert frames[-2]["usage"] == {**usage, "total_tokens": 12}


async def test_scripted_logprobs(client: httpx.AsyncClient) -> None:
    """Scripted logprobs belong to the tokens in order, the last one repeated."""
    await script(client, "", {"chunks": ["a", "b", "c"], "logprobs": [-1, -2]})
    made = await choice(client, user("Hi"), logprobs=True)
    assert [token["logprob"] for token in made["logprobs"]["content"]] == [-1, -2, -2]


async def test_scripted_reasoning_comes_first(client: httpx.AsyncClient) -> None:
    """What the stand-in thinks is sent before what it says, which may be its own, and is counted in the usage."""
    await script(client, "", {"reasoning": "Let me see."})
    frames = await stream(client, user("Hi"), stream_options={"include_usage": True})
    assert said(frames)[:3] == [("reasoning_content", token) for token in ("Let", " me", " see.")]
    assert {field for field, _ in said(frames)[3:]} == {"content"}
    assert frames[-2]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3}
    whole = (await choice(client, user("Hi")))["message"]
    assert whole["reasoning_content"] == "Let me see."
    assert whole["content"] == "".join(texts(frames))


async def test_scripted_refusal(client: httpx.AsyncClient) -> None:
    """A refusal stands in its own field, behind the text if there is one."""
    await script(client, "", {"text": "Well,", "refusal": "I will not."}, {"refusal": "No."})
    frames = await stream(client, user("Hi"))
    assert said(frames) == [("content", "Well,"), *(("refusal", token) for token in ("I", " will", " not."))]
    whole = (await choice(client, user("Hi")))["message"]
    assert (whole["content"], whole["refusal"]) == (None, "No.")


async def test_token_limit_counts_all_that_is_said(client: httpx.AsyncClient) -> None:
    """What is thought, said and refused shares the limit, in this order."""
    reply = {"reasoning": "a b", "text": "c d", "refusal": "e f", "tool_calls": [{"name": "g", "arguments": "h"}]}
    await script(client, "", reply)
    frames = await stream(client, user("Hi"), max_tokens=5)
    assert [token.strip() for _, token in said(frames)] == ["a", "b", "c", "d", "e"]
    assert frames[-2]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}


async def test_scripted_tool_calls_may_be_broken(client: httpx.AsyncClient) -> None:
    """Several calls are made, and arguments given as a string are sent as they are."""
    await script(client, "", {"tool_calls": [{"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": "{no"}]})
    calls = (await choice(client, user("Hi")))["message"]["tool_calls"]
    assert [call["function"] for call in calls] == [
        {"name": "a", "arguments": '{"x": 1}'},
        {"name": "b", "arguments": "{no"},
    ]


async def test_scripted_http_error(client: httpx.AsyncClient) -> None:
    """An error before the first byte has its status, its body and its header."""
    error = {"status": 429, "code": "rate_limit", "type": "requests", "message": "slow down", "retry_after": 1.5}
    await script(client, "", {"error": error})
    response = await post(client, user("Hi"), stream=True)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1.5"
    assert response.json()["error"] == {
        "message": "slow down",
        "type": "requests",
        "param": None,
        "code": "rate_limit",
    }


async def test_scripted_error_in_mid_stream(client: httpx.AsyncClient) -> None:
    """An error behind some tokens is an error frame and the end of the stream."""
    await script(client, "", {"text": "a b c d", "error": {"after_tokens": 2}})
    frames = await stream(client, user("Hi"))
    assert texts(frames) == ["a", " b"]
    assert frames[-1]["error"]["type"] == "server_error"


async def test_requests_are_kept(client: httpx.AsyncClient) -> None:
    """The bodies of matching requests are given back, oldest first, and only the last ones."""
    await post(client, user("mine 1"), temperature=0.5)
    await post(client, user("other"))
    await post(client, user("mine 2"))
    seen = (await client.get("/requests", params={"match": "mine"})).json()["data"]
    assert [body["messages"][0]["content"] for body in seen] == ["mine 1", "mine 2"]
    assert seen[0]["temperature"] == 0.5
    for _ in range(MAX_REQUESTS):
        await post(client, user("later"), max_tokens=1)
    assert (await client.get("/requests", params={"match": "mine"})).json()["data"] == []
