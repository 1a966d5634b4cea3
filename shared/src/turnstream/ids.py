"""Ids: the field's prefixes before a UUIDv7, so that ids sort by the time they were made and hold no dots."""

import re
import secrets
import time

OWN_DIGITS = 32  # of an id, behind its prefix
ITEM_BYTES = 6  # that tell an owner's items apart
WELL_FORMED = r"^[A-Za-z0-9_-]{1,64}$"  # what any id looks like; anything else names nothing


def new_id(prefix: str) -> str:
    """Return `prefix` followed by 32 hex digits of a UUID version 7 (RFC 9562, section 5.7, and 6.2, method 3).

    The prefix carries its own separator: `resp_`, `conv_`, `msg_`, `fc_`.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000  # of the millisecond: 12 bits, so that ids made one after another are in order
    random = secrets.randbits(62)
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random
    return f"{prefix}{value:032x}"


def item_id(prefix: str, owner: str) -> str:
    """Return the id of an item of a turn or a conversation, which leads back to that by `owner_of`.

    So an item that is referred to is found by a primary key, with no index over items.
    """
    return f"{prefix}{owner.partition('_')[2]}{secrets.token_hex(ITEM_BYTES)}"


def is_item_id(value: str, prefix: str) -> bool:
    """Tell whether this can be what `item_id` has made with this prefix."""
    return re.fullmatch(rf"{prefix}[0-9a-f]{{{OWN_DIGITS + 2 * ITEM_BYTES}}}", value) is not None


def owner_of(item: str, prefix: str) -> str:
    """Return the id, with this prefix, of the turn or the conversation that an item belongs to by its id."""
    return f"{prefix}{item.partition('_')[2][:OWN_DIGITS]}"


def first_id(prefix: str, *, seconds_ago: float) -> str:
    """Return an id that sorts before all that are made from so many seconds ago on."""
    return f"{prefix}{int((time.time() - seconds_ago) * 1000):012x}"


def is_well_formed(value: str) -> bool:
    """Tell whether this can be an id at all; what cannot is looked up nowhere."""
    return re.fullmatch(WELL_FORMED, value) is not None
