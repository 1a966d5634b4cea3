"""What Turnstream emits is what the Open Responses specification says, and what its own /openapi.json says.

The specification lies beside the project, in ../shared/specs: where it does not, the tests that need it are skipped.
"""

from dataclasses import dataclass, field
from typing import Any, get_args

import httpx
import pytest
from pydantic import TypeAdapter
from support.deployment import Deployment, Gateway
from support.event_order import disorder
from support.reader import TIMEOUT, Event, Transcript, read_to_end, resume, start
from support.specification import FILE, Amendment, Specification

from turnstream_gateway.resource_events import StreamEvent, ToolProgress
from turnstream_gateway.resources import ItemList, ResponseResource

EVENT: TypeAdapter[Any] = TypeAdapter(StreamEvent)
RESPONSE: TypeAdapter[Any] = TypeAdapter(ResponseResource)
ITEMS: TypeAdapter[Any] = TypeAdapter(ItemList)

CUSTOM_CALL = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "shell", "input": "ls"}
# What the specification lacks; nothing else is let pass.
AMENDMENTS = {
    "a format's schema": Amendment(
        "JsonSchemaResponseFormat/properties/schema",
        "anyOf",
        {"type": "object"},
        "A response shows the schema that was asked for. The specification lets it be null alone, an oversight: in a "
        "request, JsonSchemaResponseFormatParam, it is an object.",
        {"type": "object"},
    ),
    "instructions": Amendment(
        "ResponseResource/properties/instructions/anyOf/0",
        "oneOf",
        {"type": "array", "items": {"$ref": "#/components/schemas/ItemField"}},
        "OpenAI's API takes items as instructions too, and shows them.",
        [{"type": "message", "id": "msg_1", "status": "completed", "role": "user", "content": []}],
    ),
    "custom tools": Amendment(
        "Tool",
        "oneOf",
        {"properties": {"type": {"const": "custom"}}, "required": ["type", "name", "description", "format"]},
        "OpenAI's API has tools that take text. The specification does not know them yet.",
        {"type": "custom", "name": "shell", "description": None, "format": None},
    ),
    "the choice of a custom tool": Amendment(
        "ResponseResource/properties/tool_choice",
        "oneOf",
        {"type": "object", "properties": {"type": {"const": "custom"}}, "required": ["type", "name"]},
        "The same.",
        {"type": "custom", "name": "shell"},
    ),
    "allowed custom tools": Amendment(
        "AllowedToolChoice/properties/tools/items",
        "oneOf",
        {"type": "object", "properties": {"type": {"const": "custom"}}, "required": ["type", "name"]},
        "The same.",
        {"type": "custom", "name": "shell"},
    ),
    "custom tools' calls": Amendment(
        "ItemField",
        "oneOf",
        {
            "properties": {
                "type": {"enum": ["custom_tool_call", "custom_tool_call_output"]},
                "status": {"$ref": "#/components/schemas/FunctionCallStatus"},
            },
            "required": ["type", "id", "call_id", "status"],
        },
        "The same.",
        {**CUSTOM_CALL, "status": "completed"},
    ),
    "tools of servers": Amendment(
        "Tool",
        "oneOf",
        {"properties": {"type": {"enum": ["mcp", "web_search"]}}, "required": ["type"]},
        "OpenAI's API has tools that a server runs. The specification does not know them yet.",
        {"type": "web_search", "search_context_size": "medium", "user_location": None, "filters": None},
    ),
    "the choice of a server's tool": Amendment(
        "ResponseResource/properties/tool_choice",
        "oneOf",
        {"type": "object", "properties": {"type": {"enum": ["mcp", "web_search"]}}, "required": ["type"]},
        "The same.",
        {"type": "mcp", "server_label": "wiki"},
    ),
    "allowed tools of servers": Amendment(
        "AllowedToolChoice/properties/tools/items",
        "oneOf",
        {"type": "object", "properties": {"type": {"enum": ["mcp", "web_search"]}}, "required": ["type"]},
        "The same.",
        {"type": "mcp", "server_label": "wiki", "name": "search"},
    ),
    "items of servers' tools": Amendment(
        "ItemField",
        "oneOf",
        {
            "properties": {
                "type": {
                    "enum": [
                        "mcp_list_tools",
                        "mcp_call",
                        "mcp_approval_request",
                        "mcp_approval_response",
                        "web_search_call",
                    ]
                }
            },
            "required": ["type", "id"],
        },
        "The same.",
        {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "wiki", "name": "search", "arguments": "{}"},
    ),
    "compaction": Amendment(
        "ItemField",
        "oneOf",
        {"properties": {"type": {"const": "compaction"}}, "required": ["type", "id", "encrypted_content"]},
        "OpenAI's API lets one item stand for all before it. The specification does not know it yet.",
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "sealed"},
    ),
}
# The events of tools that take text, and of those that a server runs, which the specification does not know either.
CUSTOM_EVENTS = {"response.custom_tool_call_input.delta", "response.custom_tool_call_input.done"}
NEW_EVENTS = {
    *CUSTOM_EVENTS,
    "response.mcp_call_arguments.delta",
    "response.mcp_call_arguments.done",
    *get_args(ToolProgress.model_fields["type"].annotation),
}

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
CLOCK = {"type": "function", "name": "clock"}
SHELL = {"type": "custom", "name": "shell", "description": "Runs a command."}
GRAMMAR = {"type": "custom", "name": "sum", "format": {"type": "grammar", "syntax": "regex", "definition": "[0-9]+"}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALLS = [{"name": "weather", "arguments": {"city": "Paris"}}, {"name": "clock", "arguments": {}}]
THOUGHT = {"reasoning": "Let me think about it.", "text": "Yes."}
REFUSED = {"status": 500, "message": "no"}


@dataclass(frozen=True)
class Scenario:
    """A turn, what the model says to it, and what it must come to, lest it proves nothing."""

    body: dict[str, Any] = field(default_factory=dict)
    reply: dict[str, Any] | None = None
    status: str = "completed"
    shows: frozenset[str] = frozenset(
        {"response.output_text.done"}
    )  # types of events and items, and fields that are set


CALLED = frozenset({"response.function_call_arguments.delta", "response.function_call_arguments.done"})
THINKING = frozenset({"response.reasoning.delta", "response.reasoning.done", "content"})
SUMMED_UP = frozenset({"response.reasoning_summary_part.done", "response.reasoning_summary_text.delta", "summary"})


SCENARIOS = {
    "text": Scenario(),
    "parameters": Scenario(
        {
            "instructions": "Be brief.",
            "metadata": {"for": "a test"},
            "temperature": 0.5,
            "top_p": 1,
            "presence_penalty": 1,
            "frequency_penalty": -1,
            "max_output_tokens": 100,
            "max_tool_calls": 3,
            "parallel_tool_calls": False,
            "truncation": "auto",
            "user": "u",
            "safety_identifier": "s",
            "prompt_cache_key": "k",
            "service_tier": "flex",
            "text": {"verbosity": "low"},
            "reasoning": {"effort": "low"},
            "store": True,
        }
    ),
    "not stored": Scenario({"store": False}),
    "without obfuscation": Scenario({"stream_options": {"include_obfuscation": False}}),
    "instructions as items": Scenario({"instructions": [{"role": "developer", "content": "Be brief."}]}),
    "every kind of item": Scenario(
        {
            "input": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "input_text", "text": "look at every kind of item"}]},
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "a"}],
                },
                {"role": "assistant", "content": "I shall.", "phase": "commentary"},
                {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
                CUSTOM_CALL | {"call_id": "call_2"},
                {
                    "type": "custom_tool_call_output",
                    "call_id": "call_2",
                    "output": [{"type": "input_text", "text": "a"}],
                },
            ]
        }
    ),
    "calls": Scenario({"tools": [WEATHER, CLOCK]}, {"tool_calls": CALLS}, shows=CALLED),
    "text and a call": Scenario(
        {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "weather"}},
        {"text": "Let me look.", "tool_calls": CALLS[:1]},
        shows=CALLED | {"response.output_text.done"},
    ),
    "allowed tools": Scenario(
        {
            "tools": [WEATHER, CLOCK],
            "tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": "clock"}]},
        },
        {"tool_calls": CALLS[1:]},
        shows=CALLED,
    ),
    "custom tool": Scenario(
        {"tools": [SHELL], "tool_choice": {"type": "custom", "name": "shell"}},
        {"tool_calls": [{"name": "shell", "arguments": {"input": "ls"}}]},
        shows=frozenset(CUSTOM_EVENTS),
    ),
    "allowed custom tool": Scenario(
        {
            "tools": [SHELL, GRAMMAR],
            "tool_choice": {"type": "allowed_tools", "tools": [{"type": "custom", "name": "shell"}]},
        },
        {"tool_calls": [{"name": "shell", "arguments": "not as JSON"}]},
        shows=frozenset(CUSTOM_EVENTS),
    ),
    "json_object": Scenario({"text": {"format": {"type": "json_object"}}}),
    "json_schema": Scenario({"text": {"format": {"type": "json_schema", "name": "city", "schema": SCHEMA}}}),
    "reasoning": Scenario({}, THOUGHT, shows=THINKING),
    "reasoning summed up": Scenario(
        {"reasoning": {"summary": "auto"}},
        THOUGHT,
        shows=THINKING | SUMMED_UP,
    ),
    "reasoning sealed": Scenario(
        {"include": ["reasoning.encrypted_content"]}, THOUGHT, shows=THINKING | {"encrypted_content"}
    ),
    "reasoning before a call": Scenario(
        {"tools": [WEATHER], "reasoning": {"summary": "detailed"}, "include": ["reasoning.encrypted_content"]},
        {"reasoning": "I need the weather.", "tool_calls": CALLS[:1]},
        shows=THINKING | SUMMED_UP | CALLED,
    ),
    "nothing but reasoning": Scenario({}, {"reasoning": "Let me think.", "text": ""}, shows=THINKING),
    "refusal": Scenario({}, {"refusal": "I will not."}, shows=frozenset({"response.refusal.done"})),
    "text and a refusal": Scenario(
        {},
        {"text": "Well,", "refusal": "I will not."},
        shows=frozenset({"response.output_text.done", "response.refusal.delta"}),
    ),
    "logprobs": Scenario(
        {"include": ["message.output_text.logprobs"], "top_logprobs": 2}, shows=frozenset({"logprobs"})
    ),
    "nothing said": Scenario({}, {"text": ""}, shows=frozenset()),
    "failed at once": Scenario({}, {"error": REFUSED}, "failed", frozenset()),
    "failed in its text": Scenario({}, {"text": "a b c", "error": REFUSED | {"after_tokens": 2}}, "failed"),
    "failed in its reasoning": Scenario({}, THOUGHT | {"error": REFUSED | {"after_tokens": 2}}, "failed", THINKING),
    "cut off": Scenario({"max_output_tokens": 16}, {"tokens": 50}, "incomplete"),
    "cut off in its reasoning": Scenario(
        {"max_output_tokens": 16}, {"reasoning": "hm " * 50, "text": "a"}, "incomplete", THINKING
    ),
    "cut off by a filter": Scenario({}, {"text": "a b", "finish_reason": "content_filter"}, "incomplete"),
    "compaction": Scenario(
        {
            "input": "sum up compaction " + "and so on " * 500,
            "context_management": [{"type": "compaction", "compact_threshold": 1000}],
        },
        shows=frozenset({"compaction", "encrypted_content", "response.output_text.done"}),
    ),
}


