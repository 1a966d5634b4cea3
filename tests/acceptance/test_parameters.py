"""Every parameter of a response: what of it reaches the model, and what the response says of it."""

from itertools import count
from typing import Any

import openai
import pytest
from support.deployment import Deployment

_texts = (f"parameters {number:04}" for number in count())

# What a model is sent of a request that says nothing but its model and its input.
PLAIN = {"model", "messages", "stream", "stream_options"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
JSON_SCHEMA = {"type": "json_schema", "name": "thing", "schema": SCHEMA, "strict": True}


class Asking:
    """A client and the model that it asks."""

    def __init__(self, client: openai.AsyncOpenAI, deployment: Deployment) -> None:
        self._client = client
        self._deployment = deployment

    async def ask(self, directive: str = "", **asked: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Create a response; return the request that reached the model, and the response."""
        text = next(_texts)
        # As extra fields, since the SDK's own signature lags behind or runs ahead of the specification.
        body = {"input": directive + text, **asked}
        response = await self._client.responses.create(model="stand-in", extra_body=body)
        [request] = await self._deployment.model_requests(text)
        return request, response.to_dict()

    async def refusal(self, **asked: Any) -> openai.BadRequestError:
        """Return the error of a response that is refused."""
        with pytest.raises(openai.BadRequestError) as refused:
            await self._client.responses.create(model="stand-in", extra_body={"input": next(_texts), **asked})
        return refused.value


@pytest.fixture(scope="session")
def asking(client: openai.AsyncOpenAI, deployment: Deployment) -> Asking:
    """The openai SDK, and the model behind Turnstream."""
    return Asking(client, deployment)


async def test_nothing_asked(asking: Asking) -> None:
    """What a client leaves out is left to the model, and shown with the specification's defaults."""
    request, response = await asking.ask()
    assert set(request) == PLAIN
    assert [message["role"] for message in request["messages"]] == ["user"]
    defaults: dict[str, Any] = {
        "background": False,
        "conversation": None,
        "error": None,
        "frequency_penalty": 0,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "presence_penalty": 0,
        "previous_response_id": None,
        "prompt": None,
        "prompt_cache_key": None,
        "reasoning": None,
        "safety_identifier": None,
        "service_tier": "default",
        "store": True,
        "temperature": 1,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1,
        "truncation": "disabled",
        "user": None,
    }
    assert {name: response[name] for name in defaults} == defaults


@pytest.mark.parametrize(
    ("asked", "reaches"),
    [
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 2}, {"temperature": 2}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"presence_penalty": -2}, {"presence_penalty": -2}),
        ({"frequency_penalty": 2}, {"frequency_penalty": 2}),
        ({"max_output_tokens": 16}, {"max_tokens": 16}),
        ({"user": "u"}, {"user": "u"}),
        ({"safety_identifier": "s"}, {"safety_identifier": "s"}),
        ({"prompt_cache_key": "k"}, {"prompt_cache_key": "k"}),
        ({"parallel_tool_calls": False}, {}),  # says something of tools, and there is none
        ({"max_tool_calls": 3}, {}),
        ({"truncation": "auto"}, {}),
        ({"metadata": {"a": "1"}}, {}),
        ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"verbosity": "low"}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        ({"reasoning": {"effort": "high", "summary": None}}, {"reasoning_effort": "high"}),
        ({"reasoning": {"effort": None, "summary": "concise"}}, {}),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
    ],
)
async def test_passed_on_and_shown(asking: Asking, asked: dict[str, Any], reaches: dict[str, Any]) -> None:
    """A parameter is shown as it was asked, and reaches the model by the name that chat completions have for it."""
    request, response = await asking.ask(**asked)
    assert {name: request[name] for name in request.keys() - PLAIN} == reaches
    assert {name: response[name] for name in asked} == asked


async def test_json_schema(asking: Asking) -> None:
    """A schema reaches the model, and is shown, with its name, its strictness and its description if it has one."""
    request, response = await asking.ask(text={"format": JSON_SCHEMA})
    schema = {name: JSON_SCHEMA[name] for name in ("name", "schema", "strict")}
    assert request["response_format"] == {"type": "json_schema", "json_schema": schema}
    assert response["text"] == {"format": {**JSON_SCHEMA, "description": None}}
    described = {**JSON_SCHEMA, "description": "A thing."}
    request, response = await asking.ask(text={"format": described})
    assert request["response_format"]["json_schema"]["description"] == "A thing."
    assert response["text"] == {"format": described}


