"""Whose request it is, as far as the gateway knows the keys."""

import asyncio

import pytest

from turnstream.errors import AuthenticationError, StoreUnavailableError
from turnstream.keys import Caller, Keys, digest
from turnstream.subjects import DEFAULT_TENANT
from turnstream_gateway import keyring as keyring_module
from turnstream_gateway.keyring import Keyring

LONG = 60  # seconds; longer than any test
AT_ONCE = 1e-9  # seconds; over when the next request comes
ADMIN = "root"  # the tenant with an admin key
OURS, THEIRS, STRANGE = (b"ts_" + letter * 43 for letter in (b"a", b"b", b"c"))
NO_KEYS = [None, b"", b"none", b"sk-x", OURS[:-1], OURS + b"a", OURS + b"\n"]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are read again at once."""
    monkeypatch.setattr(keyring_module, "PAUSE", 0)


class Table(Keys):
    """The table of keys as a test sets it, which counts how often it is read."""

    def __init__(self, **tenants: bytes) -> None:
        self.valid = {digest(key): Caller(tenant, tenant == ADMIN) for tenant, key in tenants.items()}
        self.ever = bool(tenants)
        self.readings = 0
        self.being_read = asyncio.Event()
        self.away = False

    async def callers(self) -> dict[bytes, Caller]:
        """Return the valid keys, as the real one does."""
        self.readings += 1
        valid = dict(self.valid)
        self.being_read.set()
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailableError("away")
        return valid

    async def any(self) -> bool:
        """Tell whether there has been a key."""
        return self.ever


@pytest.mark.parametrize("bearer", NO_KEYS)
async def test_everybody_is_the_default_tenant_without_keys(bearer: bytes | None) -> None:
    """Until there is a key nobody needs one, and what SDKs send in its place is passed over."""
    assert await Keyring(Table(), LONG, private=True).caller(bearer) == (DEFAULT_TENANT, True)


async def test_a_key_is_never_passed_over() -> None:
    """What carries a key that looks like ours is refused rather than taken for the default tenant's."""
    with pytest.raises(AuthenticationError):
        await Keyring(Table(), LONG, private=True).caller(OURS)


@pytest.mark.parametrize("bearer", [*NO_KEYS, OURS])
async def test_nobody_is_let_in_from_elsewhere_without_keys(bearer: bytes | None) -> None:
    """A gateway that others can reach serves nobody while there is no key, however it came to be started."""
    with pytest.raises(AuthenticationError):
        await Keyring(Table(), LONG, private=False).caller(bearer)


@pytest.mark.parametrize("private", [True, False])
async def test_keys_name_their_tenants(*, private: bool) -> None:
    """Each key is its own tenant's; nothing else is let in any more."""
    keyring = Keyring(Table(acme=OURS, globex=THEIRS), LONG, private=private)
    assert [await keyring.caller(key) for key in (OURS, THEIRS)] == [("acme", False), ("globex", False)]
    for bearer in (*NO_KEYS, STRANGE):
        with pytest.raises(AuthenticationError):
            await keyring.caller(bearer)


async def test_admin_keys() -> None:
    """Only a key that was made for it makes an operator of who sends it."""
    keyring = Keyring(Table(acme=OURS, root=THEIRS), LONG, private=True)
    assert [(await keyring.caller(key)).admin for key in (OURS, THEIRS)] == [False, True]


async def test_only_revoked_keys() -> None:
    """A system whose keys were all revoked is closed, not open."""
    table = Table()
    table.ever = True
    with pytest.raises(AuthenticationError):
        await Keyring(table, LONG, private=True).caller(None)


async def test_closed_for_good() -> None:
    """A gateway that has seen a key does not open again, even if the table is emptied."""
    table = Table(acme=OURS)
    keyring = Keyring(table, AT_ONCE, private=True)
    assert (await keyring.caller(OURS)).tenant == "acme"
    table.valid, table.ever = {}, False
    with pytest.raises(AuthenticationError):
        await keyring.caller(None)


async def test_a_known_key_costs_no_reading() -> None:
    """A key that is known is not looked up again while what was read is good."""
    table = Table(acme=OURS)
    keyring = Keyring(table, LONG, private=True)
    assert {(await keyring.caller(OURS)).tenant for _ in range(100)} == {"acme"}
    assert table.readings == 1


