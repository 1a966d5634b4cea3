"""What a provider's refusal means: whose fault it is, whether another try may help, and in which words to say it."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from turnstream.errors import ModelError

CLIENT_ERRORS = range(400, 500)
RATE_LIMITED = 429
OUR_ACCOUNT = {401, 402, 403, 407}  # about our key or our bill, which are nothing of the client's
RETRYABLE = {RATE_LIMITED, 500, 502, 503, 504, 529}  # 529: overloaded, with some providers
SHOWN_AS = {503: 503, 504: 504, 529: 503}  # the provider's own failures; any other is a 502
LONGEST_WAIT = 60.0  # seconds; who says more is asked again all the same, and says so again

# What servers say of a prompt that is too long. OpenAI and llama.cpp have a code or a type for it as well.
TOO_LONG = re.compile(
    r"maximum context length|maximum model length|maximum prompt length"  # OpenAI, vLLM, SGLang, DeepSeek
    r"|(longer|greater|larger) than the (model's |maximum )?(context|model) length|context length of only"  # LM Studio
    r"|exceed(s|ed)? (the |max |maximum |available )*context (length|size|window|limit)"  # llama.cpp, Ollama, Anthropic
    r"|exceeds the maximum number of tokens"  # Gemini
    r"|too long to fit into the model|(prompt|input) is too long|prompt too long"  # vLLM, Anthropic, Bedrock, Ollama
    r"|too large for model with \d+ maximum context"  # Mistral
    r"|`inputs` tokens \+ `max_new_tokens` must be <="  # Together, Hugging Face
    r"|reduce the length of the (messages|prompt|input)",  # Groq, Together
    re.IGNORECASE,
)
TOO_LONG_TYPES = {"context_length_exceeded", "exceed_context_size_error"}
# What they say of a picture to a model that has no eyes.
NO_IMAGES = re.compile(
    r"image(_url| input)?s? (is|are) (not supported|only supported by)"  # llama.cpp, OpenAI
    r"|(does not|doesn't|not) support (image|vision|multi-?modal)"  # Together, Groq, OpenRouter
    r"|is not a multi-?modal model|at most 0 image"  # vLLM
    r"|unsupported content part type: .?image"  # llama.cpp
    r"|missing data required for image input",  # Ollama
    re.IGNORECASE,
)


def refused(status: int, headers: Mapping[str, str], body: bytes) -> ModelError:
    """Return the error of a refused request: the provider's own words where they are about the request."""
    error = _error_in(body)
    if known := _known(status, error):
        return known
    wait = _wait(headers) if status in RETRYABLE else None
    if status == RATE_LIMITED:
        return _limited(error, wait)
    if status in OUR_ACCOUNT or status not in CLIENT_ERRORS:
        message = f"The model's provider answered with status {status}."
        return ModelError(message, status=SHOWN_AS.get(status, 502), retry_after=wait)
    return _in_its_words(error, code="invalid_prompt", status=status)


def failed(error: dict[str, Any]) -> ModelError:
    """Return the error that a stream says it ends with; some servers give HTTP's status as its code."""
    code = str(error.get("code"))
    status = int(code) if code.isdecimal() else None
    if known := _known(status, error):
        return known
    if status and status in CLIENT_ERRORS and status not in OUR_ACCOUNT:
        return _in_its_words(error, code="invalid_prompt", status=status)
    return _in_its_words(error, status=SHOWN_AS.get(status or 0, 502), retry_after=0.0 if status in RETRYABLE else None)


def _known(status: int | None, error: dict[str, Any]) -> ModelError | None:
    """Return what is recognised by its words, whatever status it came with."""
    if status in {RATE_LIMITED, *OUR_ACCOUNT}:
        return None
    message = str(error.get("message") or "")
    if TOO_LONG_TYPES & {str(error.get("code")), str(error.get("type"))} or TOO_LONG.search(message):
        return ModelError(message or "The prompt is too long.", code="context_length_exceeded", status=400)
    if NO_IMAGES.search(message):
        return ModelError(message, code="invalid_image", status=400)
    return None


def _limited(error: dict[str, Any], wait: float | None) -> ModelError:
    if "insufficient_quota" in {error.get("code"), error.get("type")}:
        message = "The quota at the model's provider is used up."
        return ModelError(message, code="insufficient_quota", status=RATE_LIMITED)
    message = "The model's provider is limiting the rate of requests."
    return ModelError(message, code="rate_limit_exceeded", status=RATE_LIMITED, retry_after=wait)


def _in_its_words(
    error: dict[str, Any], *, code: str = "server_error", status: int, retry_after: float | None = None
) -> ModelError:
    said, message, param = error.get("code"), error.get("message"), error.get("param")
    return ModelError(
        message if message and isinstance(message, str) else "The model's provider failed.",
        code=said if said and isinstance(said, str) and not said.isdecimal() else code,
        param=param if isinstance(param, str) else None,
        status=status,
        retry_after=retry_after,
    )


def _error_in(body: bytes) -> dict[str, Any]:
    """Return the error of a body, as OpenAI nests it, as others put it in the open, or as a mere text."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(parsed, dict):
        return {}
    error = parsed.get("error", parsed)
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _wait(headers: Mapping[str, str]) -> float:
    """Return the seconds that `Retry-After` says, as a number or as a date; 0 without one that can be read."""
    said = headers.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        seconds = _seconds_until(said)
    return min(max(seconds, 0.0), LONGEST_WAIT) if math.isfinite(seconds) else 0.0


def _seconds_until(date: str) -> float:
    try:
        return (parsedate_to_datetime(date).astimezone(UTC) - datetime.now(UTC)).total_seconds()
    except ValueError:
        return 0.0
