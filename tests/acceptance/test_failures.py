"""What fails is said, in OpenAI's shape where nothing was accepted, and by a terminal event where a turn was."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from support.deployment import Deployment, Gateway
from support.reader import NOTHING, Transcript, read_to_end, resume, start, tally


@pytest.fixture(scope="session")
async def http(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client of the gateway."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
        yield client


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"input": "hi"}, "model", "missing_required_parameter"),
        ({"model": "stand-in"}, "input", "missing_required_parameter"),
        ({"model": "stand-in", "input": []}, "input", "invalid_value"),
        ({"model": "stand-in", "input": "hi", "n": 2}, "n", "unsupported_parameter"),
        ({"model": "stand-in", "input": "hi", "max_tokens": 20}, "max_tokens", "unknown_parameter"),
        ({"model": "stand-in", "input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
        ({"model": "stand-in", "input": [{"type": "song"}]}, "input[0]", "invalid_value"),
        ({"model": "stand-in", "input": "hi", "temperature": 3}, "temperature", "invalid_value"),
        ({"model": "stand-in", "input": "hi", "tools": [{"type": "function"}]}, "tools[0].name", None),
        (
            {"model": "stand-in", "input": "hi", "conversation": "conv_x", "previous_response_id": "resp_x"},
            "previous_response_id",
            "mutually_exclusive",
        ),
    ],
)
async def test_bad_request(http: httpx.AsyncClient, body: dict[str, Any], param: str, code: str | None) -> None:
    """A bad value is a 400 that names the parameter."""
    answer = await http.post("/v1/responses", json=body)
    error = answer.json()["error"]
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert code is None or error["code"] == code


@pytest.mark.parametrize(
    ("method", "path", "json", "status"),
    [
        ("GET", "/v1/responses/resp_x", None, 404),
        ("GET", "/v1/responses/resp_x?stream=true", None, 404),
        ("POST", "/v1/responses/resp_x/cancel", None, 404),
        ("GET", "/v1/responses/%00", None, 404),
        ("POST", "/v1/responses/%00/cancel", None, 404),
        ("GET", "/v1/conversations/%00", None, 404),
        ("DELETE", "/v1/conversations/%00", None, 404),
        ("GET", "/v1/conversations/conv_x/items?after=%00", None, 400),
        ("GET", "/v1/conversations/conv_x", None, 404),
        ("DELETE", "/v1/conversations/conv_x", None, 404),
        ("GET", "/v1/conversations/conv_x/items", None, 404),
        ("GET", "/v1/models/no-such-model", None, 404),
        ("GET", "/v1/no-such-thing", None, 404),
        ("GET", "/v1/responses/", None, 404),
        ("DELETE", "/v1/responses", None, 405),
        ("POST", "/v1/responses", {"model": "stand-in", "input": "hi", "conversation": "conv_x"}, 404),
        ("POST", "/v1/responses", {"model": "stand-in", "input": "hi", "previous_response_id": "resp_x"}, 404),
        ("POST", "/v1/responses", {"model": "m", "input": "x" * 17_000_000}, 413),
    ],
)
async def test_refused(http: httpx.AsyncClient, method: str, path: str, json: Any, status: int) -> None:
    """What is not there, not allowed or too large is refused with its status, in the API's shape."""
    answer = await http.request(method, path, json=json)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "code", "param"}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v1/responses", "GET, POST"), ("/v1/prompts/pmpt_x", "DELETE, GET, PUT"), ("/v1/version", "GET")],
)
async def test_method_not_allowed(http: httpx.AsyncClient, path: str, allowed: str) -> None:
    """A method that a path does not take is refused with all that it takes."""
    answer = await http.patch(path)
    assert answer.status_code == httpx.codes.METHOD_NOT_ALLOWED
    assert answer.headers.get_list("allow") == [allowed]