@dataclass
class Recorded:
    """What came of a turn, in every way of asking for it."""

    streams: list[list[Event]] = field(default_factory=list)
    responses: list[dict[str, Any]] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture(scope="session", params=SCENARIOS)
async def name(request: pytest.FixtureRequest) -> str:
    """Return the name of a scenario."""
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="session")
async def recorded(name: str, deployment: Deployment, gateway: Gateway) -> Recorded:
    """A scenario's turn: whole, streamed, streamed in the background, resumed, and retrieved."""
    scenario = SCENARIOS[name]
    body = {"model": "stand-in", "input": f"This is the scenario '{name}'.", **scenario.body}
    if scenario.reply is not None:
        await deployment.script(f"'{name}'", scenario.reply)
    recorded = Recorded()
    async with httpx.AsyncClient(base_url=gateway.url, timeout=TIMEOUT) as http:
        whole = {key: value for key, value in body.items() if key != "stream_options"}
        recorded.responses.append((await http.post("/v1/responses", json=whole)).json())
        recorded.streams.append(await streamed(gateway.url, **body))
        if body.get("store", True):
            recorded.streams.append(await streamed(gateway.url, **body, background=True))
            begun = (await http.post("/v1/responses", json={**whole, "background": True})).json()
            resumed = Transcript()
            await read_to_end(gateway.url, resumed, begun["id"])
            recorded.streams.append(resumed.events)
            path = f"/v1/responses/{begun['id']}"
            recorded.responses += [begun, (await http.get(path)).json()]
            recorded.inputs.append((await http.get(f"{path}/input_items")).json())
    return recorded


