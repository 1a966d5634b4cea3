"""Whose request it is."""

from typing import Annotated

from fastapi import Depends

from turnstream.subjects import DEFAULT_TENANT


async def _tenant() -> str:
    return DEFAULT_TENANT


type Tenant = Annotated[str, Depends(_tenant)]
