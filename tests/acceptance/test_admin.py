"""What an operator does about turns that were given up: over the API with an admin key, and with the command."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.deployment import Deployment, Gateway
from support.letters import a_letter
from support.site import page, serve_site
from support.tenants import SLOW, Tenant, client, make_tenant

from turnstream.bus import Bus
from turnstream.ids import new_id
from turnstream.settings import Settings

TURNSTREAM = str(Path(sys.executable).with_name("turnstream"))
LETTERS = "/v1/admin/dead-letters"
DEADLINE = 20  # seconds until a turn must have ended


@pytest.fixture
async def operator(guarded: Deployment, door: Gateway) -> AsyncIterator[Tenant]:
    """A tenant of the test's own with an admin key, and nothing else."""
    tenant = make_tenant(guarded.infrastructure, door, "--admin")
    async with tenant.http:
        yield tenant


@pytest.fixture
async def acme(guarded: Deployment, door: Gateway) -> AsyncIterator[Tenant]:
    """A tenant of the test's own, with an ordinary key."""
    tenant = make_tenant(guarded.infrastructure, door)
    async with tenant.http:
        yield tenant


@pytest.fixture(scope="session")
async def worker_bus(guarded: Deployment) -> AsyncIterator[Bus]:
    """The bus with a worker's rights."""
    infrastructure = guarded.infrastructure
    settings = Settings(nats_url=infrastructure.nats_url("worker"), postgres_dsn=infrastructure.dsn)
    bus = await Bus.connect(settings, "worker")
    yield bus
    await bus.close()


async def a_dead_turn(bus: Bus, deployment: Deployment, tenant: Tenant, **body: Any) -> str:
    """Have a turn that fails once and is given up; return its id."""
    text = new_id("dead-")
    error = {"error": {"status": 400, "message": "no"}}
    await deployment.script(text, error, {"chunks": ["At last."]})
    response = await tenant.ask(**{"input": text, **body})
    assert response["status"] == "failed"
    await bus.dead_letters.file(a_letter(tenant.name, turn=response["id"]))
    return str(response["id"])


async def ended(tenant: Tenant, turn: str) -> dict[str, Any]:
    """Return a tenant's response once it has ended."""
    async with asyncio.timeout(DEADLINE):
        await tenant.http.get(f"/v1/responses/{turn}", params={"stream": True})
    response: dict[str, Any] = (await tenant.http.get(f"/v1/responses/{turn}")).json()
    return response


# Keys

WAYS = [
    ("GET", LETTERS),
    ("GET", f"{LETTERS}?tenant=acme"),
    ("GET", f"{LETTERS}?limit=many"),
    ("GET", f"{LETTERS}/{{turn}}"),
    ("POST", f"{LETTERS}/{{turn}}/replay"),
    ("DELETE", f"{LETTERS}/{{turn}}"),
]


async def test_an_ordinary_key(
    guarded: Deployment, door: Gateway, worker_bus: Bus, acme: Tenant, operator: Tenant
) -> None:
    """A key that was not made for it opens and changes nothing below /v1/admin, not even about its own tenant."""
    turn = await a_dead_turn(worker_bus, guarded, acme)
    for method, path in WAYS:
        refused = await acme.http.request(method, path.format(turn=turn))
        assert refused.status_code == httpx.codes.FORBIDDEN
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "admin_key_required")
        async with client(door) as stranger:
            assert (await stranger.request(method, path.format(turn=turn))).status_code == httpx.codes.UNAUTHORIZED
    assert (await operator.http.get(f"{LETTERS}/{turn}")).status_code == httpx.codes.OK


async def test_an_admin_key_is_its_tenants_too(operator: Tenant, acme: Tenant) -> None:
    """With an admin key one sees dead letters of all, and no response that is another's."""
    own, other = await operator.ask(input="Hello."), await acme.ask(input="Hello.")
    assert (await operator.http.get(f"/v1/responses/{own['id']}")).status_code == httpx.codes.OK
    assert (await operator.http.get(f"/v1/responses/{other['id']}")).status_code == httpx.codes.NOT_FOUND


