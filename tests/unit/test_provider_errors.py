"""What a model's provider says when it refuses, in the words that servers really use."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest

from turnstream_worker.provider_errors import LONGEST_WAIT, failed, refused

TOO_LONG = [
    # OpenAI
    (400, {"message": "Your input exceeds the context window of this model.", "code": "context_length_exceeded"}),
    (400, {"message": "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens."}),
    # vLLM, whose code is the status; and its words for a prompt that is longer still
    (400, {"message": "This model's maximum context length is 4096 tokens.", "type": "BadRequestError", "code": 400}),
    (400, {"message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096."}),
    # llama.cpp, now and with the status that it had
    (400, {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"}),
    (500, {"message": "the request exceeds the available context size. try increasing the context size", "code": 500}),
    # Ollama
    (400, {"message": "the input length exceeds the context length", "type": "invalid_request_error"}),
    (400, {"message": "prompt too long; exceeded max context length by 12 tokens"}),
    # Together, and Hugging Face's server
    (422, {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000"}),
    # SGLang
    (400, {"message": "The input (61709 tokens) is longer than the model's context length (40960 tokens)."}),
    # Groq, Anthropic, Mistral, Gemini
    (400, {"message": "Please reduce the length of the messages or completion."}),
    (400, {"message": "prompt is too long: 215000 tokens > 200000 maximum"}),
    (400, {"message": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"}),
    (400, {"message": "The input token count (9) exceeds the maximum number of tokens allowed (8)."}),
]

NO_IMAGES = [
    # llama.cpp calls it its own fault
    (
        500,
        {"message": "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"},
    ),
    (500, {"message": 'Failed to parse messages: Unsupported content part type: "image_url"; messages = []'}),
    # OpenAI
    (400, {"message": "Invalid content type. image_url is only supported by certain models."}),
    # vLLM
    (400, {"message": "llama is not a multimodal model", "type": "BadRequestError", "code": 400}),
    (400, {"message": "At most 0 image(s) may be provided in one prompt."}),
    # Ollama
    (500, {"message": "this model is missing data required for image input"}),
    # OpenRouter, Groq
    (404, {"message": "No endpoints found that support image input: the model does not support images"}),
]


def body(error: Any) -> bytes:
    """Make the body of a refusal."""
    return orjson.dumps({"error": error})


@pytest.mark.parametrize(("status", "error"), TOO_LONG)
def test_prompt_too_long(status: int, error: dict[str, Any]) -> None:
    """A prompt that does not fit is told as that, whatever the server's words and status, and is not tried again."""
    found = refused(status, {}, body(error))
    assert (found.code, found.status, found.retry_after) == ("context_length_exceeded", 400, None)
    assert found.message == error["message"]
    in_stream = failed(error)
    assert (in_stream.code, in_stream.retry_after) == ("context_length_exceeded", None)


@pytest.mark.parametrize(("status", "error"), NO_IMAGES)
def test_no_images(status: int, error: dict[str, Any]) -> None:
    """A picture for a model that takes none is the client's mistake, even where the server calls it its own."""
    found = refused(status, {}, body(error))
    assert (found.code, found.status, found.retry_after) == ("invalid_image", 400, None)


@pytest.mark.parametrize(
    ("status", "shown"),
    [(429, 429), (500, 502), (502, 502), (503, 503), (504, 504), (529, 503)],
)
def test_worth_another_try(status: int, shown: int) -> None:
    """What passes by itself may be tried again, when the provider says so or whenever one likes."""
    found = refused(status, {}, body({"message": "Not now."}))
    assert (found.status, found.retry_after) == (shown, 0)
    assert "Not now" not in found.message
    assert refused(status, {"retry-after": "7"}, b"").retry_after == 7


@pytest.mark.parametrize(("status", "shown"), [(400, 400), (404, 404), (422, 422), (413, 413), (401, 502), (403, 502)])
def test_not_worth_another_try(status: int, shown: int) -> None:
    """What is wrong with the request or with our key stays wrong, and our key's trouble is not the client's."""
    found = refused(status, {"retry-after": "7"}, body({"message": "No."}))
    assert (found.status, found.retry_after) == (shown, None)
    assert (found.message == "No.") == (shown == status)


@pytest.mark.parametrize("place", ["code", "type"])
def test_quota_used_up(place: str) -> None:
    """A quota that is used up is no rate limit: it does not pass."""
    found = refused(429, {"retry-after": "1"}, body({"message": "You exceeded ...", place: "insufficient_quota"}))
    assert (found.code, found.status, found.retry_after) == ("insufficient_quota", 429, None)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("0", 0),
        ("1.5", 1.5),
        ("86400", LONGEST_WAIT),
        ("-3", 0),
        ("inf", 0),
        ("nan", 0),
        ("soon", 0),
        ("", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 01 Jan 2150 00:00:00 GMT", LONGEST_WAIT),
        ("Wed, 99 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_retry_after(said: str, seconds: float) -> None:
    """Retry-After is read as seconds or as a date, and never waited for longer than is sensible."""
    assert refused(503, {"retry-after": said}, b"").retry_after == seconds


def test_retry_after_a_date() -> None:
    """A date is as many seconds away as it is."""
    said = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    wait = refused(429, {"retry-after": said}, b"").retry_after
    assert wait is not None
    assert 15 < wait <= 20


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (body({"message": "Bad."}), "Bad."),
        (b'{"object": "error", "message": "Bad.", "code": 400}', "Bad."),
        (b'{"error": "Bad.", "error_type": "validation"}', "Bad."),
        (b'{"error": null}', "The model's provider failed."),
        (b'{"error": {"message": ["Bad."]}}', "The model's provider failed."),
        (b"null", "The model's provider failed."),
        (b"<html>", "The model's provider failed."),
        (b"", "The model's provider failed."),
    ],
)
def test_shapes_of_errors(raw: bytes, message: str) -> None:
    """An error's words are found where servers put them, and anything else has none."""
    found = refused(400, {}, raw)
    assert (found.message, found.code) == (message, "invalid_prompt")


def test_parameter_is_named() -> None:
    """A provider's code and the parameter that it names are handed on."""
    found = refused(400, {}, body({"message": "Bad.", "code": "invalid_value", "param": "messages[0]"}))
    assert (found.code, found.param) == ("invalid_value", "messages[0]")


@pytest.mark.parametrize(
    ("error", "code", "status", "retry_after"),
    [
        ({"message": "Overloaded.", "code": 503}, "server_error", 503, 0),
        ({"message": "Overloaded.", "code": "529"}, "server_error", 503, 0),
        ({"message": "Bad.", "code": 400}, "invalid_prompt", 400, None),
        ({"message": "Your key is wrong.", "code": 401}, "server_error", 502, None),
        ({"message": "Overloaded.", "code": "overloaded"}, "overloaded", 502, None),
        ({"message": "Overloaded.", "code": None}, "server_error", 502, None),
        ({}, "server_error", 502, None),
    ],
)
def test_failure_in_a_stream(error: dict[str, Any], code: str, status: int, retry_after: float | None) -> None:
    """An error that a stream says may carry HTTP's status as its code; without one nothing speaks for another try."""
    found = failed(error)
    assert (found.code, found.status, found.retry_after) == (code, status, retry_after)
