"""Whose request it is."""

from typing import Annotated

from fastapi import Depends, Request


async def _tenant(request: Request) -> str:
    tenant: str = request.state.tenant  # put there by Authentication; without it nothing is served
    return tenant


type Tenant = Annotated[str, Depends(_tenant)]