async def test_without_keys(gateway: Gateway) -> None:
    """Where nobody is asked for a key, whoever is on the machine is its operator."""
    async with client(gateway) as http:
        assert (await http.get(LETTERS)).json()["object"] == "list"


# Letters


async def test_listing(worker_bus: Bus, guarded: Deployment, acme: Tenant, operator: Tenant) -> None:
    """Letters are listed by pages in the order of their filing, a tenant's own or everybody's."""
    turns = [await a_dead_turn(worker_bus, guarded, acme) for _ in range(3)]
    other = await a_dead_turn(worker_bus, guarded, operator)
    own = (await operator.http.get(LETTERS, params={"tenant": acme.name})).json()
    assert [letter["id"] for letter in own["data"]] == turns
    assert (own["object"], own["has_more"], own["first_id"]) == ("list", False, turns[0])
    first = (await operator.http.get(LETTERS, params={"tenant": acme.name, "limit": 2})).json()
    assert ([letter["id"] for letter in first["data"]], first["has_more"]) == (turns[:2], True)
    rest = (await operator.http.get(LETTERS, params={"tenant": acme.name, "after": first["last_id"]})).json()
    assert [letter["id"] for letter in rest["data"]] == turns[2:]
    everybodys = (await operator.http.get(LETTERS, params={"after": turns[0], "limit": 100})).json()
    assert [letter["id"] for letter in everybodys["data"]] == [*turns[1:], other]


async def test_showing(worker_bus: Bus, guarded: Deployment, acme: Tenant, operator: Tenant) -> None:
    """A letter says why a turn was given up and what became of it, and nothing that was said."""
    turn = await a_dead_turn(worker_bus, guarded, acme)
    answer = await operator.http.get(f"{LETTERS}/{turn}")
    letter = answer.json()
    created = (await acme.http.get(f"/v1/responses/{turn}")).json()["created_at"]
    assert (letter["object"], letter["id"], letter["tenant"]) == ("dead_letter", turn, acme.name)
    assert (letter["reason"]["code"], letter["attempts"]) == ("max_attempts", 3)
    assert letter["response"] == {"status": "failed", "model": "stand-in", "created_at": created}
    assert "dead-" not in answer.text.replace(LETTERS, "")
    await acme.http.delete(f"/v1/responses/{turn}")
    assert (await operator.http.get(f"{LETTERS}/{turn}")).json()["response"] is None


