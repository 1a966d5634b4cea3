"""What an audit finds."""

from dataclasses import dataclass
from typing import Literal

type Kind = Literal["lost", "repeated", "open", "side-effects-repeated"]
KINDS: tuple[Kind, ...] = ("lost", "repeated", "open", "side-effects-repeated")


@dataclass(frozen=True)
class Finding:
    """A promise that was not kept."""

    kind: Kind
    turn: str
    what: str