async def test_a_new_key_works_at_once() -> None:
    """A key is valid from the moment on that it was made."""
    table = Table(acme=OURS)
    keyring = Keyring(table, LONG, private=True)
    await keyring.caller(OURS)
    table.valid[digest(THEIRS)] = Caller("globex", admin=False)
    assert (await keyring.caller(THEIRS)).tenant == "globex"


async def test_a_key_made_during_a_reading_works_at_once() -> None:
    """A reading that began before a request came does not speak for the key that the request carries."""
    table = Table(acme=OURS)
    keyring = Keyring(table, LONG, private=True)
    first = asyncio.create_task(keyring.caller(OURS))
    await table.being_read.wait()
    table.valid[digest(THEIRS)] = Caller("globex", admin=False)
    assert (await keyring.caller(THEIRS)).tenant == "globex"
    assert (await first).tenant == "acme"


async def test_a_revoked_key_ends() -> None:
    """A key is refused once what was read before it was revoked is good no more."""
    table = Table(acme=OURS)
    keyring = Keyring(table, AT_ONCE, private=True)
    assert (await keyring.caller(OURS)).tenant == "acme"
    table.valid = {}
    with pytest.raises(AuthenticationError):
        await keyring.caller(OURS)


async def test_a_revoked_key_in_use() -> None:
    """Whoever uses a key that is revoked is told so, also while nobody asks, and with the error that askers get."""
    table = Table(acme=OURS, globex=THEIRS)
    keyring = Keyring(table, AT_ONCE, private=True)
    ended, others = [asyncio.get_running_loop().create_future() for _ in range(2)]
    with keyring.in_use(OURS, ended.set_result), keyring.in_use(THEIRS, others.set_result):
        del table.valid[digest(OURS)]
        async with asyncio.timeout(LONG):
            error = await ended
    assert (type(error), error.code) == (AuthenticationError, "invalid_api_key")
    assert not others.done()


async def test_no_key_in_use_once_there_are_keys() -> None:
    """What began when nobody needed a key ends once there is one."""
    table = Table()
    ended = asyncio.get_running_loop().create_future()
    with Keyring(table, AT_ONCE, private=True).in_use(None, ended.set_result):
        table.valid = {digest(OURS): Caller("acme", admin=False)}
        async with asyncio.timeout(LONG):
            assert (await ended).code == "invalid_api_key"


async def test_a_key_in_use_while_the_store_is_away() -> None:
    """As long as it cannot be told whether a key was revoked, what uses it goes on; and then it is looked at again."""
    table = Table(acme=OURS)
    table.away = True
    ended = asyncio.get_running_loop().create_future()
    with Keyring(table, AT_ONCE, private=True).in_use(OURS, ended.set_result):
        async with asyncio.timeout(LONG):
            while table.readings < 3:
                table.being_read.clear()
                await table.being_read.wait()
            assert not ended.done()
            table.away, table.valid = False, {}
            await ended


async def test_strangers_cost_little() -> None:
    """Any number of unknown keys at a time costs two readings at most: the one under way, and one for them all."""
    table = Table(acme=OURS)
    keyring = Keyring(table, LONG, private=True)
    strangers = [keyring.caller(b"ts_%043d" % number) for number in range(1000)]
    answers = await asyncio.gather(*strangers, return_exceptions=True)
    assert {type(answer) for answer in answers} == {AuthenticationError}
    assert table.readings <= 2


async def test_the_store_is_away() -> None:
    """While the keys cannot be read, those that were read go on, and nothing can be said of others."""
    table = Table(acme=OURS)
    keyring = Keyring(table, LONG, private=True)
    await keyring.caller(OURS)
    table.away = True
    for bearer in (STRANGE, THEIRS):
        with pytest.raises(StoreUnavailableError):
            await keyring.caller(bearer)
    assert (await keyring.caller(OURS)).tenant == "acme"
    table.away = False
    with pytest.raises(AuthenticationError):
        await keyring.caller(STRANGE)


async def test_the_store_is_away_for_too_long() -> None:
    """What was read is good for its time and no longer, also when it cannot be read again."""
    table = Table(acme=OURS)
    keyring = Keyring(table, AT_ONCE, private=True)
    await keyring.caller(OURS)
    table.away = True
    for bearer in (OURS, None):
        with pytest.raises(StoreUnavailableError):
            await keyring.caller(bearer)
