"""Ids: unique, in the order of their time, and fit for a subject."""

import time
import uuid
from unittest.mock import patch

import pytest

from turnstream.ids import first_id, is_item_id, is_well_formed, item_id, new_id, owner_of


def test_id_is_a_uuid_of_version_7() -> None:
    """What stands behind the prefix is a UUID of version 7, in hex, of the time when it was made."""
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_id("resp_").removeprefix("resp_"))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_id_fits_a_subject() -> None:
    """An id has no dot, blank or wildcard in it, which would mean something in a subject."""
    made = new_id("conv_")
    assert made.startswith("conv_")
    assert made.replace("_", "").isalnum()


def test_ids_differ() -> None:
    """Ids that are made at the same moment differ."""
    with patch("turnstream.ids.time.time_ns", return_value=time.time_ns()):
        assert len({new_id("msg_") for _ in range(1000)}) == 1000


def test_ids_sort_by_time() -> None:
    """Ids sort in the order of the milliseconds in which they were made, up to year 10000."""
    moments = [0, 1_000_000, 1_700_000_000_000_000_000, 1_700_000_000_001_000_000, 253_402_300_799_000_000_000]
    made = []
    for moment in moments:
        with patch("turnstream.ids.time.time_ns", return_value=moment):
            made.append(new_id("msg_"))
    assert made == sorted(made)


def test_random_bits_fill_their_fields() -> None:
    """All 62 random bits stand in the id, and none of them touches the version or the variant."""
    for bits in (0, (1 << 62) - 1):
        with patch("turnstream.ids.secrets.randbits", return_value=bits):
            value = int(new_id(""), 16)
        assert (value >> 76 & 0xF, value >> 62 & 0b11) == (7, 0b10)
        assert value & (1 << 62) - 1 == bits


@pytest.mark.parametrize("owner", ["resp_", "conv_"])
@pytest.mark.parametrize("prefix", ["msg_", "rs_", "fc_", "cmp_"])
def test_item_leads_back_to_its_owner(owner: str, prefix: str) -> None:
    """An item's id names the turn or the conversation that it belongs to, whichever of them that is."""
    owned_by = new_id(owner)
    made = item_id(prefix, owned_by)
    assert made.startswith(prefix)
    assert owner_of(made, owner) == owned_by
    assert is_well_formed(made)


def test_items_of_one_owner_differ() -> None:
    """The items of one owner have ids of their own."""
    owner = new_id("resp_")
    assert len({item_id("msg_", owner) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("item", ["", "_", "msg", "msg_", "msg_short", "msg_" + "x" * 60])
def test_what_leads_back_to_nobody(item: str) -> None:
    """Whatever a client calls an item, an id is made of it that is nobody's or somebody's, and never an error."""
    assert owner_of(item, "resp_").startswith("resp_")
    assert is_well_formed(owner_of(item, "resp_"))


def test_first_id() -> None:
    """The first id of a time sorts before all that are made from then on, and behind those made before."""
    made = new_id("resp_")
    assert first_id("resp_", seconds_ago=1) < made < first_id("resp_", seconds_ago=-1)


@pytest.mark.parametrize("value", ["", "a.b", "a b", "a*", "a\n", "ä", "x" * 65])
def test_what_is_no_id(value: str) -> None:
    """What could mean something in a subject, or is too long, is no id."""
    assert not is_well_formed(value)


def test_ids_of_one_millisecond_are_in_order() -> None:
    """Ids that a process makes one after another sort as they were made, however quickly."""
    made = [new_id("resp_") for _ in range(1000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_of_items_that_were_made_here() -> None:
    """What was made as an item's id can be told from what somebody has thought up."""
    made = item_id("mcpr_", new_id("resp_"))
    assert is_item_id(made, "mcpr_")
    assert not any(is_item_id(other, "mcpr_") for other in ("mcpr_1", made[:-1], f"{made}0", f"{made}\n", made[1:]))
    assert not is_item_id(made, "mcp_")
