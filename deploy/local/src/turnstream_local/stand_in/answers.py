"""What the stand-in says: one rule for each kind of request."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice, takewhile
from uuid import uuid4

from turnstream_local.stand_in.chat_request import ChatRequest, NamedTool, Tool, plain
from turnstream_local.stand_in.schema import fill
from turnstream_local.stand_in.script import MAX_TOKENS, Reply, ScriptedError

UNSAFE_WORDS = ("bomb", "explosive", "poison")
"""A guard model answers `unsafe` to a text with a word that begins so, in any case."""
UNSAFE = re.compile(rf"\b(?:{'|'.join(UNSAFE_WORDS)})", re.IGNORECASE)
QUOTE = 120
"""Characters of a text that an answer quotes at most."""
FILLER = (" one", " two", " three", " four", " five", " six", " seven", " eight", " nine", " ten")
STAMP = " 0000000000000"
"""In place of each token that is to be the time of its sending; what cannot be known before is filled in then."""
TOKEN = re.compile(r"\s*\S+|\s+")
ARGUMENT_PIECE = re.compile(r"\w+|\W+")
# Llama Stack's shield puts the conversation into one user message, below the list of categories.
GUARDED = re.compile(r"<BEGIN CONVERSATION>(.*)<END CONVERSATION>", re.DOTALL)
NO_REPLY = Reply()
SPEAKER = re.compile(r"\n\n(?:User|Assistant|System|Tool): ")


@dataclass(frozen=True, slots=True)
class Pace:
    """When tokens are sent, in seconds."""

    first_delay: float
    delay: float


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call, its arguments cut into the pieces that are streamed."""

    id: str
    name: str
    pieces: Sequence[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """All that is to be sent, and how."""

    thoughts: Sequence[str]
    tokens: Sequence[str]
    refusal: Sequence[str]
    calls: Sequence[Call]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    pace: Pace
    logprobs: Sequence[float] = (-0.1,)
    error: ScriptedError | None = None
    hang: bool = False


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where neither a script nor a directive says otherwise."""

    delay_ms: float = 0
    tokens: int | None = None
    """How many tokens a text has; its natural length when absent."""


def answer(request: ChatRequest, reply: Reply | None, defaults: Defaults) -> Answer:
    """Decide on the answer to a request; a scripted reply goes before the rules."""
    reply = reply or NO_REPLY
    tokens, calls = _scripted(reply) or _by_rule(request, defaults)
    if reply.error and len(tokens) < reply.error.after_tokens and not calls:
        tokens = _stretched(tokens, reply.error.after_tokens)
    thoughts, refusal = split(reply.reasoning or ""), split(reply.refusal or "")
    made = Answer(
        thoughts=thoughts,
        tokens=tokens,
        refusal=refusal,
        calls=calls,
        finish_reason="tool_calls" if calls else "stop",
        prompt_tokens=sum(len(TOKEN.findall(message.text)) for message in request.messages),
        completion_tokens=len(thoughts) + len(tokens) + len(refusal) + sum(len(call.pieces) for call in calls),
        pace=_pace(request, reply, defaults),
        error=reply.error,
        hang=reply.hang,
    )
    return _overridden(_limited(made, request.token_limit), reply)


def split(text: str) -> list[str]:
    """Cut a text into tokens, each a word with the space before it; joined they are the text."""
    return TOKEN.findall(text)


def _scripted(reply: Reply) -> tuple[list[str], list[Call]] | None:
    said = (reply.text, reply.tokens, reply.chunks, reply.refusal, reply.tool_calls)
    if all(part is None for part in said) and not reply.hang:
        return None
    tokens = split(reply.text or "") if reply.chunks is None else list(reply.chunks)
    if reply.tokens is not None:
        tokens = _stretched(tokens, reply.tokens)
    calls = [
        _call(call.name, call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments))
        for call in reply.tool_calls or ()
    ]
    return tokens, calls


def _by_rule(request: ChatRequest, defaults: Defaults) -> tuple[list[str], list[Call]]:
    if "guard" in request.model:
        return split(_verdict(request)), []
    if tool := _tool_to_call(request):
        arguments = fill(tool.function.parameters or {"type": "object"}, plain(request.last_user_text))
        return [], [_call(tool.function.name, json.dumps(arguments))]
    if request.response_format and request.response_format.type != "text":
        return split(_json(request)), []
    tokens = split(_text(request))
    wanted = request.directive.get("tokens", defaults.tokens)
    tokens = tokens if wanted is None else _stretched(tokens, wanted)
    return ([STAMP] * len(tokens) if request.directive.get("stamp") else tokens), []


def _verdict(request: ChatRequest) -> str:
    text = plain(request.last_user_text)
    if found := GUARDED.search(text):
        # Only the last message is judged, as by the real model: the one before it was judged in its own turn.
        text = SPEAKER.split("\n\n" + found[1].strip())[-1]
    return "unsafe\nS1" if UNSAFE.search(text) else "safe"


def _tool_to_call(request: ChatRequest) -> Tool | None:
    if not request.tools or request.tool_choice == "none" or not _is_to_call(request):
        return None
    if isinstance(request.tool_choice, NamedTool):
        wanted = request.tool_choice.function.name
        return next(tool for tool in request.tools if tool.function.name == wanted)
    text = request.last_user_text
    return next((tool for tool in request.tools if tool.function.name in text), request.tools[0])


def _is_to_call(request: ChatRequest) -> bool:
    """Tell whether a user's message has not had its tool calls: one, or as many in a row as its directive says."""
    if wanted := request.directive.get("calls"):
        # By what the request holds, not by what was asked before: a request that is sent again is answered the same.
        behind = takewhile(lambda message: message.role != "user", reversed(request.messages))
        return sum(message.role == "tool" for message in behind) < wanted
    return request.messages[-1].role == "user"


def _json(request: ChatRequest) -> str:
    text = plain(request.last_user_text)
    wanted = request.response_format.json_schema if request.response_format else None
    return json.dumps(fill(wanted.schema_, text) if wanted else {"answer": _quote(text)})


def _text(request: ChatRequest) -> str:
    texts = [plain(text) for text in request.user_texts]
    if results := _tool_results(request):
        return f"I am the stand-in model. The tool answered: {'; '.join(map(_quote, results))}."
    if not texts:
        return "I am the stand-in model. I have seen no user message."
    said = f'I am the stand-in model. You said: "{_quote(texts[-1])}".'
    if len(texts) == 1:
        return f"{said} That is the first user message I have seen."
    return f'{said} I have seen {len(texts)} user messages; the first was: "{_quote(texts[0])}".'


def _tool_results(request: ChatRequest) -> list[str]:
    results: list[str] = []
    for message in reversed(request.messages):
        if message.role not in {"tool", "function"}:
            break
        results.insert(0, message.text)
    return results


def _call(name: str, arguments: str) -> Call:
    return Call(id=f"call_{uuid4().hex}", name=name, pieces=ARGUMENT_PIECE.findall(arguments))


def _quote(text: str) -> str:
    return text if len(text) <= QUOTE else text[: QUOTE - 1] + "…"


def _stretched(tokens: Sequence[str], count: int) -> list[str]:
    count = min(count, MAX_TOKENS)
    return [*tokens[:count], *islice(cycle(FILLER), max(0, count - len(tokens)))]


def _pace(request: ChatRequest, reply: Reply, defaults: Defaults) -> Pace:
    delay = reply.delay_ms
    if delay is None:
        delay = request.directive.get("delay_ms", defaults.delay_ms)
    first = reply.first_delay_ms
    if first is None:
        first = request.directive.get("first_delay_ms", delay)
    return Pace(first_delay=first / 1000, delay=delay / 1000)


def _limited(made: Answer, limit: int | None) -> Answer:
    if limit is None or made.completion_tokens <= limit:
        return made
    left = limit
    said: list[Sequence[str]] = []
    for part in (made.thoughts, made.tokens, made.refusal, *(call.pieces for call in made.calls)):
        said.append(part[:left])
        left -= len(said[-1])
    thoughts, tokens, refusal, *pieces = said
    calls = [replace(call, pieces=kept) for call, kept in zip(made.calls, pieces, strict=True) if kept]
    return replace(
        made,
        thoughts=thoughts,
        tokens=tokens,
        refusal=refusal,
        calls=calls,
        finish_reason="length",
        completion_tokens=limit,
    )


def _overridden(made: Answer, reply: Reply) -> Answer:
    if reply.usage:
        made = replace(made, prompt_tokens=reply.usage.prompt_tokens, completion_tokens=reply.usage.completion_tokens)
    if reply.logprobs:
        made = replace(made, logprobs=reply.logprobs)
    return replace(made, finish_reason=reply.finish_reason) if reply.finish_reason else made
