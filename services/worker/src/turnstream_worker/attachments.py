"""stub"""

from typing import Any

from turnstream.turns import Item


class Attachments:
    """stub"""

    async def resolve(self, items: list[Item]) -> list[Item]:
        """Stub"""
        return items


def chat_part(part: dict[str, Any]) -> dict[str, Any]:
    """Stub"""
    return {"type": "text", "text": part.get("text", "")}
