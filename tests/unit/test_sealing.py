"""What a client keeps sealed: only we read it, for its own tenant, and only as it was."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnstream_worker.sealing import NONCE_BYTES, VERSION, Sealing

KEY = b"k" * 32
SEALING = Sealing(KEY)


@given(st.text(st.characters(exclude_categories=())), st.text())
def test_own_tenant_reads_it(text: str, tenant: str) -> None:
    """Whatever text is sealed for a tenant is read for that tenant, by any process with the deployment's key."""
    assert Sealing(KEY).open(tenant, SEALING.seal(tenant, text)) == text


def test_nothing_can_be_told_from_it() -> None:
    """A sealed text shows nothing of what it holds, not even that it is the same as another."""
    sealed = SEALING.seal("default", "a secret")
    assert sealed != SEALING.seal("default", "a secret")
    assert b"a secret" not in urlsafe_b64decode(sealed.removeprefix(VERSION))


def test_another_tenant() -> None:
    """Another tenant that got hold of it cannot have it read."""
    assert SEALING.open("other", SEALING.seal("default", "hello")) is None


def test_another_key() -> None:
    """Another deployment's key does not open it."""
    assert Sealing(b"x" * 32).open("default", SEALING.seal("default", "hello")) is None


def test_changed() -> None:
    """No byte of it can be changed, and none taken away or added."""
    raw = urlsafe_b64decode(SEALING.seal("default", "hello").removeprefix(VERSION))
    changed = [raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :] for place in range(len(raw))]
    cut = [raw[:length] for length in range(len(raw))]
    for forged in [*changed, *cut, raw + b"\0"]:
        assert SEALING.open("default", VERSION + urlsafe_b64encode(forged).decode()) is None


@pytest.mark.parametrize(
    "sealed",
    ["", "hello", "gAAAAABk", VERSION, f"{VERSION}ä", f"{VERSION}A", f"{VERSION}{'A' * NONCE_BYTES}", f"{VERSION}\0"],
)
def test_not_ours(sealed: str) -> None:
    """What was never sealed here is not read, and is no error."""
    assert SEALING.open("default", sealed) is None
