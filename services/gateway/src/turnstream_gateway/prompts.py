"""Prompts and their versions, in Postgres. The gateway is the one owner of their tables."""

import secrets
from collections.abc import Sequence
from dataclasses import fields

from turnstream.database import Database, Row, named_queries
from turnstream.errors import ApiError, InvalidRequestError, NotFoundError
from turnstream.ids import is_well_formed, new_id
from turnstream_gateway.prompt import Prompt, RenderedPrompt
from turnstream_gateway.prompt_reference import PromptReference
from turnstream_gateway.prompt_requests import CreatePrompt, UpdatePrompt

# Llama Stack lists without pages, so these bound its lists; creations at once may go over the first by their number.
PROMPTS_LIMIT = 500  # of one tenant
VERSIONS_LIMIT = 500  # of one prompt

_SQL = named_queries("turnstream_gateway", "prompts.sql")
_COLUMNS = [field.name for field in fields(Prompt)]


class Prompts:
    """A tenant's prompts. Every method that names one raises NotFoundError for what is not this tenant's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, tenant: str, body: CreatePrompt) -> Prompt:
        """Store a new prompt, whose first version is the default; raise InvalidRequestError if there is no room."""
        prompt = new_id("pmpt_") + secrets.token_hex(8)  # Llama Stack's ids have 48 hex digits
        stored = await self._one("create", tenant, prompt, body.prompt, body.variables, PROMPTS_LIMIT)
        # Not stored now: it was by a try whose answer was lost, or there is no room.
        stored = stored or await self._one("version", tenant, prompt, None)
        if stored is None:
            message = f"There are {PROMPTS_LIMIT} prompts, which is the most there may be. Delete one that is not used."
            raise InvalidRequestError(message, code="too_many_prompts")
        return stored

    async def get(self, tenant: str, prompt: str, version: int | None = None, *, within: str = "") -> Prompt:
        """Return a version of a prompt, by default the default; an error's `param` stands `within` a body."""
        found = await self._one("version", tenant, prompt, version)
        if found is None and version is not None and await self._one("version", tenant, prompt, None):
            message = f"Prompt '{prompt}' has no version {version}."
            raise NotFoundError(message, code="prompt_not_found", param=f"{within}version")
        if found is None:
            raise _not_found(prompt, within)
        return found

    async def list(self, tenant: str) -> Sequence[Prompt]:
        """Return the default versions of all prompts, newest prompt first."""
        return _as_prompts(await self._run("defaults", tenant))

    async def versions(self, tenant: str, prompt: str) -> Sequence[Prompt]:
        """Return all versions of a prompt, oldest first."""
        await self.get(tenant, prompt)
        return _as_prompts(await self._run("versions", tenant, prompt))

    async def update(self, tenant: str, prompt: str, body: UpdatePrompt) -> Prompt:
        """Store a new version of a prompt, made from its latest; raise InvalidRequestError if there is a later one.

        An update that comes again, as when its answer was lost, returns the version that it has made.
        """
        new = (body.version, body.prompt, body.variables, body.set_as_default)
        made = await self._one("update", tenant, prompt, *new, VERSIONS_LIMIT)
        made = made or await self._one("updated", tenant, prompt, *new)
        if made is None:
            raise await self._refusal(tenant, prompt, body)
        return made

    async def set_default(self, tenant: str, prompt: str, version: int) -> Prompt:
        """Make a version the one that is meant where none is named; return it."""
        await self.get(tenant, prompt, version)
        chosen = await self._one("set_default", tenant, prompt, version)
        if chosen is None:  # deleted meanwhile
            raise _not_found(prompt)
        return chosen

    async def delete(self, tenant: str, prompt: str) -> None:
        """Delete a prompt with all of its versions."""
        await self.get(tenant, prompt)
        await self._run("delete", tenant, prompt)

    async def render(self, tenant: str, reference: PromptReference) -> RenderedPrompt:
        """Return a prompt with values for its variables, as `Prompt.render` does, for a body's parameter `prompt`."""
        version = int(reference.version) if reference.version else None
        prompt = await self.get(tenant, reference.id, version, within="prompt.")
        return prompt.render(reference.variables or {})

    async def _refusal(self, tenant: str, prompt: str, body: UpdatePrompt) -> ApiError:
        """Return what says why an update made no version."""
        latest = await self._one("latest", tenant, prompt)
        if latest is None:
            return _not_found(prompt)
        if latest.version == body.version:
            message = f"The prompt has {VERSIONS_LIMIT} versions, which is the most it may have. Create a new one."
            return InvalidRequestError(message, code="too_many_prompt_versions", param="version")
        message = f"Version {body.version} is not the latest of prompt '{prompt}', which is {latest.version}."
        return InvalidRequestError(message, code="prompt_version_not_latest", param="version")

    async def _one(self, name: str, tenant: str, prompt: str, *values: object) -> Prompt | None:
        found = _as_prompts(await self._run(name, tenant, prompt, *values)) if is_well_formed(prompt) else []
        return found[0] if found else None

    async def _run(self, name: str, *values: object) -> Sequence[Row]:
        return await self._database.run(_SQL[name], *values)


def _not_found(prompt: str, within: str = "") -> NotFoundError:
    return NotFoundError(f"Prompt '{prompt}' was not found.", code="prompt_not_found", param=f"{within}id")


def _as_prompts(rows: Sequence[Row]) -> Sequence[Prompt]:
    return [Prompt(*(row[column] for column in _COLUMNS)) for row in rows]