@pytest.mark.parametrize("turn", ["resp_none", "*", "%3E", "resp_1.x", "a" * 65])
async def test_what_is_not_there(operator: Tenant, turn: str) -> None:
    """An id that no letter is about, or that is none, is a 404 whatever is to be done."""
    for method, path in (("GET", turn), ("DELETE", turn), ("POST", f"{turn}/replay")):
        answer = await operator.http.request(method, f"{LETTERS}/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "dead_letter_not_found")
    behind = await operator.http.get(LETTERS, params={"after": "resp_none"})
    assert (behind.status_code, behind.json()["error"]["param"]) == (404, "after")


async def test_discarding(worker_bus: Bus, guarded: Deployment, acme: Tenant, operator: Tenant) -> None:
    """A discarded letter is gone, and its response stays."""
    turn = await a_dead_turn(worker_bus, guarded, acme)
    answer = await operator.http.delete(f"{LETTERS}/{turn}")
    assert answer.json() == {"object": "dead_letter.deleted", "id": turn, "deleted": True}
    assert (await operator.http.delete(f"{LETTERS}/{turn}")).status_code == httpx.codes.NOT_FOUND
    assert (await acme.http.get(f"/v1/responses/{turn}")).json()["status"] == "failed"


# Replays


async def test_replaying(worker_bus: Bus, guarded: Deployment, acme: Tenant, operator: Tenant) -> None:
    """A replay is a new turn of the same tenant that asks the same, with items of its own, and its letter is gone."""
    turn = await a_dead_turn(worker_bus, guarded, acme, instructions="Be brief.", metadata={"a": "b"})
    replayed = (await operator.http.post(f"{LETTERS}/{turn}/replay")).json()
    assert (replayed["object"], replayed["id"]) == ("dead_letter.replayed", turn)
    new = await ended(acme, replayed["response_id"])
    assert (new["status"], new["output"][0]["content"][0]["text"]) == ("completed", "At last.")
    assert (new["instructions"], new["metadata"]) == ("Be brief.", {"a": "b"})
    items = [(await acme.http.get(f"/v1/responses/{id_}/input_items")).json()["data"] for id_ in (turn, new["id"])]
    assert items[0][0].pop("id") != items[1][0].pop("id")
    assert items[0] == items[1]
    assert (await acme.http.get(f"/v1/responses/{turn}")).json()["status"] == "failed"
    assert (await operator.http.get(f"{LETTERS}/{turn}")).status_code == httpx.codes.NOT_FOUND
    assert (await operator.http.get(f"/v1/responses/{new['id']}")).status_code == httpx.codes.NOT_FOUND


async def test_replaying_into_a_conversation(
    worker_bus: Bus, guarded: Deployment, acme: Tenant, operator: Tenant
) -> None:
    """A replay reads and extends the conversation of the dead turn, whose own question never got into it."""
    conversation = (await acme.http.post("/v1/conversations", json={})).json()["id"]
    turn = await a_dead_turn(worker_bus, guarded, acme, conversation=conversation)
    replayed = (await operator.http.post(f"{LETTERS}/{turn}/replay")).json()
    await ended(acme, replayed["response_id"])
    items = (await acme.http.get(f"/v1/conversations/{conversation}/items", params={"order": "asc"})).json()["data"]
    assert [item["role"] for item in items] == ["user", "assistant"]


async def test_replaying_twice_at_a_time(worker_bus: Bus, guarded: Deployment, acme: Tenant, operator: Tenant) -> None:
    """However often and on how many gateways a letter is replayed at a time, there is one new turn."""
    second = await guarded.gateway()
    turn = await a_dead_turn(worker_bus, guarded, acme)
    before = {response["id"] for response in (await acme.http.get("/v1/responses")).json()["data"]}
    async with client(second, operator.key) as elsewhere:
        asked = [http.post(f"{LETTERS}/{turn}/replay") for http in (operator.http, elsewhere) for _ in range(5)]
        answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} <= {httpx.codes.OK, httpx.codes.NOT_FOUND}
    [new] = {answer.json()["response_id"] for answer in answers if answer.status_code == httpx.codes.OK}
    after = {response["id"] for response in (await acme.http.get("/v1/responses")).json()["data"]}
    assert after - before == {new}
    # A letter that is filed again, as by a message that comes twice, leads to the same turn.
    await worker_bus.dead_letters.file(a_letter(acme.name, turn=turn))
    assert (await operator.http.post(f"{LETTERS}/{turn}/replay")).json()["response_id"] == new
    assert (await ended(acme, new))["status"] == "completed"


async def test_what_cannot_be_replayed(worker_bus: Bus, guarded: Deployment, acme: Tenant, operator: Tenant) -> None:
    """A turn whose content is gone is not run as another one, and its letter stays."""
    deleted = await a_dead_turn(worker_bus, guarded, acme)
    await acme.http.delete(f"/v1/responses/{deleted}")
    erased = await a_dead_turn(worker_bus, guarded, acme, store=False)
    conversation = (await acme.http.post("/v1/conversations", json={})).json()["id"]
    orphan = await a_dead_turn(worker_bus, guarded, acme, conversation=conversation)
    await acme.http.delete(f"/v1/conversations/{conversation}")
    acme.http.headers["x-llamastack-provider-data"] = '{"api_key": "theirs"}'
    keyless = await a_dead_turn(worker_bus, guarded, acme)
    for turn in (deleted, erased, orphan, keyless):
        answer = await operator.http.post(f"{LETTERS}/{turn}/replay")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "dead_letter_not_replayable")
        assert (await operator.http.get(f"{LETTERS}/{turn}")).status_code == httpx.codes.OK


