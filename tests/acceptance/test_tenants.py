"""Tenants: whose things one has, to the others they are not there at all."""

import asyncio
import secrets
from time import perf_counter
from typing import Any

import httpx
import nats
import pytest
from nats.aio.msg import Msg
from support.deployment import Deployment
from support.tenants import MESSAGE, Tenant
from support.tool_turns import ToolServer, calling, saying

from turnstream.ids import new_id

DEADLINE = 10  # seconds until a turn must have ended
PAIRS = 300  # of requests whose times are compared

# Every way to name something: the method, the path, and the body. What stands in braces is another tenant's.
WAYS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/v1/responses/{response}", None),
    ("GET", "/v1/responses/{response}?stream=true", None),
    ("GET", "/v1/responses/{response}?stream=true&starting_after=3", None),
    ("GET", "/v1/responses/{running}?stream=true", None),
    ("GET", "/v1/responses/{response}/input_items", None),
    ("GET", "/v1/responses/{response}/input_items?limit=1&order=asc", None),
    ("POST", "/v1/responses/{response}/cancel", None),
    ("POST", "/v1/responses/{running}/cancel", None),
    ("DELETE", "/v1/responses/{response}", None),
    ("DELETE", "/v1/responses/{running}", None),
    ("GET", "/v1/turns/{response}/events", None),
    ("GET", "/v1/turns/{response}/events?starting_after=3", None),
    ("GET", "/v1/turns/{running}/events", None),
    ("POST", "/v1/responses", {"previous_response_id": "{response}"}),
    ("POST", "/v1/responses", {"previous_response_id": "{response}", "stream": True}),
    ("POST", "/v1/responses", {"previous_response_id": "{running}"}),
    ("POST", "/v1/responses", {"conversation": "{conversation}"}),
    ("POST", "/v1/responses", {"conversation": {"id": "{conversation}"}, "stream": True, "background": True}),
    ("POST", "/v1/responses", {"input": [{"type": "item_reference", "id": "{item}"}]}),
    ("POST", "/v1/responses", {"input": [{"type": "item_reference", "id": "{said}"}]}),
    ("POST", "/v1/conversations", {"items": [{"type": "item_reference", "id": "{said}"}]}),
    ("POST", "/v1/responses", {"prompt": {"id": "{prompt}"}}),
    ("GET", "/v1/prompts/{prompt}", None),
    ("GET", "/v1/prompts/{prompt}?version=1", None),
    ("GET", "/v1/prompts/{prompt}/versions", None),
    ("PUT", "/v1/prompts/{prompt}", {"prompt": "mine", "version": 1}),
    ("PUT", "/v1/prompts/{prompt}/set-default-version", {"version": 1}),
    ("DELETE", "/v1/prompts/{prompt}", None),
    ("GET", "/v1/conversations/{conversation}", None),
    ("POST", "/v1/conversations/{conversation}", {"metadata": {"mine": "now"}}),
    ("DELETE", "/v1/conversations/{conversation}", None),
    ("GET", "/v1/conversations/{conversation}/items", None),
    ("POST", "/v1/conversations/{conversation}/items", {"items": [MESSAGE]}),
    ("GET", "/v1/conversations/{conversation}/items/{item}", None),
    ("DELETE", "/v1/conversations/{conversation}/items/{item}", None),
    ("GET", "/v1/conversations/OWN/items/{item}", None),
    ("DELETE", "/v1/conversations/OWN/items/{item}", None),
    ("GET", "/v1/conversations/OWN/items?after={item}", None),
    ("GET", "/v1/responses/OWN/input_items?after={item}", None),
]


async def answers(tenant: Tenant, other: Tenant, way: tuple[str, str, Any]) -> list[tuple[int, list[str], str]]:
    """Return what a tenant is answered of another's thing and of one that is not there, each with the ids left out."""
    method, path, body = way
    own = tenant.response if path.startswith("/v1/responses") else tenant.conversation
    there, missing = other.ids, {kind: not_there(thing) for kind, thing in other.ids.items()}
    found = []
    for ids in (there, missing):
        json = (
            {"model": "stand-in", "input": "Let me in.", **fill(body, ids)}
            if path == "/v1/responses"
            else fill(body, ids)
        )
        answer = await tenant.http.request(method, fill(path, ids).replace("OWN", own), json=json)
        headers = [f"{name}: {value}" for name, value in answer.headers.items() if name != "date"]
        text = answer.text
        for kind, thing in ids.items():
            text = text.replace(thing, kind)
        assert other.secret not in text
        found.append((answer.status_code, headers, text))
    return found


