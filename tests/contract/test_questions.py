"""Questions on a real Postgres: what they refer to is put in its place, and what makes no sense is refused."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr
from support.infrastructure import Infrastructure
from support.stored import OTHER, TENANT

from turnstream.database import Database
from turnstream.errors import ApiError, InvalidRequestError, NotConfiguredError, NotFoundError, TooLargeError
from turnstream.ids import item_id, new_id, owner_of
from turnstream.secrets import Secrets, new_key
from turnstream.settings import Settings
from turnstream.store import Store
from turnstream.turns import Item, Outcome
from turnstream_gateway.prompt_requests import CreatePrompt
from turnstream_gateway.prompts import Prompts
from turnstream_gateway.questions import PARAMETERS_LIMIT, SECRETS_LIMIT, Asked, Questions
from turnstream_gateway.requests import CreateResponse

USER = {"role": "user", "content": "hello"}
IMAGE = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
CUSTOM_CALL = {"type": "custom_tool_call", "call_id": "call_1", "name": "g", "input": "x"}
CUSTOM_OUTPUT = {**OUTPUT, "type": "custom_tool_call_output"}
REQUEST = {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "wiki", "name": "f", "arguments": "{}"}
APPROVAL = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
APPROVED = {
    "type": "mcp_call",
    "server_label": "wiki",
    "name": "f",
    "arguments": "{}",
    "approval_request_id": "mcpr_1",
}
KEY = SecretStr(new_key())
SERVER = {"type": "mcp", "server_label": "wiki", "server_url": "https://wiki.example"}


@pytest.fixture
async def questions(infrastructure: Infrastructure) -> AsyncIterator[Questions]:
    """Questions on the real database."""
    database = await Database.connect(Settings(nats_url="nats://unused", postgres_dsn=infrastructure.dsn))
    yield Questions(Store(database), Prompts(database), Secrets(KEY))
    await database.close()


async def ask(questions: Questions, given: Any = "hello", tenant: str = TENANT, **body: Any) -> Asked:
    """Read a question of a new turn."""
    asked = CreateResponse.model_validate({"model": "m", "input": given, **body})
    return await questions.read(tenant, new_id("resp_"), asked)


async def refusal(questions: Questions, given: Any, **body: Any) -> tuple[type[ApiError], str | None, str | None]:
    """Return how a question is refused: the error's class, code and place."""
    with pytest.raises(ApiError) as refused:
        await ask(questions, given, **body)
    return type(refused.value), refused.value.code, refused.value.param


async def stored(questions: Questions, *given: dict[str, Any], tenant: str = TENANT, **refers_to: Any) -> list[Item]:
    """Return the items of a turn that has asked this and has ended."""
    turn = new_id("resp_")
    asked = CreateResponse.model_validate({"model": "m", "input": list(given)})
    items = await questions.items(tenant, turn, asked.input or [])
    references = {"conversation": None, "previous": None, **refers_to}
    assert await questions.store.accept(turn, tenant, {"model": "m"}, items, **references)
    claimed = await questions.store.claim(turn, "a", 60)
    assert claimed is not None
    await questions.store.finish(claimed, Outcome("completed", []))
    return items


def reference(item: Item) -> dict[str, Any]:
    """Make a reference to an item."""
    return {"type": "item_reference", "id": item["id"]}


def texts(items: list[Item]) -> list[str]:
    """Return the texts of messages."""
    return ["".join(part["text"] for part in item["content"]) for item in items]


# Items


async def test_items_belong_to_their_turn(questions: Questions) -> None:
    """The items of a question are the turn's own, in their order."""
    asked = CreateResponse.model_validate({"model": "m", "input": [USER, {"role": "assistant", "content": "hi"}]})
    turn = new_id("resp_")
    read = await questions.read(TENANT, turn, asked)
    assert texts(read.items) == ["hello", "hi"]
    assert {owner_of(item["id"], "resp_") for item in read.items} == {turn}
    assert read.parameters == {"model": "m", "include": []}


async def test_reference(questions: Questions) -> None:
    """A reference becomes the item that it names, at its place."""
    [first, second] = await stored(questions, {**USER, "content": "one"}, {**USER, "content": "two"})
    asked = await ask(questions, [reference(second), USER, reference(first), reference(second)])
    assert texts(asked.items) == ["two", "hello", "one", "two"]
    assert asked.items[0] == {**second, "id": asked.items[0]["id"]}
    assert len({item["id"] for item in asked.items}) == 4  # each is an item of its own


async def test_reference_to_what_is_not_there(questions: Questions) -> None:
    """A reference to nothing, or to what is another tenant's, is refused where it stands."""
    [mine] = await stored(questions, USER)
    [theirs] = await stored(questions, USER, tenant=OTHER)
    for missing in ("msg_none", theirs["id"]):
        given = [reference(mine), {"id": missing}]
        assert await refusal(questions, given) == (NotFoundError, "item_not_found", "input")
        with pytest.raises(NotFoundError, match=missing):
            await ask(questions, given)