@pytest.mark.parametrize(
    ("asked", "reaches"),
    [("auto", None), ("default", "default"), ("flex", "flex"), ("priority", "priority"), ("fast", "fast")],
)
async def test_service_tier(asking: Asking, asked: str, reaches: str | None) -> None:
    """A tier is the provider's to choose: where it does not say which it was, the response claims the usual one."""
    request, response = await asking.ask(service_tier=asked)
    assert request.get("service_tier") == reaches
    assert response["service_tier"] == "default"


@pytest.mark.parametrize(
    "extra",
    [
        {"guided_choice": ["yes", "no"]},
        {"seed": 7, "stop": ["x"], "logit_bias": {"50256": -100}},
        {"chat_template_kwargs": {"enable_thinking": False, "deep": [[{"a": None}]]}},
        {"provider": {"order": ["a"]}, "prompt_items": 5, "stored": False},
        {"min_p": 0.1, "big": 1e300, "exact": 9007199254740993, "é": "\u2028"},
    ],
)
async def test_what_the_api_does_not_know(asking: Asking, extra: dict[str, Any]) -> None:
    """A parameter that the API does not know reaches the provider as it is, and changes nothing else."""
    request, response = await asking.ask(**extra)
    assert {name: request[name] for name in request.keys() - PLAIN} == extra
    assert not extra.keys() & response.keys()


async def test_what_cannot_be_replaced(asking: Asking) -> None:
    """No parameter of the provider's takes the place of the stream that Turnstream reads."""
    request, response = await asking.ask(echo=True, stream_options=None)
    assert request["stream"] is True
    assert request["stream_options"] == {"include_usage": True}
    assert response["usage"]["total_tokens"] > 0
    for name in ("messages", "max_completion_tokens", "n"):
        assert (await asking.refusal(**{name: 1})).param == name


async def test_max_output_tokens(asking: Asking) -> None:
    """An answer that the model had to cut off is incomplete, and says why."""
    _, response = await asking.ask("[stand-in tokens=50] ", max_output_tokens=16)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    [message] = response["output"]
    assert message["status"] == "incomplete"
    assert response["usage"]["output_tokens"] == 16


async def test_include(asking: Asking) -> None:
    """What belongs to tools that were not used may be included, and adds nothing; an unknown name is refused."""
    _, response = await asking.ask(include=["file_search_call.results", "web_search_call.action.sources"])
    assert [item["type"] for item in response["output"]] == ["message"]
    assert (await asking.refusal(include=["file_search_call"])).param == "include[0]"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"background": True, "store": False}, "store"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options"),
        ({"input": None}, "input"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"conversation": "conv_1", "previous_response_id": "resp_1"}, "previous_response_id"),
    ],
)
async def test_what_does_not_go_together(asking: Asking, asked: dict[str, Any], param: str) -> None:
    """Parameters that contradict each other are refused, never weighed against each other."""
    assert (await asking.refusal(**asked)).param == param


# Instructions


async def test_instructions(asking: Asking, client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """Instructions stand before the conversation, are shown, and hold for their own response alone."""
    request, response = await asking.ask(instructions="Be brief.")
    assert request["messages"][0] == {"role": "system", "content": "Be brief."}
    assert response["instructions"] == "Be brief."
    text = next(_texts)
    await client.responses.create(model="stand-in", input=text, previous_response_id=response["id"])
    [request] = await deployment.model_requests(text)
    assert [message["role"] for message in request["messages"]] == ["user", "assistant", "user"]


async def test_instructions_as_messages(asking: Asking, client: openai.AsyncOpenAI) -> None:
    """Instructions may be messages, are shown as the items that they became, and are no part of the input."""
    given = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "I like numbers."}]
    request, response = await asking.ask(instructions=given)
    assert request["messages"][:2] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "I like numbers."},
    ]
    shown = [(item["type"], item["role"], item["content"][0]["text"]) for item in response["instructions"]]
    assert shown == [("message", "developer", "Be brief."), ("message", "user", "I like numbers.")]
    assert len((await client.responses.input_items.list(response["id"])).data) == 1
    stored = await client.responses.retrieve(response["id"])
    assert isinstance(stored.instructions, list)


async def test_events_show_the_parameters(client: openai.AsyncOpenAI) -> None:
    """The response in the first events shows what was asked, before there is any answer."""
    stream = await client.responses.create(
        model="stand-in", input=next(_texts), stream=True, temperature=0.25, metadata={"a": "1"}, instructions="Hm."
    )
    events = [event async for event in stream if "response." in event.type and hasattr(event, "response")]
    assert [event.type for event in events] == ["response.created", "response.in_progress", "response.completed"]
    for event in events:
        shown = event.response
        assert (shown.temperature, shown.metadata, shown.instructions) == (0.25, {"a": "1"}, "Hm.")
