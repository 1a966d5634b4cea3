"""The stand-in model's rules, in process: no socket is opened."""

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Awaitable, MutableMapping
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest

from turnstream_local.stand_in.answers import Defaults, answer
from turnstream_local.stand_in.app import StandIn
from turnstream_local.stand_in.chat_request import parse_chat_request
from turnstream_local.stand_in.pacer import Pacer
from turnstream_local.stand_in.schema import fill
from turnstream_local.stand_in.script import MAX_REQUESTS, MAX_SCRIPTS, Reply
from turnstream_local.stand_in.speech import Speech

WEATHER = {
    "type": "object",
    "properties": {
        "place": {"type": "string"},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer"},
        "note": {"type": "string"},
    },
    "required": ["place", "unit", "days"],
}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Make a client of a fresh stand-in in this process."""
    async with client_of(StandIn()) as made:
        yield made


def client_of(app: StandIn) -> httpx.AsyncClient:
    """Make a client that calls an application without a socket."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://stand-in")


def user(text: str) -> dict[str, Any]:
    """Make a user's message."""
    return {"role": "user", "content": text}


def tool(name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make the offer of a tool."""
    return {"type": "function", "function": {"name": name, "parameters": parameters or {"type": "object"}}}


async def post(client: httpx.AsyncClient, *messages: dict[str, Any], **options: Any) -> httpx.Response:
    """Ask for a chat completion."""
    body = {"model": "stand-in", "messages": list(messages), **options}
    return await client.post("/v1/chat/completions", json=body)


async def choice(client: httpx.AsyncClient, *messages: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Give the answer's only choice."""
    response = await post(client, *messages, **options)
    assert response.status_code == 200, response.text
    first: dict[str, Any] = response.json()["choices"][0]
    return first


async def say(client: httpx.AsyncClient, *messages: dict[str, Any], **options: Any) -> str:
    """Give the answer's text."""
    return str((await choice(client, *messages, **options))["message"]["content"])


async def stream(client: httpx.AsyncClient, *messages: dict[str, Any], **options: Any) -> list[Any]:
    """Give the frames of a stream; the last is the text behind `data: ` if it is not JSON."""
    response = await post(client, *messages, stream=True, **options)
    frames = [frame.removeprefix("data: ") for frame in response.text.split("\n\n") if frame]
    return [frame if frame == "[DONE]" else json.loads(frame) for frame in frames]


def texts(frames: list[Any]) -> list[str]:
    """Give the content of each chunk that has some."""
    deltas = [frame["choices"][0]["delta"] for frame in frames if isinstance(frame, dict) and frame.get("choices")]
    return [delta["content"] for delta in deltas if delta.get("content")]


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


async def test_directive_sets_the_calls_in_a_row(client: httpx.AsyncClient) -> None:
    """A directive says how often a tool is called for a message; by the results that stand behind it, it is known."""
    told: dict[str, Any] = {"role": "tool", "tool_call_id": "c", "content": "done"}
    messages: list[dict[str, Any]] = [user("[stand-in calls=2] Go")]
    reasons = []
    for _ in range(3):
        body = {"model": "stand-in", "messages": messages, "tools": [tool("look")]}
        [choice] = (await client.post("/v1/chat/completions", json=body)).json()["choices"]
        reasons.append(choice["finish_reason"])
        messages = [*messages, choice["message"], told]
    assert reasons == ["tool_calls", "tool_calls", "stop"]


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


async def test_tool_is_called_with_fitting_arguments(client: httpx.AsyncClient) -> None:
    """A user's message calls the tool; required arguments have their types and come from the text."""
    made = await choice(client, user("Rain in 3 days?"), tools=[tool("weather", WEATHER)])
    call = made["message"]["tool_calls"][0]["function"]
    assert made["finish_reason"] == "tool_calls"
    assert call["name"] == "weather"
    assert json.loads(call["arguments"]) == {"place": "Rain in 3 days?", "unit": "celsius", "days": 3}


@pytest.mark.parametrize(
    ("text", "tool_choice", "called"),
    [
        ("anything", "auto", "first"),
        ("use second now", None, "second"),
        ("use second now", {"type": "function", "function": {"name": "first"}}, "first"),
    ],
)
async def test_tool_is_chosen(client: httpx.AsyncClient, text: str, tool_choice: Any, called: str) -> None:
    """The tool is the one chosen by the request, else the one named in the text, else the first."""
    made = await choice(client, user(text), tools=[tool("first"), tool("second")], tool_choice=tool_choice)
    assert made["message"]["tool_calls"][0]["function"]["name"] == called


async def test_no_tool_is_called_when_forbidden(client: httpx.AsyncClient) -> None:
    """With tool choice `none` the answer is a text."""
    assert '"Hi"' in await say(client, user("Hi"), tools=[tool("first")], tool_choice="none")


async def test_tool_results_are_quoted(client: httpx.AsyncClient) -> None:
    """Behind tool results the answer is a text that quotes all of them."""
    results = [{"role": "tool", "tool_call_id": f"c{n}", "content": f"result {n}"} for n in (1, 2)]
    said = await say(client, user("Hi"), {"role": "assistant", "content": None}, *results, tools=[tool("t")])
    assert "result 1" in said
    assert "result 2" in said


async def test_json_answer_fits_the_schema(client: httpx.AsyncClient) -> None:
    """A response format is answered with JSON that fits it."""
    schema = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER}}
    assert json.loads(await say(client, user("7 days"), response_format=schema))["days"] == 7
    assert isinstance(json.loads(await say(client, user("Hi"), response_format={"type": "json_object"})), dict)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": ["null", "number"], "exclusiveMaximum": 4}, 3.5),
        ({"type": "integer", "minimum": 10}, 10),
        ({"type": "string", "maxLength": 4}, "take"),
        ({"anyOf": [{"type": "null"}, {"const": "x"}]}, "x"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, [4, 5, 5]),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "boolean"}}}, False),
        ({"allOf": [{"required": ["a"], "properties": {"a": {"type": "integer"}}}], "type": "object"}, {"a": 4}),
        ({"type": "string", "format": "date"}, "2025-01-01"),
    ],
)
def test_schema_is_filled(schema: dict[str, Any], value: Any) -> None:
    """Each kind of schema has its smallest value, with the text's numbers in turn."""
    assert fill(schema, "take 4 and 5") == value