async def test_malformed_json(http: httpx.AsyncClient) -> None:
    """A body that is not JSON is a 400 that says so."""
    answer = await http.post("/v1/responses", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert answer.json()["error"]["code"] == "invalid_json"


async def test_endless_body(http: httpx.AsyncClient) -> None:
    """A body that does not say its length is cut off where it has become too large."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 100_000

    answer = await http.post("/v1/responses", content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE


async def test_unknown_model(http: httpx.AsyncClient) -> None:
    """A model that does not exist is refused before anything is accepted."""
    answer = await http.post("/v1/responses", json={"model": "no-such-model", "input": "hi"})
    assert answer.status_code == httpx.codes.NOT_FOUND
    assert answer.json()["error"]["code"] == "model_not_found"
    assert answer.json()["error"]["param"] == "model"


async def test_unknown_model_found_out_late(fragile: Deployment) -> None:
    """Where no worker could be asked, the turn is accepted, and fails once a worker knows better."""
    url = (await fragile.gateway()).url
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        body = {"model": "no-such-model", "input": "hi", "stream": True}
        async with http.stream("POST", "/v1/responses", json=body) as answer:
            turn = answer.headers["x-response-id"]
    await fragile.worker(embedded=True)
    transcript = Transcript()
    await read_to_end(url, transcript, turn)
    assert tally([transcript]) == NOTHING
    assert transcript.response["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        ({"status": 429, "message": "slow down"}, "rate_limit_exceeded", ""),
        ({"status": 500, "message": "secret inside"}, "server_error", ""),
        (
            {"status": 400, "code": "context_length_exceeded", "message": "too long"},
            "context_length_exceeded",
            "",
        ),
        ({"after_tokens": 3, "status": 500, "message": "no more"}, "server_error", "one two three"),
        ({"after_tokens": 3, "kind": "drop"}, "server_error", "one two three"),
    ],
)
async def test_model_fails(
    deployment: Deployment, gateway: Gateway, error: dict[str, Any], code: str, text: str
) -> None:
    """A model that refuses, fails or breaks off makes a failed turn, with what it had said so far."""
    prompt = f"fail with {error}"
    await deployment.script(prompt, {"chunks": ["one ", "two ", "three ", "four"], "error": error})
    transcript = Transcript()
    async for _ in start(gateway.url, transcript, input=prompt):
        pass
    assert tally([transcript]) == NOTHING
    assert transcript.kinds()[-1] == "response.failed"
    assert transcript.response["error"]["code"] == code
    assert "secret" not in transcript.response["error"]["message"]
    said = "".join(item["content"][0]["text"] for item in transcript.response["output"])
    assert said.strip() == text


async def test_out_of_tokens(http: httpx.AsyncClient) -> None:
    """An answer that is cut off at max_output_tokens is incomplete and says why."""
    body = {"model": "stand-in", "input": "[stand-in tokens=50] go on", "max_output_tokens": 16}
    response = (await http.post("/v1/responses", json=body)).json()
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"


async def test_cancel_running(http: httpx.AsyncClient, gateway: Gateway) -> None:
    """A cancelled turn ends at once, keeps what it had said, and never becomes completed."""
    transcript = Transcript()
    async for event in start(gateway.url, transcript, input="[stand-in tokens=500 delay_ms=50] go on"):
        if event["type"] == "response.output_text.delta":
            break
    cancelled = (await http.post(f"/v1/responses/{transcript.id}/cancel")).json()
    assert cancelled["status"] == "cancelled"
    await read_to_end(gateway.url, transcript)
    assert tally([transcript]) == NOTHING
    assert transcript.kinds()[-1] == "response.incomplete"
    assert transcript.response["status"] == "cancelled"
    [message] = transcript.response["output"]
    assert message["status"] == "incomplete"
    assert message["content"][0]["text"] == transcript.text_of(message["id"])
    assert (await http.get(f"/v1/responses/{transcript.id}")).json() == transcript.response
    assert (await http.post(f"/v1/responses/{transcript.id}/cancel")).json()["status"] == "cancelled"


async def test_cancel_finished(http: httpx.AsyncClient) -> None:
    """A turn that has ended stays as it is, and clients are told not to try again."""
    response = (await http.post("/v1/responses", json={"model": "stand-in", "input": "hi"})).json()
    refused = await http.post(f"/v1/responses/{response['id']}/cancel")
    assert refused.status_code == httpx.codes.CONFLICT
    assert refused.headers["x-should-retry"] == "false"
    assert (await http.get(f"/v1/responses/{response['id']}")).json() == response


async def test_delete_running(http: httpx.AsyncClient, gateway: Gateway) -> None:
    """A turn that runs is not deleted; once it is cancelled and its worker has let go of it, it is."""
    transcript = Transcript()
    async for event in start(gateway.url, transcript, input="[stand-in tokens=500 delay_ms=50] go on"):
        if event["type"] == "response.output_text.delta":
            break
    assert (await http.delete(f"/v1/responses/{transcript.id}")).status_code == httpx.codes.CONFLICT
    follower = {"model": "stand-in", "input": "hi", "previous_response_id": transcript.id}
    assert (await http.post("/v1/responses", json=follower)).status_code == httpx.codes.CONFLICT
    await http.post(f"/v1/responses/{transcript.id}/cancel")
    await read_to_end(gateway.url, transcript)
    assert (await http.delete(f"/v1/responses/{transcript.id}")).json()["deleted"] is True
    assert (await http.get(f"/v1/responses/{transcript.id}")).status_code == httpx.codes.NOT_FOUND


async def test_cancel_queued(fragile: Deployment) -> None:
    """A turn that is cancelled before any worker has it is never run, and still ends for its reader."""
    url = (await fragile.gateway()).url
    transcript = Transcript()
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        body = {"model": "stand-in", "input": "never to be asked", "stream": True}
        async with http.stream("POST", "/v1/responses", json=body) as answer:
            turn = answer.headers["x-response-id"]
        assert (await http.post(f"/v1/responses/{turn}/cancel")).json()["status"] == "cancelled"
    await fragile.worker()
    await read_to_end(url, transcript, turn)
    assert tally([transcript]) == NOTHING
    assert transcript.response["status"] == "cancelled"
    assert await fragile.model_requests("never to be asked") == []


async def test_attempts_used_up(fragile: Deployment) -> None:
    """A turn whose workers died as often as it may be begun fails visibly, for good, and has a dead letter."""
    url = (await fragile.gateway()).url
    doomed = await fragile.worker()
    transcript = Transcript()
    async for event in start(url, transcript, input="[stand-in tokens=500 delay_ms=50] fatal"):
        if event["type"] == "response.output_text.delta":
            await doomed.kill()
            break
    await fragile.worker(TURNSTREAM_MAX_ATTEMPTS="1")
    await read_to_end(url, transcript)
    assert tally([transcript]) == NOTHING
    assert transcript.kinds()[-1] == "response.failed"
    assert transcript.response["error"]["code"] == "max_attempts"
    assert len(await fragile.model_requests("fatal")) == 1
    async with httpx.AsyncClient(base_url=url) as http:
        letter = (await http.get(f"/v1/admin/dead-letters/{transcript.id}")).json()
    assert (letter["reason"]["code"], letter["attempts"]) == ("max_attempts", 1)
    assert letter["response"]["status"] == "failed"


async def test_nats_away_at_accept(fragile: Deployment) -> None:
    """Without NATS a turn is refused with 503 and Retry-After, and is not run later behind the client's back."""
    gateway = await fragile.gateway(TURNSTREAM_ACCEPT_PATIENCE="0.5", TURNSTREAM_BUS_TIMEOUT="0.5")
    await fragile.infrastructure.nats.stop()
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as http:
        answer = await http.post("/v1/responses", json={"model": "stand-in", "input": "too early"})
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert answer.headers["retry-after"]
        await fragile.infrastructure.nats.start()
        await fragile.worker()
        later = await http.post("/v1/responses", json={"model": "stand-in", "input": "in time"})
    assert later.json()["status"] == "completed"
    assert await fragile.model_requests("too early") == []


@pytest.mark.parametrize("kept", [False, True])
async def test_events_expired(deployment: Deployment, gateway: Gateway, http: httpx.AsyncClient, kept: bool) -> None:
    """A turn whose events have expired, all or the first, can be retrieved, and its stream ends with an error."""
    response = (await http.post("/v1/responses", json={"model": "stand-in", "input": "long ago"})).json()
    await deployment.infrastructure.expire(response["id"], keep=1 if kept else 0)
    transcript = Transcript()
    async for _ in resume(gateway.url, transcript, response["id"]):
        pass
    [event] = transcript.events
    assert event["type"] == "error"
    assert event["code"] == "events_expired"
    assert (await http.get(f"/v1/responses/{response['id']}")).json()["output"] == response["output"]


async def test_same_key_is_one_turn(http: httpx.AsyncClient, deployment: Deployment) -> None:
    """A request that comes again with its Idempotency-Key, at once or later, is the first one's turn."""
    body = {"model": "stand-in", "input": "[stand-in tokens=20 delay_ms=20] only once"}
    headers = {"idempotency-key": "a key of the client's"}
    answers = await asyncio.gather(*(http.post("/v1/responses", json=body, headers=headers) for _ in range(5)))
    answers.append(await http.post("/v1/responses", json=body, headers=headers))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert all(answer.json() == answers[0].json() for answer in answers)
    assert len(await deployment.model_requests("only once")) == 1


async def test_key_with_another_body(http: httpx.AsyncClient) -> None:
    """A key that comes with another body is a conflict, which clients are told not to try again."""
    headers = {"idempotency-key": "a reused key"}
    await http.post("/v1/responses", json={"model": "stand-in", "input": "one"}, headers=headers)
    answer = await http.post("/v1/responses", json={"model": "stand-in", "input": "two"}, headers=headers)
    assert answer.status_code == httpx.codes.CONFLICT
    assert answer.json()["error"]["code"] == "idempotency_key_reused"
    assert answer.headers["x-should-retry"] == "false"


async def test_retry_joins_what_it_began(http: httpx.AsyncClient, deployment: Deployment) -> None:
    """A client whose library tries again after its connection broke gets the turn that it began, not a second one."""
    body = {"model": "stand-in", "input": "asked and asked again"}
    first = (await http.post("/v1/responses", json=body)).json()
    again = (await http.post("/v1/responses", json=body, headers={"x-stainless-retry-count": "1"})).json()
    assert again == first
    assert (await http.post("/v1/responses", json=body)).json()["id"] != first["id"]
    new = {"model": "stand-in", "input": "its first try was lost on the way"}
    retried = await http.post("/v1/responses", json=new, headers={"x-stainless-retry-count": "2"})
    assert retried.json()["status"] == "completed"
    assert len(await deployment.model_requests("asked and asked again")) == 2


async def test_retry_with_another_key(http: httpx.AsyncClient) -> None:
    """A retry that has a key joins the turn of that key, never one of another key with the same body."""
    body = {"model": "stand-in", "input": "the same words under two keys"}
    first = (await http.post("/v1/responses", json=body, headers={"idempotency-key": "first of two"})).json()
    retry = {"idempotency-key": "second of two", "x-stainless-retry-count": "1"}
    second = (await http.post("/v1/responses", json=body, headers=retry)).json()
    assert second["id"] != first["id"]
    assert (await http.post("/v1/responses", json=body, headers=retry)).json() == second


async def test_same_key_after_the_events_expired(deployment: Deployment, http: httpx.AsyncClient) -> None:
    """A key that comes again when the turn's events are gone is answered with what is stored."""
    body, headers = {"model": "stand-in", "input": "kept for long"}, {"idempotency-key": "an old key"}
    first = (await http.post("/v1/responses", json=body, headers=headers)).json()
    await deployment.infrastructure.expire(first["id"], keep=0)
    again = await http.post("/v1/responses", json=body, headers=headers)
    assert again.status_code == httpx.codes.OK
    assert (again.json()["id"], again.json()["output"]) == (first["id"], first["output"])


async def test_retry_heals_what_was_never_queued(fragile: Deployment) -> None:
    """A turn whose gateway died before it was queued runs when its client tries again."""
    gateway = await fragile.gateway()
    await fragile.worker()
    body = {"model": "stand-in", "input": "stored and not queued"}
    headers = {"idempotency-key": "of a dying gateway"}
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as http:
        first = (await http.post("/v1/responses", json=body, headers=headers)).json()
        await fragile.infrastructure.forget_run(first["id"])
        again = (await http.post("/v1/responses", json=body, headers=headers)).json()
    assert again["id"] == first["id"]
    assert again["status"] == "completed"
    assert len(await fragile.model_requests("stored and not queued")) == 2


async def test_nats_away_at_an_interruption(fragile: Deployment) -> None:
    """Without NATS a turn that ends all that waits before it is answered in a bounded time, however many these are."""
    patience = {"TURNSTREAM_ACCEPT_PATIENCE": "1", "TURNSTREAM_BUS_TIMEOUT": "0.5"}
    gateway = await fragile.gateway(**patience)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
        body = {"model": "stand-in", "input": "Hi.", "conversation": conversation, "background": True}
        for _ in range(8):
            assert (await http.post("/v1/responses", json=body)).status_code == httpx.codes.OK
        await fragile.infrastructure.nats.stop()
        began = asyncio.get_running_loop().time()
        try:
            await http.post("/v1/responses", json={**body, "on_busy": "interrupt"})
        finally:
            took = asyncio.get_running_loop().time() - began
            await fragile.infrastructure.nats.start()
    assert took < 4