async def test_reference_into_the_conversation(questions: Questions) -> None:
    """What the conversation holds can be referred to, also if the turn that brought it was deleted."""
    of = (await questions.store.create_conversation(new_id("conv_"), TENANT, {})).id
    [item] = await stored(questions, USER, conversation=of)
    assert await questions.store.delete_turn(TENANT, owner_of(item["id"], "resp_"))
    assert texts((await ask(questions, [reference(item)], conversation=of)).items) == ["hello"]
    assert (await refusal(questions, [reference(item)]))[1] == "item_not_found"


async def test_no_input(questions: Questions) -> None:
    """A question that is asked by its past alone has no items."""
    assert (await ask(questions, None, previous_response_id="resp_1")).items == []


# Calls and their outputs


@pytest.mark.parametrize(
    "given",
    [
        [CALL, OUTPUT],
        [CUSTOM_CALL, CUSTOM_OUTPUT],
        [USER, CALL, {**CALL, "call_id": "call_2"}, {**OUTPUT, "call_id": "call_2"}, OUTPUT],
        [CALL],
    ],
)
async def test_output_of_a_call(questions: Questions, given: list[Any]) -> None:
    """An output stands with its call."""
    assert len((await ask(questions, given)).items) == len(given)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ([OUTPUT], 0),
        ([USER, CUSTOM_OUTPUT], 1),
        ([CALL, OUTPUT, {**OUTPUT, "call_id": "call_2"}], 2),
        ([CALL, CUSTOM_OUTPUT], 1),
        ([CUSTOM_CALL, OUTPUT], 1),
    ],
)
async def test_output_without_its_call(questions: Questions, given: list[Any], place: int) -> None:
    """An output that answers nothing is refused where it stands: providers refuse it too, and not clearly."""
    refused = await refusal(questions, given)
    assert refused == (InvalidRequestError, "invalid_value", f"input[{place}].call_id")


@pytest.mark.parametrize("past", ["previous_response_id", "conversation"])
async def test_output_of_an_earlier_call(questions: Questions, past: str) -> None:
    """An output may answer a call that stands in the past, which is not read here."""
    assert len((await ask(questions, [OUTPUT], **{past: "some_id"})).items) == 1


async def test_output_of_a_call_that_is_referred_to(questions: Questions) -> None:
    """An output may answer a call that is referred to."""
    [call] = await stored(questions, CALL)
    assert [item["type"] for item in (await ask(questions, [reference(call), OUTPUT])).items] == [
        "function_call",
        "function_call_output",
    ]


# Approvals


async def test_approval_follows_its_request(questions: Questions) -> None:
    """What names a request for approval goes on to name it, though one from elsewhere gets an id of its own here."""
    given = [USER, REQUEST, APPROVAL, APPROVED, {**REQUEST, "id": "mcpr_2"}]
    _, request, response, call, other = (await ask(questions, given)).items
    assert response["approval_request_id"] == call["approval_request_id"] == request["id"]
    assert request["id"] not in {"mcpr_1", other["id"]}


async def test_approval_of_what_is_referred_to(questions: Questions) -> None:
    """The same holds for a request that stands there by reference, which stays what it is."""
    [stands] = await stored(questions, REQUEST)
    given = [reference(stands), {**APPROVAL, "approval_request_id": stands["id"]}]
    request, response = (await ask(questions, given)).items
    assert response["approval_request_id"] == request["id"]
    assert request == stands


async def test_approval_of_what_was_asked_here(questions: Questions) -> None:
    """A request that was made here and is sent back is the same one, however often: it can be allowed once."""
    made = {**REQUEST, "id": item_id("mcpr_", new_id("resp_"))}
    given = [made, {**APPROVAL, "approval_request_id": made["id"]}]
    for _ in range(2):
        request, response = (await ask(questions, given)).items
        assert response["approval_request_id"] == request["id"] == made["id"]


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ([APPROVAL], 0),
        ([APPROVAL, REQUEST], 0),
        ([REQUEST, {**APPROVAL, "approval_request_id": "mcpr_2"}], 1),
        ([CALL, {**APPROVAL, "approval_request_id": "call_1"}], 1),
        ([{**REQUEST, "id": None}, APPROVAL], 1),
    ],
)
async def test_approval_of_nothing(questions: Questions, given: list[Any], place: int) -> None:
    """An approval that answers no request before it is refused where it stands."""
    refused = await refusal(questions, given)
    assert refused == (InvalidRequestError, "invalid_value", f"input[{place}].approval_request_id")


@pytest.mark.parametrize("past", ["previous_response_id", "conversation"])
async def test_approval_of_an_earlier_request(questions: Questions, past: str) -> None:
    """An approval may answer a request that stands in the past, by the id that it has there."""
    [response] = (await ask(questions, [APPROVAL], **{past: "some_id"})).items
    assert response["approval_request_id"] == "mcpr_1"


# Secrets


