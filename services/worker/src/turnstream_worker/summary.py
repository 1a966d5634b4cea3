"""Have a model sum up what was said or thought."""

from collections.abc import AsyncIterator
from typing import Any

from turnstream_worker.messages import Message
from turnstream_worker.stack import Stack
from turnstream_worker.usage import Usage

SUMMARY_TOKENS = 4096
SUMMARY_CHARACTERS = 64 << 10
COMPACTION = (
    "Sum up the conversation above for whoever goes on with it and has not seen it. Keep the goal, every decision, "
    "fact, name, number, file and constraint that still matters, what tools returned, what is done, and what is open. "
    "Write the summary and nothing else."
)
THOUGHTS = {
    "concise": "Sum up the following reasoning in one or two sentences. Write the summary and nothing else.\n\n",
    "detailed": "Sum up the following reasoning step by step. Write the summary and nothing else.\n\n",
}


async def sum_up_thoughts(stack: Stack, model: str, thoughts: str, style: str, usage: Usage) -> AsyncIterator[str]:
    """Yield the summary of a model's reasoning by the model itself; `auto` is as `concise`. Raises ModelError."""
    asked = THOUGHTS.get(style, THOUGHTS["concise"]) + thoughts
    async for text in _text(stack, {"model": model, "messages": [{"role": "user", "content": asked}]}, usage):
        yield text


async def sum_up_conversation(stack: Stack, model: str, messages: list[Message], usage: Usage) -> str:
    """Return the summary of a conversation. Raises ModelError."""
    request = {"model": model, "messages": [*messages, {"role": "user", "content": COMPACTION}]}
    return "".join([text async for text in _text(stack, request, usage)])


async def _text(stack: Stack, request: dict[str, Any], usage: Usage) -> AsyncIterator[str]:
    used: dict[str, Any] = {}
    size = 0
    async for chunks in stack.chat({**request, "max_tokens": SUMMARY_TOKENS}):
        for chunk in chunks:
            used = chunk.get("usage") or used
            for choice in chunk.get("choices") or ():
                if text := (choice.get("delta") or {}).get("content"):
                    size += len(text)
                    yield text
        if size > SUMMARY_CHARACTERS:  # not every server keeps to its limit
            break
    usage.add(used)