async def test_replaying_what_still_runs(worker_bus: Bus, acme: Tenant, operator: Tenant) -> None:
    """A turn that has not ended is not run a second time beside itself."""
    turn = (await acme.ask(input=SLOW, background=True))["id"]
    await worker_bus.dead_letters.file(a_letter(acme.name, turn=turn))
    answer = await operator.http.post(f"{LETTERS}/{turn}/replay")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "response_not_ended")


# The command


def letters(gateway: Gateway | str, key: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `turnstream dead-letters` with a key."""
    url = gateway if isinstance(gateway, str) else gateway.url
    command = (TURNSTREAM, "dead-letters", *arguments, "--url", url)
    return subprocess.run(
        command, env={**os.environ, "TURNSTREAM_API_KEY": key}, capture_output=True, text=True, check=False
    )


async def test_the_command(worker_bus: Bus, guarded: Deployment, door: Gateway, acme: Tenant, operator: Tenant) -> None:
    """With the command an operator lists, shows, replays and discards, for reading or as JSON."""
    turns = [await a_dead_turn(worker_bus, guarded, acme) for _ in range(2)]
    listed = letters(door, operator.key, "list", "--tenant", acme.name)
    assert (listed.returncode, listed.stderr) == (0, "")
    head, *lines = listed.stdout.splitlines()
    assert head.split()[:4] == ["TURN", "TENANT", "REASON", "ATTEMPTS"]
    assert [line.split()[:4] for line in lines] == [[turn, acme.name, "max_attempts", "3"] for turn in turns]
    page = json.loads(letters(door, operator.key, "list", "--tenant", acme.name, "--limit", "1", "--json").stdout)
    assert ([letter["id"] for letter in page["data"]], page["has_more"]) == (turns[:1], True)
    assert f"--after {turns[0]}" in letters(door, operator.key, "list", "--tenant", acme.name, "--limit", "1").stdout

    shown = letters(door, operator.key, "show", turns[0]).stdout
    assert "max_attempts: The turn was begun 3 times and never ended." in shown
    assert json.loads(letters(door, operator.key, "show", turns[0], "--json").stdout)["response"]["status"] == "failed"

    replayed = letters(door, operator.key, "replay", turns[0])
    assert replayed.returncode == 0
    assert (await ended(acme, replayed.stdout.split()[-1].rstrip(".")))["status"] == "completed"
    assert letters(door, operator.key, "discard", turns[1]).returncode == 0
    assert len(letters(door, operator.key, "list", "--tenant", acme.name).stdout.splitlines()) == 1


async def test_the_command_fails(door: Gateway, acme: Tenant, operator: Tenant) -> None:
    """What the gateway refuses, and a gateway that is not there, end the command with 1 and say why."""
    failures = [
        (letters(door, operator.key, "show", "resp_none"), "There is no dead letter about response 'resp_none'."),
        (letters(door, operator.key, "replay", "x y"), "There is no dead letter about response 'x y'."),
        (letters(door, acme.key, "list"), "is not an admin key"),
        (letters(door, "none", "list"), "TURNSTREAM_API_KEY"),
        (letters(door, operator.key, "list", "--limit", "0"), "Invalid value for 'limit'"),
        (letters("http://127.0.0.1:1", operator.key, "list"), "the gateway at http://127.0.0.1:1 does not answer"),
    ]
    async with serve_site() as site:
        site.pages[LETTERS] = page(b"<html>Hello.</html>")
        done = await asyncio.to_thread(letters, f"http://{site.host}:{site.port}", operator.key, "list")
        failures.append((done, "is no gateway: 200"))
    for done, why in failures:
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("turnstream: ")
        assert why in done.stderr
