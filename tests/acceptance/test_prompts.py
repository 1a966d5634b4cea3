"""llama-stack-client's prompts, unchanged, against a running Turnstream."""

from collections.abc import AsyncIterator, Awaitable

import httpx
import llama_stack_api
import llama_stack_client
import pytest
from llama_stack_client import AsyncLlamaStackClient
from llama_stack_client.types import Prompt
from support.deployment import Gateway


@pytest.fixture(scope="session")
async def client(gateway: Gateway) -> AsyncIterator[AsyncLlamaStackClient]:
    """llama-stack-client, pointed at Turnstream."""
    async with AsyncLlamaStackClient(base_url=gateway.url, max_retries=0) as sdk:
        yield sdk


async def refusal(call: Awaitable[object], kind: type[llama_stack_client.APIStatusError]) -> object:
    """Return the error's code of a call that is refused."""
    with pytest.raises(kind) as refused:
        await call
    assert isinstance(refused.value.body, dict)
    return refused.value.body["error"]["code"]


async def test_life_of_a_prompt(client: AsyncLlamaStackClient) -> None:
    """A prompt is created, read, changed version by version, given another default, listed and deleted."""
    first = await client.prompts.create(prompt="You are in {{ city }}.", variables=["city"])
    assert (first.version, first.prompt, first.variables) == (1, "You are in {{ city }}.", ["city"])
    assert first.is_default
    assert await client.prompts.retrieve(first.prompt_id) == first

    second = await client.prompts.update(first.prompt_id, prompt="You are {{ name }}.", version=1, variables=["name"])
    assert (second.prompt_id, second.version, second.is_default) == (first.prompt_id, 2, True)
    third = await client.prompts.update(first.prompt_id, prompt="Be brief.", version=2, set_as_default=False)
    assert (third.version, third.variables, third.is_default) == (3, [], False)
    assert await client.prompts.retrieve(first.prompt_id) == second
    assert await client.prompts.retrieve(first.prompt_id, version=3) == third

    chosen = await client.prompts.set_default_version(first.prompt_id, version=1)
    assert chosen == first == await client.prompts.retrieve(first.prompt_id)
    versions = await client.prompts.versions.list(first.prompt_id)
    assert [(version.version, version.is_default) for version in versions] == [(1, True), (2, False), (3, False)]
    assert first in await client.prompts.list()

    await client.prompts.delete(first.prompt_id)
    assert first.prompt_id not in [prompt.prompt_id for prompt in await client.prompts.list()]
    assert await refusal(client.prompts.retrieve(first.prompt_id), llama_stack_client.NotFoundError)


async def test_shape(client: AsyncLlamaStackClient, gateway: Gateway) -> None:
    """A prompt has the fields of Llama Stack's own model and no other, and that takes its id; a deletion says null."""
    made: Prompt = await client.prompts.create(prompt="x")
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        raw = (await http.get(f"/v1/prompts/{made.prompt_id}")).json()
        assert set(raw) == set(llama_stack_api.Prompt.model_fields)
        assert llama_stack_api.Prompt(**raw).model_dump() == raw
        deleted = await http.delete(f"/v1/prompts/{made.prompt_id}")
    assert (deleted.status_code, deleted.json()) == (httpx.codes.OK, None)


async def test_what_is_refused(client: AsyncLlamaStackClient) -> None:
    """What is wrong is told with a status that the client has an error for, and a code."""
    bad, unknown = llama_stack_client.BadRequestError, llama_stack_client.NotFoundError
    prompts = client.prompts
    made = (await prompts.create(prompt="x")).prompt_id
    assert await refusal(prompts.create(prompt="{{ city }}"), bad) == "invalid_value"
    assert await refusal(prompts.update(made, prompt="{{ city }}", version=1), bad) == "invalid_value"
    assert await refusal(prompts.update(made, prompt="y", version=2), bad) == "prompt_version_not_latest"
    assert await refusal(prompts.create(prompt="x", extra_body={"colour": "red"}), bad) == "unknown_parameter"
    assert await refusal(prompts.retrieve(made, version=2), unknown) == "prompt_not_found"
    assert await refusal(prompts.retrieve(made, version=10**10), bad) == "invalid_value"
    assert await refusal(prompts.set_default_version(made, version=2), unknown) == "prompt_not_found"
    for call in (
        prompts.retrieve("pmpt_none"),
        prompts.versions.list("pmpt_none"),
        prompts.update("pmpt_none", prompt="x", version=1),
        prompts.delete("pmpt_none"),
    ):
        assert await refusal(call, unknown) == "prompt_not_found"
