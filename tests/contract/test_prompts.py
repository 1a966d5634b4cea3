"""Prompts on a real Postgres: how versions follow each other, whose they are, and that nothing is done twice."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from support.infrastructure import Infrastructure

from turnstream.database import Database, Row
from turnstream.errors import ApiError, InvalidRequestError, NotFoundError
from turnstream.ids import new_id
from turnstream.settings import Settings
from turnstream_gateway.prompt import Prompt
from turnstream_gateway.prompt_reference import PromptReference
from turnstream_gateway.prompt_requests import CreatePrompt, UpdatePrompt
from turnstream_gateway.prompts import PROMPTS_LIMIT, VERSIONS_LIMIT, Prompts


class Forgetful(Database):
    """A database that loses the first answer to each statement, and so sends all of them twice."""

    async def run(self, statement: str, *values: object, patience: float | None = None) -> Sequence[Row]:
        """Run it twice; return what it says the second time."""
        await super().run(statement, *values, patience=patience)
        return await super().run(statement, *values, patience=patience)


@pytest.fixture(params=[Database, Forgetful])
async def prompts(request: pytest.FixtureRequest, infrastructure: Infrastructure) -> AsyncIterator[Prompts]:
    """Prompts on the real database, and on one that loses answers."""
    settings = Settings(nats_url="nats://unused", postgres_dsn=infrastructure.dsn)
    database = await request.param.connect(settings)
    yield Prompts(database)
    await database.close()


@pytest.fixture
def tenant() -> str:
    """A tenant without prompts."""
    return new_id("tenant_")


async def create(prompts: Prompts, tenant: str, text: str = "one", variables: Sequence[str] = ()) -> Prompt:
    """Create a prompt."""
    return await prompts.create(tenant, CreatePrompt(prompt=text, variables=list(variables)))


async def update(prompts: Prompts, of: Prompt, tenant: str, text: str = "two", **body: Any) -> Prompt:
    """Make a new version from a version."""
    return await prompts.update(tenant, of.id, UpdatePrompt(**{"prompt": text, "version": of.version, **body}))


async def numbers(prompts: Prompts, tenant: str, prompt: str) -> list[tuple[int, bool]]:
    """Return the versions of a prompt, and which of them is the default."""
    return [(version.version, version.is_default) for version in await prompts.versions(tenant, prompt)]


async def refusal(call: Any) -> tuple[type[ApiError], str | None, str | None]:
    """Return how a call is refused: the error's class, code and parameter."""
    with pytest.raises(ApiError) as refused:
        await call
    return type(refused.value), refused.value.code, refused.value.param


async def test_create(prompts: Prompts, tenant: str) -> None:
    """A new prompt is version 1, the default, and found as it was made."""
    made = await create(prompts, tenant, "In {{ city }}", ["city"])
    assert made == Prompt(made.id, 1, "In {{ city }}", ["city"], is_default=True)
    assert made == await prompts.get(tenant, made.id) == await prompts.get(tenant, made.id, 1)
    assert await prompts.versions(tenant, made.id) == [made]
    assert await prompts.list(tenant) == [made]


async def test_update(prompts: Prompts, tenant: str) -> None:
    """Each update makes the next version, which is the default unless it is not to be; none changes an old one."""
    first = await create(prompts, tenant, "{{ a }}", ["a"])
    second = await update(prompts, first, tenant, "{{ b }}", variables=["b"])
    assert second == Prompt(first.id, 2, "{{ b }}", ["b"], is_default=True)
    third = await update(prompts, second, tenant, "three", set_as_default=False)
    assert (third.version, third.variables, third.is_default) == (3, [], False)
    assert await numbers(prompts, tenant, first.id) == [(1, False), (2, True), (3, False)]
    assert await prompts.get(tenant, first.id) == second
    old = await prompts.get(tenant, first.id, 1)
    assert (old.template, old.variables) == ("{{ a }}", ["a"])


