"""The table of API keys on a real Postgres."""

import asyncpg
import pytest

from turnstream.database import Database
from turnstream.errors import SchemaError, TerminalError
from turnstream.ids import new_id
from turnstream.keys import WELL_FORMED, Keys, digest
from turnstream.keys import keys as keys_module


@pytest.fixture
def keys(database: Database) -> Keys:
    """The table on the real database."""
    return Keys(database)


async def test_a_key_names_its_tenant(keys: Keys) -> None:
    """Each key leads to its tenant, who may have several, by its digest."""
    made = [await keys.create(tenant) for tenant in ("acme", "acme", "globex")]
    callers = await keys.callers()
    assert [callers[digest(clear.encode())].tenant for _, clear in made] == ["acme", "acme", "globex"]
    assert len({clear for _, clear in made}) == 3
    assert await keys.any()


async def test_an_admin_key(keys: Keys) -> None:
    """A key is an admin key only if it was made as one, and is listed as that."""
    made = [await keys.create("acme"), await keys.create("acme", admin=True)]
    callers = await keys.callers()
    assert [callers[digest(clear.encode())].admin for _, clear in made] == [False, True]
    assert [key.admin for key in await keys.all() if key in [row for row, _ in made]] == [False, True]


async def test_a_key_is_not_kept(keys: Keys, database: Database) -> None:
    """What is stored is not the key, but what is needed to know it again."""
    key, clear = await keys.create("acme", "the first")
    assert WELL_FORMED.fullmatch(clear.encode())
    assert clear.startswith(key.hint)
    [row] = await database.run("SELECT * FROM api_keys WHERE id = $1", key.id)
    assert row["hash"] == digest(clear.encode())
    assert clear[len(key.hint) :] not in str(dict(row))
    assert (key.id[:4], key.tenant, key.name, key.revoked_at) == ("key_", "acme", "the first", None)


async def test_revoking(keys: Keys) -> None:
    """A revoked key leads nowhere, stays in the list, and keeps the time of its end when it is revoked again."""
    key, clear = await keys.create("acme")
    ended = await keys.revoke(key.id)
    assert ended is not None
    assert ended.revoked_at is not None
    assert digest(clear.encode()) not in await keys.callers()
    assert await keys.revoke(key.id) == ended
    assert ended in await keys.all()
    assert await keys.any()


async def test_revoking_what_is_not_there(keys: Keys) -> None:
    """There is nothing to revoke by an id that nobody has."""
    assert await keys.revoke(new_id("key_")) is None


async def test_listing(keys: Keys) -> None:
    """Keys are listed in the order in which they were made."""
    made = [(await keys.create("acme"))[0] for _ in range(3)]
    assert [key for key in await keys.all() if key in made] == made


async def test_a_statement_that_is_sent_twice(keys: Keys) -> None:
    """Making a key whose first answer was lost makes it once."""
    values = (new_id("key_"), "acme", "", digest(b"twice"), "ts_twice", 10_000, False)
    first, second = [list(await keys._run("create", *values)) for _ in range(2)]
    assert first == second
    assert len(first) == 1


@pytest.mark.parametrize("tenant", ["", "Acme", "a.b", "*", ">", "a b", "acme\n", "a" * 65, "é"])
async def test_a_name_that_is_no_tenant(keys: Keys, tenant: str) -> None:
    """The table itself takes no tenant that would mean something else in a subject."""
    with pytest.raises(asyncpg.CheckViolationError):
        await keys.create(tenant)


async def test_as_many_as_there_may_be(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a limit to the keys that every gateway has to hold."""
    monkeypatch.setattr(keys_module, "LIMIT", len(await keys.callers()) + 1)
    await keys.create("acme")
    with pytest.raises(TerminalError, match="revoke some"):
        await keys.create("acme")


async def test_a_table_that_is_missing(database: Database) -> None:
    """A database that the provisioning step has not brought up to date is said to be one."""
    with pytest.raises(SchemaError, match="run the provisioning step"):
        await database.run("SELECT FROM api_keys_of_a_later_version")