async def test_secrets_are_sealed_for_their_turn(questions: Questions) -> None:
    """What came along for tools and providers is sealed for the turn, and nothing of it is kept otherwise."""
    turn, tools = new_id("resp_"), [{**SERVER, "headers": {"x-key": "hush"}, "authorization": "hush-hush"}]
    body = CreateResponse.model_validate({"model": "m", "input": "hello", "tools": tools})
    asked = await questions.read(TENANT, turn, body, {"some_key": "hush"})
    assert asked.secrets
    assert "hush" not in repr(asked)
    assert Secrets(KEY).open(turn, asked.secrets) == {
        "tools": {"wiki": {"headers": {"x-key": "hush"}, "authorization": "hush-hush"}},
        "provider_data": {"some_key": "hush"},
    }


async def test_no_secrets(questions: Questions) -> None:
    """A question that brings none has none, also where none could be kept."""
    keyless = replace(questions, secrets=Secrets(None))
    body = CreateResponse.model_validate({"model": "m", "input": "hello", "tools": [SERVER]})
    assert (await keyless.read(TENANT, new_id("resp_"), body)).secrets is None
    assert (await keyless.read(TENANT, new_id("resp_"), body, {})).secrets is None


async def test_secrets_that_cannot_be_kept(questions: Questions) -> None:
    """A question that brings secrets is refused where the operator has set no key, and told which setting it is."""
    keyless = replace(questions, secrets=Secrets(None))
    with pytest.raises(NotConfiguredError, match="TURNSTREAM_SECRETS_KEY") as refused:
        await ask(keyless, tools=[{**SERVER, "authorization": "hush"}])
    assert refused.value.code == "secrets_not_configured"


async def test_too_many_secrets(questions: Questions) -> None:
    """Secrets have a limit of their own."""
    headers = {f"x-{number}": "x" * 8000 for number in range(SECRETS_LIMIT // 8000 + 1)}
    refused = await refusal(questions, "hello", tools=[{**SERVER, "headers": headers}])
    assert refused == (TooLargeError, "secrets_too_large", "tools")


# Instructions


async def test_instructions(questions: Questions) -> None:
    """Instructions are kept with the parameters, as text or as items."""
    assert (await ask(questions, instructions="Be brief.")).parameters["instructions"] == "Be brief."
    [item] = await stored(questions, {"role": "developer", "content": "Be brief."})
    given = [{"role": "system", "content": "Be kind."}, reference(item)]
    asked = await ask(questions, instructions=given)
    assert texts(asked.parameters["instructions"]) == ["Be kind.", "Be brief."]
    assert texts(asked.items) == ["hello"]


async def test_reference_in_instructions(questions: Questions) -> None:
    """A reference to nothing is refused there as well, and is said to stand there."""
    refused = await refusal(questions, "hello", instructions=[{"id": "msg_none"}])
    assert refused == (NotFoundError, "item_not_found", "instructions")


# Size


async def test_size_of_the_parameters(questions: Questions) -> None:
    """Parameters that would not fit into an event are refused, and the input may be larger."""
    room = PARAMETERS_LIMIT - len(b'{"model":"m","include":[],"instructions":""}')
    asked = await ask(questions, "x" * PARAMETERS_LIMIT, instructions="x" * room)
    assert len(asked.parameters["instructions"]) == room
    for body in ({"instructions": "x" * (room + 1)}, {"vendor": "x" * PARAMETERS_LIMIT}):
        refused = await refusal(questions, "hello", **body)
        assert refused == (TooLargeError, "parameters_too_large", None)


# Prompts


async def test_prompt(questions: Questions) -> None:
    """A prompt is shown with the version that was used, and stands before the conversation, what it shows behind it."""
    template = CreatePrompt(prompt="Hello {{ name }}, see {{ picture }}.", variables=["name", "picture"])
    prompt = await questions.prompts.create(TENANT, template)
    variables = {"name": "Ada", "picture": IMAGE}
    asked = await ask(questions, None, prompt={"id": prompt.id, "variables": variables})
    shown = asked.parameters["prompt"]
    assert (shown["id"], shown["version"], shown["variables"]["name"]) == (prompt.id, "1", "Ada")
    said, media = asked.parameters["prompt_items"]
    assert (said["role"], texts([said])) == ("developer", ["Hello Ada, see [image: picture]."])
    assert (media["role"], media["content"]) == ("user", [IMAGE])
    assert asked.items == []


async def test_prompt_without_variables(questions: Questions) -> None:
    """A prompt without variables is shown with none, which is null."""
    prompt = await questions.prompts.create(TENANT, CreatePrompt(prompt="Be brief."))
    parameters = (await ask(questions, prompt={"id": prompt.id})).parameters
    assert parameters["prompt"] == {"id": prompt.id, "version": "1", "variables": None}
    assert texts(parameters["prompt_items"]) == ["Be brief."]


async def test_prompt_of_another_tenant(questions: Questions) -> None:
    """Another tenant's prompt is not there."""
    prompt = await questions.prompts.create(OTHER, CreatePrompt(prompt="Be brief."))
    refused = await refusal(questions, "hello", prompt={"id": prompt.id})
    assert refused == (NotFoundError, "prompt_not_found", "prompt.id")