async def streamed(url: str, **body: Any) -> list[Event]:
    """Return the events of a new turn."""
    transcript = Transcript()
    async for _ in start(url, transcript, **body):
        pass
    return transcript.events


@pytest.fixture(scope="session")
def specification() -> Specification:
    """Return the specification, amended."""
    if not FILE.exists():
        pytest.skip("the specification does not lie beside the project")
    return Specification(list(AMENDMENTS.values()))


@pytest.mark.parametrize("amendment", AMENDMENTS.values(), ids=AMENDMENTS)
def test_amendments_are_needed(amendment: Amendment, specification: Specification) -> None:
    """Without an amendment what it is for does not fit: one that the specification has made good is to go."""
    assert Specification().complaints(amendment.of, amendment.example)
    assert specification.complaints(amendment.of, amendment.example) == []


def test_new_events_are_new(specification: Specification) -> None:
    """The events that are let pass are not in the specification: one that has come into it is to be held against it."""
    assert [kind for kind in NEW_EVENTS if specification.knows(kind)] == []


def test_scenario_is_what_it_says(name: str, recorded: Recorded) -> None:
    """A turn ends with the same status however it was asked for, and shows the events that its scenario is about."""
    scenario = SCENARIOS[name]
    ended = [events[-1]["response"] for events in recorded.streams]
    ended += [response for response in recorded.responses if response["status"] not in {"queued", "in_progress"}]
    assert {response["status"] for response in ended} == {scenario.status}
    for events in recorded.streams:
        assert shown(events) >= scenario.shows
    if scenario.status == "completed":
        assert all(response["usage"] for response in ended)


