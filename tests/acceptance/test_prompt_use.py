"""Prompts that were made with llama-stack-client, used in responses of the openai SDK."""

from base64 import b64encode
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import openai
import pytest
from llama_stack_client import AsyncLlamaStackClient
from support.deployment import Deployment, Gateway
from support.pictures import png

_names = (f"prompted {number}" for number in count())


@pytest.fixture(scope="session")
async def stack(gateway: Gateway) -> AsyncIterator[AsyncLlamaStackClient]:
    """llama-stack-client, pointed at Turnstream."""
    async with AsyncLlamaStackClient(base_url=gateway.url, max_retries=0) as sdk:
        yield sdk


async def said_to_model(deployment: Deployment, text: str) -> list[tuple[str, Any]]:
    """Return roles and contents of the messages that reached the model with a text."""
    [request] = await deployment.model_requests(text)
    return [(message["role"], message["content"]) for message in request["messages"]]


async def test_variables(client: openai.AsyncOpenAI, stack: AsyncLlamaStackClient, deployment: Deployment) -> None:
    """A prompt speaks before everything else, with values for its variables that are taken literally."""
    made = await stack.prompts.create(prompt="You are {{ name }} in {{ city }}.", variables=["name", "city"])
    text = next(_names)
    values: Any = {"name": "{{ city }}", "city": {"type": "input_text", "text": "Paris"}}
    response = await client.responses.create(
        model="stand-in", input=text, instructions="Be brief.", prompt={"id": made.prompt_id, "variables": values}
    )
    assert await said_to_model(deployment, text) == [
        ("system", "You are {{ city }} in Paris."),
        ("system", "Be brief."),
        ("user", text),
    ]
    assert response.prompt
    assert (response.prompt.id, response.prompt.version) == (made.prompt_id, "1")
    assert response.to_dict()["prompt"] == {"id": made.prompt_id, "version": "1", "variables": values}
    assert response.instructions == "Be brief."
    assert [item.to_dict()["content"] async for item in client.responses.input_items.list(response.id)] == [
        [{"type": "input_text", "text": text}]
    ]


async def test_versions(client: openai.AsyncOpenAI, stack: AsyncLlamaStackClient, deployment: Deployment) -> None:
    """The default version is meant where none is named, and a version that is named stays what it was."""
    made = await stack.prompts.create(prompt="first")
    await stack.prompts.update(made.prompt_id, prompt="second", version=1)
    await stack.prompts.update(made.prompt_id, prompt="third", version=2, set_as_default=False)
    for version, words in ((None, "second"), ("1", "first"), ("3", "third")):
        text = next(_names)
        response = await client.responses.create(
            model="stand-in", input=text, prompt={"id": made.prompt_id, "version": version}
        )
        assert (await said_to_model(deployment, text))[0] == ("system", words)
        assert response.prompt
        assert response.prompt.version == (version or "2")


async def test_image(client: openai.AsyncOpenAI, stack: AsyncLlamaStackClient, deployment: Deployment) -> None:
    """An image in place of a variable goes to the model behind the text that names it."""
    url = f"data:image/png;base64,{b64encode(png()).decode()}"
    made = await stack.prompts.create(prompt="Look at {{ picture }}.", variables=["picture"])
    text = next(_names)
    picture: Any = {"type": "input_image", "image_url": url, "detail": "low"}
    response = await client.responses.create(
        model="stand-in", input=text, prompt={"id": made.prompt_id, "variables": {"picture": picture}}
    )
    assert response.status == "completed", response.error
    system, shown, user = await said_to_model(deployment, text)
    assert system == ("system", "Look at [image: picture].")
    assert shown == ("user", [{"type": "image_url", "image_url": {"url": url, "detail": "low"}}])
    assert user == ("user", text)


async def test_without_input(client: openai.AsyncOpenAI, stack: AsyncLlamaStackClient) -> None:
    """A prompt alone is enough to be answered."""
    made = await stack.prompts.create(prompt="Say something.")
    response = await client.responses.create(model="stand-in", prompt={"id": made.prompt_id})
    assert response.status == "completed"
    assert response.output_text


async def test_not_carried_over(
    client: openai.AsyncOpenAI, stack: AsyncLlamaStackClient, deployment: Deployment
) -> None:
    """A prompt holds for its own response, as instructions do, and is no part of what is remembered."""
    made = await stack.prompts.create(prompt="You are a poet.")
    conversation = await client.conversations.create()
    first = await client.responses.create(
        model="stand-in", input=next(_names), prompt={"id": made.prompt_id}, conversation=conversation.id
    )
    for remembered in ({"previous_response_id": first.id}, {"conversation": conversation.id}):
        text = next(_names)
        asked: Any = {"model": "stand-in", "input": text, **remembered}
        await client.responses.create(**asked)
        assert [role for role, _ in await said_to_model(deployment, text)] == ["user", "assistant", "user"]


async def test_deleted(client: openai.AsyncOpenAI, stack: AsyncLlamaStackClient) -> None:
    """A response that a prompt was used in shows it still when the prompt is gone."""
    made = await stack.prompts.create(prompt="You are a poet.")
    response = await client.responses.create(model="stand-in", input=next(_names), prompt={"id": made.prompt_id})
    await stack.prompts.delete(made.prompt_id)
    assert await client.responses.retrieve(response.id) == response
    with pytest.raises(openai.NotFoundError) as refused:
        await client.responses.create(model="stand-in", input="x", prompt={"id": made.prompt_id})
    assert refused.value.code == "prompt_not_found"


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ({}, "missing_prompt_variables"),
        ({"variables": {"name": "Ada", "city": "Paris"}}, "undeclared_prompt_variables"),
        ({"variables": {"name": 5}}, "invalid_value"),
        ({"variables": {"name": "x" * 200_000}}, "prompt_too_long"),
        ({"version": "0"}, "invalid_value"),
        ({"version": "one"}, "invalid_value"),
        ({"version": 1}, "invalid_value"),
    ],
)
async def test_what_is_refused(
    client: openai.AsyncOpenAI, stack: AsyncLlamaStackClient, reference: dict[str, Any], code: str
) -> None:
    """A prompt that does not become a text is refused with the reason."""
    made = await stack.prompts.create(prompt="You are {{ name }}.", variables=["name"])
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(
            model="stand-in", input="x", extra_body={"prompt": {"id": made.prompt_id, **reference}}
        )
    assert refused.value.code == code
    assert str(refused.value.param).startswith("prompt.")