def test_endless_schema_comes_to_an_end() -> None:
    """A schema that holds itself is filled to a depth."""
    assert fill({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "x")["a"]["a"]


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


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"model": "stand-in"}', "messages"),
        (b'{"model": "stand-in", "messages": []}', "messages"),
        (b'{"model": "stand-in", "messages": [{"role": "king", "content": "x"}]}', "messages.0.role"),
        (b'{"model": "stand-in", "messages": [{"role": "user", "content": "x"}], "n": 2}', "n"),
    ],
)
async def test_bad_body_is_refused(client: httpx.AsyncClient, body: bytes, param: str | None) -> None:
    """A body that makes no sense is a 400 in OpenAI's shape, naming the field."""
    response = await client.post("/v1/chat/completions", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert response.json()["error"]["param"] == param


async def test_unknown_model_is_refused(client: httpx.AsyncClient) -> None:
    """A model that is not served is a 404 in OpenAI's shape."""
    response = await post(client, user("Hi"), model="other")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


async def test_unknown_place_is_refused(client: httpx.AsyncClient) -> None:
    """An unknown path is a 404, a known one with another method a 405."""
    assert (await client.get("/nowhere")).status_code == 404
    assert (await client.put("/script")).status_code == 405


async def test_malformed_tool_schema_is_refused(client: httpx.AsyncClient) -> None:
    """A tool whose schema is no schema is a 400, not a failure of the server."""
    response = await post(client, user("Hi"), tools=[tool("t", {"type": "object", "required": 5})])
    assert response.status_code == 400


async def script(client: httpx.AsyncClient, match: str, *replies: dict[str, Any]) -> None:
    """Lay down a script."""
    response = await client.post("/script", json={"match": match, "replies": list(replies)})
    assert response.status_code == 201, response.text


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


def said(frames: list[Any]) -> list[tuple[str, str]]:
    """Give what each chunk says, by the delta's field."""
    deltas = [frame["choices"][0]["delta"] for frame in frames if isinstance(frame, dict) and frame.get("choices")]
    fields = ("reasoning_content", "content", "refusal")
    return [(field, delta[field]) for delta in deltas for field in fields if delta.get(field)]


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


class RecordingPacer(Pacer):
    """Keeps the times that were waited for, and lets everybody pass."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def now(self) -> float:
        """Stand still."""
        return 100.0

    def at(self, time: float) -> Awaitable[None]:
        """Keep the time."""
        self.times.append(time)
        return asyncio.sleep(0)


async def test_delays_do_not_add_up() -> None:
    """Each token's time counts from the start of the stream, the first one's delay from the request."""
    request = parse_chat_request({"model": "stand-in", "messages": [user("Hi")], "stream": True})
    reply = Reply(tokens=4, delay_ms=30, first_delay_ms=500)
    pacer = RecordingPacer()
    await Speech(request, answer(request, reply, Defaults()), pacer, AsyncMock(), None).run()
    assert pacer.times == pytest.approx([100.5, 100.53, 100.56, 100.59])


async def test_answer_stops_when_the_client_leaves() -> None:
    """Not one token is sent after the client has left."""
    left, third_sent, sent = asyncio.Event(), asyncio.Event(), list[bytes]()
    body = {"model": "stand-in", "messages": [user("[stand-in tokens=1000] Hi")], "stream": True}
    asked = iter([{"type": "http.request", "body": json.dumps(body).encode()}])

    async def receive() -> dict[str, Any]:
        if message := next(asked, None):
            return message
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message.get("body", b""))
        if len(sent) == 3:
            third_sent.set()
            await asyncio.get_running_loop().create_future()

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions"}
    serving = asyncio.ensure_future(StandIn()(scope, receive, send))
    await asyncio.wait_for(third_sent.wait(), 5)
    left.set()
    await asyncio.wait_for(serving, 5)
    assert len(sent) == 3


async def test_paced_waits_end_in_the_order_of_their_times() -> None:
    """Whoever is due earlier is woken earlier, and a time that has passed is due at once."""
    pacer, woken = Pacer(), list[str]()

    async def wait(name: str, seconds: float) -> None:
        await pacer.at(pacer.now() + seconds)
        woken.append(name)

    await asyncio.gather(wait("late", 0.02), wait("early", 0.005), wait("past", -1))
    assert woken == ["past", "early", "late"]


async def test_cancelled_wait_wakes_no_one_wrongly() -> None:
    """A wait that was given up does not disturb the other of the same millisecond."""
    pacer = Pacer()
    time = pacer.now() + 0.005
    given_up, kept = asyncio.ensure_future(pacer.at(time)), asyncio.ensure_future(pacer.at(time))
    given_up.cancel()
    await asyncio.wait_for(kept, 5)


async def complete(client: httpx.AsyncClient, **options: Any) -> httpx.Response:
    """Ask for the completion of a text."""
    return await client.post("/v1/completions", json={"model": "stand-in", "prompt": "Hello there", **options})


async def test_text_completion(client: httpx.AsyncClient) -> None:
    """A text is completed as a user's only message is answered, streamed and whole."""
    made = (await complete(client)).json()
    assert made["object"] == "text_completion"
    assert made["choices"][0]["text"] == await say(client, user("Hello there"))
    assert made["usage"]["completion_tokens"] > 0
    streamed = (await complete(client, stream=True, stream_options={"include_usage": True})).text
    frames = [frame.removeprefix("data: ") for frame in streamed.split("\n\n") if frame]
    assert frames[-1] == "[DONE]"
    chunks = [json.loads(frame) for frame in frames[:-1]]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == made["choices"][0]["text"]
    assert chunks[-1]["usage"] == made["usage"]
    assert (await complete(client, prompt=["Hello there"])).json()["choices"] == made["choices"]


async def test_text_completion_is_limited_and_scripted(client: httpx.AsyncClient) -> None:
    """Limits and scripts hold for texts too."""
    assert (await complete(client, max_tokens=3)).json()["choices"][0]["finish_reason"] == "length"
    await client.post("/script", json={"match": "there", "replies": [{"error": {"status": 503, "retry_after": 4}}]})
    refused = await complete(client)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "4")


