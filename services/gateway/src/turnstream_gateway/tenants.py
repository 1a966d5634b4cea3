"""Whose request it is, and whether they may do what is an operator's to do."""

from typing import Annotated

from fastapi import Depends, Request

from turnstream.errors import ForbiddenError
from turnstream.keys import Caller


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller  # put there by Authentication; without it nothing is served
    return caller


async def _tenant(request: Request) -> str:
    return (await _caller(request)).tenant  # not as a dependency of its own, each of which costs every request


async def check_admin(caller: Annotated[Caller, Depends(_caller)]) -> None:
    """Raise ForbiddenError unless the request comes with an admin key."""
    if not caller.admin:
        message = "This API key is not an admin key. Make one by `turnstream keys create TENANT --admin`."
        raise ForbiddenError(message, code="admin_key_required")


type Tenant = Annotated[str, Depends(_tenant)]
