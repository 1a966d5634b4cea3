"""Lists, a page at a time."""

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from turnstream.errors import NotFoundError
from turnstream_gateway.include import Include

# Or empty, which is none. A response that was deleted is still a place in the list: ids sort by time.
RESPONSE_ID = "^(resp_[A-Za-z0-9_-]+)?$"


class Page(BaseModel):
    """What part of a list is asked for; any other query parameter is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after: str | None = Field(None, max_length=64, pattern="^[A-Za-z0-9_-]*$")  # an id; empty is none
    limit: int = Field(20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"
    include: Include = Field([])  # all that there is to show is shown anyway
    include_brackets: Include = Field([], alias="include[]")

    @property
    def newest_first(self) -> bool:
        """Whether the newest stands first."""
        return self.order == "desc"


class ResponsesPage(Page):
    """What part of the list of responses is asked for."""

    after: str | None = Field(None, max_length=64, pattern=RESPONSE_ID)
    before: str | None = Field(None, max_length=64, pattern=RESPONSE_ID)
    model: str | None = Field(None, max_length=256, pattern=r"^[^\x00]*$")  # Postgres takes no NUL


type PageQuery = Annotated[Page, Query()]
type ResponsesPageQuery = Annotated[ResponsesPage, Query()]


def list_object(found: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Return a list object of up to `limit` things, of which one more was looked for to tell whether there are more."""
    shown = found[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(found) > limit,
    }


def behind(things: list[dict[str, Any]], after: str | None) -> list[dict[str, Any]]:
    """Return the things behind the one whose id is `after`, or all; raise NotFoundError if it is none of them."""
    if not after:
        return things
    for index, thing in enumerate(things):
        if thing["id"] == after:
            return things[index + 1 :]
    raise not_in_list(after)


def not_in_list(after: str) -> NotFoundError:
    """Return the error for a page behind what is not in the list: to begin anew would show things twice."""
    return NotFoundError(f"Item '{after}' is not in this list.", code="item_not_found", param="after")
