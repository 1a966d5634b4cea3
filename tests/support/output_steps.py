"""The steps that make an output."""

from collections.abc import Callable
from typing import Any

from turnstream.ids import item_id
from turnstream.turns import Item
from turnstream_worker.output import Output

type Step = Callable[[Output], object]

TOKENS = [
    {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []} for token in ("he", "llo")
]


def text(kind: str, *deltas: str) -> Step:
    """Stream deltas of a kind of part."""

    def step(output: Output) -> None:
        for delta in deltas:
            output.text(kind, delta)

    return step


def tokens(output: Output) -> None:
    """Stream tokens with their probabilities."""
    for token in TOKENS:
        output.text("output_text", str(token["token"]), [token])


def close(status: str = "completed", **fields: Any) -> Step:
    """End the open item, and say so as it is done once it is stored."""

    def step(output: Output) -> None:
        output.hold_item(status, **fields)
        output.announce(output.items)

    return step


def call(output: Output) -> None:
    """Call a function."""
    made = {"call_id": "call_1", "name": "f", "arguments": '{"a": 1}', "status": "completed"}
    output.items.append({"type": "function_call", "id": item_id("fc_", "resp_1"), **made})


def custom_call(output: Output) -> None:
    """Call a custom tool."""
    made = {"call_id": "call_2", "name": "g", "input": "x = 1", "status": "completed"}
    output.items.append({"type": "custom_tool_call", "id": item_id("ctc_", "resp_1"), **made})


def compaction(output: Output) -> None:
    """Say that what came before was summed up."""
    output.items.append({"type": "compaction", "id": item_id("cmp_", "resp_1"), "encrypted_content": "ts1.x"})
    output.announce(output.items)


def announce(*items: Item) -> Step:
    """Announce stored items."""
    return lambda output: output.announce(list(items))


def announce_own(output: Output) -> None:
    """Announce the items of this output, as it is done once they are stored."""
    output.announce(output.items)


def close_left_open(output: Output) -> None:
    """Close what a dead attempt left open."""
    output.close_left_open()


REASONING = [text("reasoning_text", "hm", ", well"), text("summary_text", "thought", " a bit")]
# Everything that is shown as it comes.
STREAMED: dict[str, list[Step]] = {
    "message": [text("output_text", "he", "llo"), close()],
    "message with logprobs": [tokens, close()],
    "incomplete message": [text("output_text", "he"), close("incomplete")],
    "refusal": [text("refusal", "I", " will not"), close()],
    "several parts": [text("output_text", "a"), text("refusal", "b"), text("output_text", "c", "d"), close()],
    "reasoning": [text("reasoning_text", "hm", ", well"), close()],
    "reasoning summed up": [*REASONING, close()],
    "reasoning sealed": [*REASONING, close(encrypted_content="ts1.x")],
    "compaction": [compaction],
    "several items": [compaction, *REASONING, text("output_text", "a"), close(), text("output_text", "b"), close()],
}
# And with what is shown once it is stored.
OUTPUTS = STREAMED | {
    "function call": [call],
    "custom tool call": [custom_call],
    "all": [compaction, *REASONING, text("output_text", "he", "llo"), close(), call, custom_call],
}