@pytest.mark.parametrize("body", [{"prompt": None}, {"prompt": ["a", "b"]}, {"prompt": ""}])
async def test_bad_text_completion(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """A prompt that is no text is refused."""
    assert (await complete(client, **body)).json()["error"]["param"] == "prompt"


async def vectors(client: httpx.AsyncClient, texts: Any, **options: Any) -> list[Any]:
    """Ask for the vectors of texts."""
    body = {"model": "stand-in-embedding", "input": texts, **options}
    response = await client.post("/v1/embeddings", json=body)
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    assert [one["index"] for one in data] == list(range(len(data)))
    return [one["embedding"] for one in data]


async def test_embeddings_are_near_where_texts_are(client: httpx.AsyncClient) -> None:
    """A text's vector is always the same, of length one, and nearer to that of a text that shares words with it."""
    cat, other_cat, fish = await vectors(client, ["the black cat", "a black cat!", "some salted fish"])
    assert await vectors(client, "the black cat") == [cat]
    assert sum(value * value for value in cat) == pytest.approx(1)
    near, far = (sum(a * b for a, b in zip(cat, other, strict=True)) for other in (other_cat, fish))
    assert near > 0.5 > far


async def test_embeddings_as_they_are_asked_for(client: httpx.AsyncClient) -> None:
    """The size and the encoding of a vector can be chosen; tokens are embedded too."""
    [plain] = await vectors(client, "a cat", dimensions=5)
    [encoded] = await vectors(client, "a cat", dimensions=5, encoding_format="base64")
    assert list(struct.unpack("<5f", base64.b64decode(encoded))) == pytest.approx(plain)
    assert len(await vectors(client, [[1, 2], [3]])) == 2
    assert len(await vectors(client, [1, 2])) == 1
    assert len((await vectors(client, " ", dimensions=3))[0]) == 3


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "stand-in", "input": "a"}, 404),
        ({"model": "stand-in-embedding"}, 400),
        ({"model": "stand-in-embedding", "input": []}, 400),
        ({"model": "stand-in-embedding", "input": "a", "dimensions": 0}, 400),
        ({"model": "stand-in-embedding", "input": "a", "encoding_format": "hex"}, 400),
    ],
)
async def test_bad_embeddings(client: httpx.AsyncClient, body: dict[str, Any], status: int) -> None:
    """What cannot be embedded is refused, and so is a model that does not embed."""
    assert (await client.post("/v1/embeddings", json=body)).status_code == status


async def test_embeddings_are_scripted(client: httpx.AsyncClient) -> None:
    """A script makes embeddings fail, and their requests are kept."""
    await client.post("/script", json={"match": "cat", "replies": [{"error": {"status": 429, "retry_after": 2}}]})
    body = {"model": "stand-in-embedding", "input": ["a cat"]}
    refused = await client.post("/v1/embeddings", json=body)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert (await client.get("/requests", params={"match": "cat"})).json() == {"data": [body], "left": 0}


async def test_embedding_model_does_not_chat(client: httpx.AsyncClient) -> None:
    """The model that embeds does nothing else."""
    assert (await post(client, user("Hi"), model="stand-in-embedding")).status_code == 404