async def test_default_version(prompts: Prompts, tenant: str) -> None:
    """Any version can be made the one that is meant where none is named, and that lists show."""
    first = await create(prompts, tenant)
    await update(prompts, first, tenant)
    assert await prompts.set_default(tenant, first.id, 1) == first
    assert await prompts.get(tenant, first.id) == first
    assert await prompts.list(tenant) == [first]
    assert await numbers(prompts, tenant, first.id) == [(1, True), (2, False)]


async def test_update_of_an_old_version(prompts: Prompts, tenant: str) -> None:
    """An update made from a version that is not the latest is refused and told the latest, and changes nothing."""
    first = await create(prompts, tenant)
    await update(prompts, first, tenant)
    for version in (1, 3, 400):
        stale = prompts.update(tenant, first.id, UpdatePrompt(prompt="stale", version=version))
        with pytest.raises(InvalidRequestError, match="which is 2") as refused:
            await stale
        assert (refused.value.code, refused.value.param) == ("prompt_version_not_latest", "version")
    assert await numbers(prompts, tenant, first.id) == [(1, False), (2, True)]


async def test_updates_at_once(prompts: Prompts, tenant: str) -> None:
    """Of many who update the same version at once one wins, and the others are told that it is not the latest."""
    first = await create(prompts, tenant)
    updates = [update(prompts, first, tenant, f"text {n}") for n in range(8)]
    results = await asyncio.gather(*updates, return_exceptions=True)
    [won] = [result for result in results if isinstance(result, Prompt)]
    codes = {result.code for result in results if isinstance(result, InvalidRequestError)}
    assert codes == {"prompt_version_not_latest"}
    assert await prompts.get(tenant, first.id) == won
    assert await numbers(prompts, tenant, first.id) == [(1, False), (2, True)]


async def test_update_that_is_sent_again(prompts: Prompts, tenant: str) -> None:
    """The same update, sent again since its answer was lost, makes no further version and is answered the same."""
    first = await create(prompts, tenant)
    second = await update(prompts, first, tenant, "two", set_as_default=False)
    assert await update(prompts, first, tenant, "two", set_as_default=False) == second
    wants_more = update(prompts, first, tenant, "two", set_as_default=True)
    assert await refusal(wants_more) == (InvalidRequestError, "prompt_version_not_latest", "version")
    assert await numbers(prompts, tenant, first.id) == [(1, True), (2, False)]


async def test_delete(prompts: Prompts, tenant: str) -> None:
    """A deleted prompt is gone with all of its versions, and no other one is."""
    first, kept = await create(prompts, tenant), await create(prompts, tenant)
    await update(prompts, first, tenant)
    await prompts.delete(tenant, first.id)
    assert await refusal(prompts.get(tenant, first.id, 2)) == (NotFoundError, "prompt_not_found", "id")
    assert await prompts.list(tenant) == [kept]


async def test_deletion_and_update_at_once(prompts: Prompts, tenant: str) -> None:
    """A prompt that is deleted while it is updated is gone, whichever came first, and nothing else goes wrong."""
    for _ in range(10):
        made = await create(prompts, tenant)
        deleted, *updated = await asyncio.gather(
            prompts.delete(tenant, made.id),
            *(update(prompts, made, tenant, f"text {n}") for n in range(3)),
            return_exceptions=True,
        )
        assert deleted is None
        assert all(isinstance(result, Prompt | NotFoundError | InvalidRequestError) for result in updated)
        assert await prompts.list(tenant) == []


async def test_list_is_newest_first(prompts: Prompts, tenant: str) -> None:
    """Prompts are listed by the time they were made, newest first, each by its default version."""
    made = [await create(prompts, tenant, f"prompt {n}") for n in range(3)]
    defaults = [await update(prompts, made[0], tenant), *made[1:]]
    # Those of one millisecond stand in any order.
    assert await prompts.list(tenant) == sorted(defaults, key=lambda prompt: prompt.id, reverse=True)