def test_events_are_in_order(recorded: Recorded) -> None:
    """Created and in_progress once, items and parts added before and done after what they hold, and the end at last."""
    for events in recorded.streams:
        assert disorder(events) == []


def test_fits_the_specification(recorded: Recorded, specification: Specification) -> None:
    """Every event, response and item fits the specification's schema."""
    assert_specified(specification, recorded)


def test_fits_the_description(recorded: Recorded) -> None:
    """Every event, response and item holds what /openapi.json says, and no field that it does not speak of."""
    assert_described(recorded)


async def test_resumed_anywhere(gateway: Gateway) -> None:
    """Resumed behind any event, a stream goes on with the very events that came the first time."""
    events = await streamed(gateway.url, input="[stand-in tokens=5] go on")
    for number in range(-1, len(events) - 1):
        resumed = Transcript(events[: number + 1])
        async for _ in resume(gateway.url, resumed, events[0]["response"]["id"]):
            pass
        assert resumed.events == events


async def test_prompt(gateway: Gateway, request: pytest.FixtureRequest) -> None:
    """A response made from a prompt shows it as the specification and the description allow."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=TIMEOUT) as http:
        made = await http.post("/v1/prompts", json={"prompt": "You are {{ who }}.", "variables": ["who"]})
    asked = {"id": made.json()["prompt_id"], "variables": {"who": "kind"}}
    check(Recorded([await streamed(gateway.url, input="Hello.", prompt=asked)]), request)


async def test_cancelled(gateway: Gateway, request: pytest.FixtureRequest) -> None:
    """A turn that is cancelled in mid-stream closes what it has begun, and ends as incomplete."""
    recorded, transcript = Recorded(), Transcript()
    async with httpx.AsyncClient(base_url=gateway.url, timeout=TIMEOUT) as http:
        async for event in start(gateway.url, transcript, input="[stand-in tokens=500 delay_ms=50] go on"):
            if event["type"] == "response.output_text.delta":
                break
        recorded.responses.append((await http.post(f"/v1/responses/{transcript.id}/cancel")).json())
        await read_to_end(gateway.url, transcript)
        recorded.responses.append((await http.get(f"/v1/responses/{transcript.id}")).json())
    recorded.streams.append(transcript.events)
    assert transcript.kinds()[-1] == "response.incomplete"
    assert {response["status"] for response in recorded.responses} == {"cancelled"}
    check(recorded, request)


@pytest.mark.parametrize("reply", [{"tokens": 200}, THOUGHT | {"reasoning": "hm " * 200}], ids=["text", "reasoning"])
async def test_taken_over(fragile: Deployment, request: pytest.FixtureRequest, reply: dict[str, Any]) -> None:
    """A turn that a second worker runs again goes on in the same order, with what the first had begun closed."""
    await fragile.script("taken over", {**reply, "delay_ms": 20}, {**reply, "delay_ms": 0})
    url = (await fragile.gateway()).url
    doomed = await fragile.worker()
    transcript = Transcript()
    async for _ in start(url, transcript, input="taken over"):
        if len(transcript.events) == 10:
            await doomed.kill()
            break
    await fragile.worker()
    await read_to_end(url, transcript)
    done = [event["item"] for event in transcript.events if event["type"] == "response.output_item.done"]
    assert done[0]["status"] == "incomplete"
    assert done[1:] == transcript.response["output"]
    check(Recorded([transcript.events], [transcript.response]), request)


async def test_events_expired(deployment: Deployment, gateway: Gateway, request: pytest.FixtureRequest) -> None:
    """The error that stands for events which are no longer kept fits the specification and the description."""
    [*_, ended] = await streamed(gateway.url, input="Hello.")
    await deployment.infrastructure.expire(ended["response"]["id"], keep=0)
    transcript = Transcript()
    async for _ in resume(gateway.url, transcript, ended["response"]["id"]):
        pass
    recorded = Recorded([transcript.events])
    assert [event["type"] for event in transcript.events] == ["error"]
    assert_described(recorded)
    if FILE.exists():
        assert_specified(request.getfixturevalue("specification"), recorded)


def shown(events: list[Event]) -> set[str]:
    """Return the types of events and their items, and what fields of them are set."""
    things = [*events, *(event["item"] for event in events if "item" in event)]
    return {thing["type"] for thing in things} | {key for thing in things for key, value in thing.items() if value}


def check(recorded: Recorded, request: pytest.FixtureRequest) -> None:
    """Hold a turn against all that the scenarios are held against."""
    for events in recorded.streams:
        assert disorder(events) == []
    assert_described(recorded)
    if FILE.exists():
        assert_specified(request.getfixturevalue("specification"), recorded)


def assert_specified(specification: Specification, recorded: Recorded) -> None:
    """Hold a turn against the specification."""
    events = [event for events in recorded.streams for event in events if event["type"] not in NEW_EVENTS]
    items = [item for page in recorded.inputs for item in page["data"]]
    complaints = [complaint for event in events for complaint in specification.event_complaints(event)]
    for schema, values in (("ResponseResource", recorded.responses), ("ItemField", items)):
        complaints += [complaint for value in values for complaint in specification.complaints(schema, value)]
    assert complaints == []


def assert_described(recorded: Recorded) -> None:
    """Hold a turn against the models of /openapi.json."""
    for events in recorded.streams:
        for event in events:
            EVENT.validate_python(event, strict=True, extra="forbid")
    for adapter, values in ((RESPONSE, recorded.responses), (ITEMS, recorded.inputs)):
        for value in values:
            adapter.validate_python(value, strict=True, extra="forbid")