def not_there(thing: str) -> str:
    """Return an id like another, of what does not exist."""
    prefix, _, digits = thing.partition("_")
    return f"{prefix}_{secrets.token_hex(len(digits) // 2)}"


def fill(template: Any, ids: dict[str, str]) -> Any:
    """Put ids where a path or a body names them."""
    if isinstance(template, dict):
        return {name: fill(value, ids) for name, value in template.items()}
    if isinstance(template, list):
        return [fill(value, ids) for value in template]
    return template.format(**ids) if isinstance(template, str) else template


async def test_what_is_anothers_is_not_there(tenants: tuple[Tenant, Tenant]) -> None:
    """By no way does a tenant see, change, end or delete another's thing, or learn that it is there."""
    before = [await tenant.things() for tenant in tenants]
    tried = 0
    for tenant, other in (tenants, tenants[::-1]):
        for way in WAYS:
            foreign, missing = await answers(tenant, other, way)
            assert foreign == missing, way
            assert foreign[0] == httpx.codes.NOT_FOUND, way
            tried += 1
    assert tried == 2 * len(WAYS)
    assert [await tenant.things() for tenant in tenants] == before
    for tenant in tenants:
        async with asyncio.timeout(DEADLINE):
            await tenant.http.get(f"/v1/responses/{tenant.running}", params={"stream": True})
        assert (await tenant.http.get(f"/v1/responses/{tenant.running}")).json()["status"] == "completed"


async def test_both_at_the_same_time(tenants: tuple[Tenant, Tenant]) -> None:
    """The same holds while both do all of it at once."""
    before = [await tenant.things() for tenant in tenants]
    everything = [
        answers(tenant, other, way) for _ in range(3) for way in WAYS for tenant, other in (tenants, tenants[::-1])
    ]
    for foreign, missing in await asyncio.gather(*everything):
        assert foreign == missing
        assert foreign[0] == httpx.codes.NOT_FOUND
    assert [await tenant.things() for tenant in tenants] == before


async def test_lists(tenants: tuple[Tenant, Tenant]) -> None:
    """A tenant's list holds what is theirs, wherever in time another's id would put it."""
    for tenant, other in (tenants, tenants[::-1]):
        for params in (
            {},
            {"order": "asc"},
            {"after": other.response},
            {"before": other.running, "order": "asc"},
            {"model": "stand-in"},
        ):
            answer = await tenant.http.get("/v1/responses", params=params)
            assert other.secret not in answer.text
            assert other.response not in answer.text
        assert tenant.response in (await tenant.http.get("/v1/responses")).text


async def test_the_same_request_of_two_tenants(tenants: tuple[Tenant, Tenant]) -> None:
    """A request that is sent again joins the turn of its own tenant, be it by a key or by a client's retry."""
    key = new_id("idempotency-")
    for headers in ({"idempotency-key": key}, {"x-stainless-retry-count": "1"}):
        ids = []
        for _ in range(2):
            for tenant in tenants:
                body = {"model": "stand-in", "input": f"The same. {key}"}
                ids.append((await tenant.http.post("/v1/responses", json=body, headers=headers)).json()["id"])
        first, second, first_again, second_again = ids
        assert first == first_again
        assert second == second_again
        assert first != second


async def test_an_idempotency_key_of_another_tenant(tenants: tuple[Tenant, Tenant]) -> None:
    """A key that another tenant has used with another body is free."""
    key = {"idempotency-key": new_id("idempotency-")}
    for tenant in tenants:
        body = {"model": "stand-in", "input": tenant.secret}
        answer = await tenant.http.post("/v1/responses", json=body, headers=key)
        assert tenant.secret in answer.text