async def test_tenants_see_only_their_own(prompts: Prompts, tenant: str) -> None:
    """Another tenant's prompt can be neither read, used, listed, changed nor deleted: it is as if it were not there."""
    made = await create(prompts, tenant)
    other = new_id("tenant_")
    for call in (
        prompts.get(other, made.id),
        prompts.get(other, made.id, 1),
        prompts.versions(other, made.id),
        update(prompts, made, other),
        prompts.set_default(other, made.id, 1),
        prompts.delete(other, made.id),
    ):
        assert await refusal(call) == (NotFoundError, "prompt_not_found", "id")
    used = prompts.render(other, PromptReference(id=made.id))
    assert await refusal(used) == (NotFoundError, "prompt_not_found", "prompt.id")
    assert await prompts.list(other) == []
    assert await prompts.list(tenant) == [made]


@pytest.mark.parametrize("prompt", ["pmpt_none", "no.dots", "a\0b", ""])
async def test_what_names_no_prompt(prompts: Prompts, tenant: str, prompt: str) -> None:
    """An id that is nobody's, or none at all, is not found."""
    for call in (
        prompts.get(tenant, prompt),
        prompts.versions(tenant, prompt),
        prompts.update(tenant, prompt, UpdatePrompt(prompt="x", version=1)),
        prompts.set_default(tenant, prompt, 1),
        prompts.delete(tenant, prompt),
    ):
        assert await refusal(call) == (NotFoundError, "prompt_not_found", "id")


async def test_unknown_version(prompts: Prompts, tenant: str) -> None:
    """A version that a prompt does not have is not found, which is said of the version and not of the prompt."""
    made = await create(prompts, tenant)
    for call in (prompts.get(tenant, made.id, 2), prompts.set_default(tenant, made.id, 2)):
        assert await refusal(call) == (NotFoundError, "prompt_not_found", "version")
    assert await prompts.get(tenant, made.id) == made


async def test_render(prompts: Prompts, tenant: str) -> None:
    """A reference is to the default version, or to the one that it names, with values for that one's variables."""
    first = await create(prompts, tenant, "Hello {{ name }}.", ["name"])
    await update(prompts, first, tenant, "Good morning.")
    by_default = await prompts.render(tenant, PromptReference(id=first.id))
    assert (by_default.text, by_default.version) == ("Good morning.", 2)
    named = PromptReference(id=first.id, version="1", variables={"name": "Ada"})
    rendered = await prompts.render(tenant, named)
    assert (rendered.text, rendered.version) == ("Hello Ada.", 1)
    unknown = prompts.render(tenant, PromptReference(id=first.id, version="3"))
    assert await refusal(unknown) == (NotFoundError, "prompt_not_found", "prompt.version")
    missing = prompts.render(tenant, PromptReference(id=first.id, version="1"))
    assert await refusal(missing) == (InvalidRequestError, "missing_prompt_variables", "prompt.variables")


async def test_number_of_prompts_is_bounded(prompts: Prompts, tenant: str) -> None:
    """A tenant may have so many prompts and no more; deleting one makes room, and others have room all the while."""
    made = [await create(prompts, tenant) for _ in range(PROMPTS_LIMIT)]
    assert await refusal(create(prompts, tenant)) == (InvalidRequestError, "too_many_prompts", None)
    await create(prompts, new_id("tenant_"))
    await prompts.delete(tenant, made[0].id)
    await create(prompts, tenant)
    assert len(await prompts.list(tenant)) == PROMPTS_LIMIT


async def test_number_of_versions_is_bounded(prompts: Prompts, tenant: str) -> None:
    """A prompt may have so many versions and no more."""
    latest = await create(prompts, tenant)
    for n in range(1, VERSIONS_LIMIT):
        latest = await update(prompts, latest, tenant, f"text {n}")
    assert latest.version == VERSIONS_LIMIT
    refused = await refusal(update(prompts, latest, tenant, "one too many"))
    assert refused == (InvalidRequestError, "too_many_prompt_versions", "version")
    assert len(await prompts.versions(tenant, latest.id)) == VERSIONS_LIMIT
