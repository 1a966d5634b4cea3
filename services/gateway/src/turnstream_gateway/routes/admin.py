"""The routes of `/v1/admin`, for whoever runs Turnstream: they are about all tenants, and take an admin key."""

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from turnstream_gateway.dead_letters import DeadLetters, LettersPageQuery
from turnstream_gateway.openapi import failing
from turnstream_gateway.resource_dead_letters import (
    DeadLetterDetail,
    DeadLetterList,
    DeletedDeadLetter,
    ReplayedDeadLetter,
)
from turnstream_gateway.tenants import check_admin


def admin(dead_letters: DeadLetters) -> APIRouter:
    """Return the routes of `/v1/admin`."""
    # The check stands at the router, so that no route can go without it.
    router = APIRouter(prefix="/v1/admin", dependencies=[Depends(check_admin)], responses=failing(403))

    @router.get("/dead-letters", response_model=DeadLetterList, responses=failing(404))
    async def list_letters(page: LettersPageQuery) -> JSONResponse:
        return JSONResponse(await dead_letters.list(page))

    @router.get("/dead-letters/{turn_id}", response_model=DeadLetterDetail)
    async def show(turn_id: str) -> JSONResponse:
        return JSONResponse(await dead_letters.get(turn_id))

    @router.post("/dead-letters/{turn_id}/replay", response_model=ReplayedDeadLetter, responses=failing(409, 429))
    async def replay(turn_id: str) -> JSONResponse:
        return JSONResponse(await dead_letters.replay(turn_id))

    @router.delete("/dead-letters/{turn_id}", response_model=DeletedDeadLetter)
    async def discard(turn_id: str) -> JSONResponse:
        return JSONResponse(await dead_letters.discard(turn_id))

    return router
