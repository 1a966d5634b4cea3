"""What comes along with a turn for its tools and providers: sealed for this turn, under keys that can be changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from turnstream.errors import SecretsUnreadableError
from turnstream.secrets import Secrets, new_key

KEY, OTHER = new_key(), new_key()
VALUE = {"tools": {"web": {"headers": {"x-key": "hush"}}}, "provider_data": {"key": "hush"}}

JSON = st.recursive(st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(), st.lists, max_leaves=5)


def secrets(*keys: str) -> Secrets:
    """Return what seals with the first of some keys, and opens with all."""
    return Secrets(SecretStr(",".join(keys)))


@given(st.dictionaries(st.text(), JSON, max_size=3), st.text())
def test_own_turn_reads_it(value: dict[str, object], turn: str) -> None:
    """Whatever JSON is sealed for a turn is read for that turn, by any process with the key."""
    assert secrets(KEY).open(turn, secrets(KEY).seal(turn, value)) == value


def test_nothing_can_be_told_from_it() -> None:
    """What is sealed shows nothing of what it holds, not even that it is the same as another."""
    sealed = secrets(KEY).seal("resp_1", VALUE)
    assert sealed != secrets(KEY).seal("resp_1", VALUE)
    assert b"hush" not in sealed


def test_another_turn() -> None:
    """Put into another turn's row it is of no use."""
    with pytest.raises(SecretsUnreadableError, match="resp_2"):
        secrets(KEY).open("resp_2", secrets(KEY).seal("resp_1", VALUE))


def test_keys_can_be_changed() -> None:
    """A new key is put before the old one: it seals from then on, and what the old one has sealed is still read."""
    old, both, new = secrets(KEY), secrets(OTHER, KEY), secrets(OTHER)
    assert both.open("resp_1", old.seal("resp_1", VALUE)) == VALUE
    assert new.open("resp_1", both.seal("resp_1", VALUE)) == VALUE
    with pytest.raises(SecretsUnreadableError):
        new.open("resp_1", old.seal("resp_1", VALUE))


def test_changed() -> None:
    """No byte of it can be changed, and none taken away or added."""
    sealed = secrets(KEY).seal("resp_1", VALUE)
    changed = [sealed[:place] + bytes([byte ^ 1]) + sealed[place + 1 :] for place, byte in enumerate(sealed)]
    cut = [sealed[:length] for length in range(len(sealed))]
    for forged in [*changed, *cut, sealed + b"\0"]:
        with pytest.raises(SecretsUnreadableError):
            secrets(KEY).open("resp_1", forged)


@pytest.mark.parametrize("keys", [None, SecretStr("")])
def test_no_key(keys: SecretStr | None) -> None:
    """Without a key nothing can be sealed, and nothing is read."""
    assert not Secrets(keys).configured
    assert secrets(KEY).configured
    with pytest.raises(SecretsUnreadableError):
        Secrets(keys).open("resp_1", secrets(KEY).seal("resp_1", VALUE))


@pytest.mark.parametrize(
    "wrong",
    ["hush", "aHVzaA==", "ä" * 44, f"{KEY}=", KEY[:-2], f"{KEY}{KEY}", f"{KEY},hush"],
    ids=["a word", "too short", "no ASCII", "one more", "cut off", "twice", "one good, one not"],
)
def test_what_is_no_key(wrong: str) -> None:
    """What is no key is refused at start, without being told to the log."""
    with pytest.raises(ValueError, match="TURNSTREAM_SECRETS_KEY") as refused:
        secrets(wrong)
    assert wrong not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
