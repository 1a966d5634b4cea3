"""Ids: unique, in the order of their time, and fit for a subject."""

import time
import uuid
from unittest.mock import patch

from turnstream.ids import new_id


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
    """All 74 random bits stand in the id, and none of them touches the version or the variant."""
    for bits in (0, (1 << 74) - 1):
        with patch("turnstream.ids.secrets.randbits", return_value=bits):
            value = int(new_id(""), 16)
        assert (value >> 76 & 0xF, value >> 62 & 0b11) == (7, 0b10)
        assert (value >> 64 & 0xFFF) << 62 | value & (1 << 62) - 1 == bits
