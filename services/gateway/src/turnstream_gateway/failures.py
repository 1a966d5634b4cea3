"""Every failure of a request as an answer in OpenAI's shape, with nothing of our insides in it."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from turnstream.errors import ApiError, InvalidRequestError, RetryableError, TurnError, UnavailableError
from turnstream.logs import fault, log
from turnstream_gateway.bodies import SHOWN

# What pydantic calls a field that is not known, and the code that OpenAI's API has for it.
CODES = {"extra_forbidden": "unknown_parameter", "missing": "missing_required_parameter", "json_invalid": None}

METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
CODES_BY_STATUS = {413: "body_too_large"}


def install(app: FastAPI) -> None:
    """Make the application answer failures so."""
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(TurnError, _on_turn_error)
    app.add_exception_handler(RetryableError, _on_unavailable)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_fault)


def _answer(error: ApiError, status: int | None = None, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(error.body(), status or error.status, {**error.headers, **(headers or {})})


async def _on_api_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return _answer(error)


async def _on_turn_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TurnError)
    return JSONResponse(error.body(), error.status, error.headers)


async def _on_unavailable(_request: Request, error: Exception) -> JSONResponse:
    return _answer(unavailable(error))


def unavailable(error: Exception) -> UnavailableError:
    """Log that NATS or Postgres does not answer, and return what the client is told of it."""
    log.warning("request.unavailable", error=type(error).__name__, detail=str(error))
    return UnavailableError("Turnstream is not available at the moment. Try again.")


async def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = _most_precise(error.errors())
    if found["type"] == "json_invalid":
        return _answer(InvalidRequestError("The body is not valid JSON.", code="invalid_json"))
    if isinstance(error.body, bytes):  # left unread
        message = "Send the body as JSON, with the header 'content-type: application/json'."
        return _answer(InvalidRequestError(message, code="unsupported_content_type"))
    param = _param(found, error.body)
    message = _message(found, param)
    return _answer(InvalidRequestError(message, code=CODES.get(found["type"], "invalid_value"), param=param))


def _most_precise(errors: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the error that lies deepest: a union tells what is wrong by each of its branches; one came furthest."""
    return max(errors, key=lambda error: (len(error["loc"]), not error["type"].endswith("_type")))


def _message(error: dict[str, Any], param: str) -> str:
    """Return what is wrong in words that are about the body; pydantic's are about models and validators too."""
    match error["type"]:
        case "extra_forbidden":
            return f"Unknown parameter: '{param}'."
        case "missing":
            return f"Missing required parameter: '{param}'."
        case "union_tag_invalid":
            why = f"'{error['ctx']['tag'][:SHOWN]}' is not supported here"
        case "union_tag_not_found":
            why = "it is not an object of a known type"
        case "model_attributes_type":
            why = "it is not an object"
        case _:
            why = error["msg"].removeprefix("Value error, ").replace(" after validation", "")
    return f"Invalid value for '{param}': {why}."


def _param(error: dict[str, Any], body: Any) -> str:
    """Return the place of an error as `input[0].content`: what pydantic says of unions' branches stands in no body."""
    kind, *steps = error["loc"]
    if kind != "body":
        return str(steps[0])
    path, within = "", body
    for place, step in enumerate(steps):
        last = place == len(steps) - 1
        if isinstance(within, dict) and step == within.get("type") and not last:
            continue  # a branch that is called as a field of its own: a part of type `refusal` has a `refusal`
        if isinstance(within, list) and isinstance(step, int) and step < len(within):
            path, within = f"{path}[{step}]", within[step]
        elif isinstance(within, dict) and step in within:
            path, within = f"{path}.{step}", within[step]
        elif error["type"] == "missing" and last:
            path = f"{path}.{step}"
    return path.lstrip(".")[:SHOWN] or "body"


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed(request)
    code = CODES_BY_STATUS.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
    shown = InvalidRequestError(f"{error.detail.rstrip('.')}.", code=code)
    return _answer(shown, error.status_code, headers)


def _allowed(request: Request) -> str:
    """Return all methods that a path takes: Starlette names those of the first route that it finds."""
    scopes = [{**request.scope, "method": method} for method in METHODS]
    takes = [any(route.matches(scope)[0] is Match.FULL for route in request.app.routes) for scope in scopes]
    return ", ".join(method for method, does in zip(METHODS, takes, strict=True) if does)


async def _on_fault(_request: Request, error: Exception) -> JSONResponse:
    log.error("request.failed", **fault(error))
    return _answer(ApiError("Turnstream failed to handle the request.", code="internal_error"))
