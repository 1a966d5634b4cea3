"""What a request asks for its own turn: within the operator's limits, and nobody's business but Turnstream's."""

import json
from typing import Any

import asyncpg
import httpx
import pytest
from support.deployment import Deployment, Gateway
from support.reader import TIMEOUT

LIMITS: dict[str, Any] = {
    "max_attempts": 2,
    "deadline": 600,
    "grace": 0.5,
    "on_disconnect": "cancel",
    "disconnect_grace": 1,
}


async def post(gateway: Gateway, **body: Any) -> httpx.Response:
    """Post a turn."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=TIMEOUT) as http:
        return await http.post("/v1/responses", json={"model": "stand-in", "input": "Hello.", **body})


async def test_kept_and_not_shown(deployment: Deployment, gateway: Gateway) -> None:
    """They are kept with the turn for who runs it; neither the response nor the model's provider gets to see them."""
    answer = await post(gateway, input="within its limits", on_busy=None, **LIMITS)
    response = answer.json()
    assert response["status"] == "completed"
    connection = await asyncpg.connect(deployment.infrastructure.dsn)
    kept = json.loads(await connection.fetchval("SELECT request::text FROM turns WHERE id = $1", response["id"]))
    await connection.close()
    assert kept == {"model": "stand-in", "include": [], **LIMITS}
    [asked] = await deployment.model_requests("within its limits")
    for shown in (response, asked):
        assert not shown.keys() & {*LIMITS, "on_busy"}


@pytest.mark.parametrize(
    ("name", "limit"), [("max_attempts", 10), ("deadline", 86400), ("grace", 30), ("disconnect_grace", 300)]
)
async def test_beyond_the_operators_limits(gateway: Gateway, name: str, limit: int) -> None:
    """A request that asks for more than the operator allows is refused, and told how much that is."""
    answer = await post(gateway, on_disconnect="cancel", **{name: limit + 1})
    assert answer.status_code == httpx.codes.BAD_REQUEST
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", name)
    assert str(limit) in error["message"]


async def test_operator_sets_the_limits(deployment: Deployment) -> None:
    """The operator may allow less."""
    strict = await deployment.gateway(TURNSTREAM_DEADLINE_LIMIT="0.5", TURNSTREAM_GRACE_LIMIT="0")
    assert (await post(strict, grace=0)).is_success
    for asked in ({"deadline": 1}, {"grace": 0.1}):
        assert (await post(strict, **asked)).status_code == httpx.codes.BAD_REQUEST
    await strict.child.kill()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"on_busy": "reject"}, "on_busy"),
        ({"disconnect_grace": 1}, "disconnect_grace"),
        ({"on_disconnect": "cancel", "background": True}, "on_disconnect"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, "tools[0]"),
        ({"tools": [{"type": "mcp", "server_label": "wiki"}]}, "tools[0]"),
        ({"input": [{"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}]}, None),
    ],
)
async def test_what_makes_no_sense(gateway: Gateway, body: dict[str, Any], param: str | None) -> None:
    """What could not do what it says is refused where it stands."""
    answer = await post(gateway, **body)
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert answer.json()["error"]["param"] == (param or "input[0].approval_request_id")