async def test_memory(tenants: tuple[Tenant, Tenant]) -> None:
    """A tenant's turns remember that tenant's turns."""
    for tenant, other in (tenants, tenants[::-1]):
        for past in ({"previous_response_id": tenant.response}, {"conversation": tenant.conversation}):
            answer = (await tenant.ask(input="What was that?", **past))["output"][0]["content"][0]["text"]
            assert f'the first was: "{tenant.secret}"' in answer
            assert other.secret not in answer


@pytest.mark.parametrize(
    "way",
    [
        ("GET", "/v1/responses/{response}", None),
        ("POST", "/v1/responses/{running}/cancel", None),
        ("GET", "/v1/conversations/{conversation}/items", None),
        ("POST", "/v1/responses", {"previous_response_id": "{response}"}),
        ("POST", "/v1/responses", {"conversation": "{conversation}"}),
    ],
    ids=lambda way: f"{way[0]} {way[1]} {way[2] or ''}",
)
async def test_time_tells_nothing(tenants: tuple[Tenant, Tenant], way: tuple[str, str, Any]) -> None:
    """How long it takes to be refused does not say whether there is such a thing: either is the slower one as often."""
    tenant, other = tenants
    method, path, body = way
    there, missing = other.ids, {kind: not_there(thing) for kind, thing in other.ids.items()}

    async def seconds(ids: dict[str, str]) -> float:
        json = {"model": "stand-in", "input": "Let me in.", **fill(body, ids)} if body else None
        began = perf_counter()
        answer = await tenant.http.request(method, fill(path, ids), json=json)
        assert answer.status_code == httpx.codes.NOT_FOUND
        return perf_counter() - began

    slower = 0
    for pair in range(PAIRS):
        # In turns, since the second of two requests may be quicker than the first whatever it asks for.
        first, second = [await seconds(ids) for ids in ((there, missing) if pair % 2 else (missing, there))]
        slower += (first > second) == bool(pair % 2)
    assert 0.35 < slower / PAIRS < 0.65


async def test_subjects(guarded: Deployment, tenants: tuple[Tenant, Tenant]) -> None:
    """All that is said of a tenant's turn on the bus is said under that tenant's name."""
    heard: dict[str, set[str]] = {}

    async def hear(message: Msg) -> None:
        where = message.subject.split(".")
        turn = message.data.decode() if where[0] == "turns" else where[-1]
        heard.setdefault(turn, set()).add(message.subject)

    bus = await nats.connect(guarded.infrastructure.nats_url("provision"))
    for subjects in ("turns.>", "events.>", "live.>"):
        await bus.subscribe(subjects, cb=hear)
    await bus.flush()
    turns = {(await tenant.ask(input="Hello."))["id"]: tenant.name for tenant in tenants}
    await bus.close()
    for turn, name in turns.items():
        assert heard[turn] == {f"turns.interactive.{name}", f"events.{name}.{turn}", f"live.{name}.{turn}"}


async def test_anothers_approval(guarded: Deployment, tenants: tuple[Tenant, Tenant]) -> None:
    """What one tenant is asked to allow another cannot, nor use up: only the one's own answer runs the call, once."""
    first, second = tenants
    shop, text = await ToolServer.start(guarded), new_id("charge it ")
    await guarded.script(text, calling("charge", order="theirs"), saying("Done."))
    body: dict[str, Any] = {"model": "stand-in", "tools": [shop.tool("always")]}
    asked = await first.ask(**body, input=text)
    request = asked["output"][-1]["id"]
    answer = {**body, "input": [{"type": "mcp_approval_response", "approval_request_id": request, "approve": True}]}
    refused = await second.http.post("/v1/responses", json={**answer, "previous_response_id": asked["id"]})
    assert refused.json()["error"]["code"] == "previous_response_not_found"
    for past in ({"conversation": second.conversation}, {"previous_response_id": second.response}):
        ended = await second.ask(**answer, **past)
        assert "mcp_call" not in {item["type"] for item in ended["output"]}
    assert await shop.calls() == []
    ended = await first.ask(**answer, previous_response_id=asked["id"])
    assert [item["output"] for item in ended["output"] if item["type"] == "mcp_call"] == ["charged theirs"]
    assert len(await shop.calls()) == 1
