"""Items of a conversation become the messages of a chat completion."""

from copy import deepcopy
from typing import Any

import pytest

from turnstream.errors import TurnError
from turnstream_worker.chat_parts import chat_part
from turnstream_worker.messages import ATTACHED, SUMMARY, Reader
from turnstream_worker.sealing import Sealing

type Item = dict[str, Any]

SEALING = Sealing(b"k" * 32)
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"}


def messages(*items: Item) -> list[dict[str, Any]]:
    """Return the messages that items become for their tenant."""
    return Reader(SEALING, "default").messages(list(items))


def said(role: str, *texts: str) -> Item:
    """Make a message's item."""
    return {"type": "message", "id": "msg_1", "role": role, "content": [{"type": "x", "text": text} for text in texts]}


def thought(text: str = "", **fields: Any) -> Item:
    """Make a reasoning item."""
    content = [{"type": "reasoning_text", "text": text}] if text else []
    return {"type": "reasoning", "id": "rs_1", "summary": [], "content": content, **fields}


def call(number: int) -> Item:
    """Make a function call's item."""
    return {"type": "function_call", "id": "fc_1", "call_id": f"call_{number}", "name": "f", "arguments": "{}"}


def called(*numbers: int) -> list[dict[str, Any]]:
    """Make the calls as a chat completion has them."""
    function = {"name": "f", "arguments": "{}"}
    return [{"id": f"call_{number}", "type": "function", "function": function} for number in numbers]


def returned(number: int, output: Any) -> Item:
    """Make a function call output's item."""
    return {"type": "function_call_output", "id": "fco_1", "call_id": f"call_{number}", "output": output}


def answered(number: int, content: str) -> dict[str, Any]:
    """Make what a function returned as a chat completion has it."""
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": content}


# Messages


def test_nothing() -> None:
    """No items are no messages."""
    assert messages() == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [("user", "user"), ("assistant", "assistant"), ("system", "system"), ("developer", "system")],
)
def test_roles(given: str, expected: str) -> None:
    """Each role is one that providers know."""
    assert messages(said(given, "x")) == [{"role": expected, "content": "x"}]


def test_parts_are_joined() -> None:
    """The parts of a message are one text."""
    assert messages(said("user", "a", "b"))[0]["content"] == "ab"


def test_refusal() -> None:
    """A refusal is something that the model said."""
    refusal = {"type": "refusal", "refusal": "I will not."}
    assert messages({**said("assistant"), "content": [refusal]}) == [{"role": "assistant", "content": "I will not."}]


def test_image_in_a_message() -> None:
    """A message with something that is no text is sent part by part."""
    text = {"type": "input_text", "text": "What is this?"}
    [message] = messages({**said("user"), "content": [text, IMAGE]})
    assert message == {"role": "user", "content": [chat_part(text), chat_part(IMAGE)]}


def test_items_are_left_as_they_are() -> None:
    """Making messages of items changes none of them: they are stored again later."""
    items = [said("assistant", "a"), call(1), returned(1, [IMAGE])]
    before = deepcopy(items)
    messages(*items)
    assert items == before


# Calls


def test_calls_made_together_stand_together() -> None:
    """Calls in a row belong to one message, and to that of the text before them if there is one."""
    items = [said("user", "?"), said("assistant", "let me see"), call(1), call(2), returned(1, "a"), returned(2, "b")]
    assert messages(*items)[1:] == [
        {"role": "assistant", "content": "let me see", "tool_calls": called(1, 2)},
        answered(1, "a"),
        answered(2, "b"),
    ]


def test_text_behind_calls_belongs_to_them() -> None:
    """What a model said after it called stands in the message of the calls: outputs must follow those at once."""
    items = [call(1), said("assistant", "let me see"), returned(1, "a")]
    assert messages(*items) == [
        {"role": "assistant", "content": "let me see", "tool_calls": called(1)},
        answered(1, "a"),
    ]


def test_calls_one_after_another_stand_apart() -> None:
    """A call that follows an output is a message of its own."""
    first, _, second = messages(call(1), returned(1, "a"), call(2))
    assert first == {"role": "assistant", "content": None, "tool_calls": called(1)}
    assert second == {"role": "assistant", "content": None, "tool_calls": called(2)}


def test_custom_call() -> None:
    """A custom tool's call is one of a function of one text, as which the tool was offered."""
    custom = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "g", "input": 'x = "1"'}
    output = {"type": "custom_tool_call_output", "id": "ctco_1", "call_id": "call_1", "output": "1"}
    function = {"name": "g", "arguments": '{"input":"x = \\"1\\""}'}
    assert messages(custom, output) == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        answered(1, "1"),
    ]


@pytest.mark.parametrize("search", [{}, {"action": {"type": "open_page"}}, {"results": []}])
def test_search_without_a_query(search: Item) -> None:
    """A search that does not say what it looked for, as Llama Stack's do not, is nothing to the model."""
    past = {"type": "web_search_call", "id": "ws_1", "status": "completed", **search}
    assert messages(said("user", "hi"), past) == messages(said("user", "hi"))


def test_output_in_parts() -> None:
    """A function's output in parts is one text."""
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    assert messages(call(1), returned(1, parts))[-1] == answered(1, "ab")


def test_what_a_tool_returned_besides_text() -> None:
    """An image that a tool returned follows as the user's, said to be the tool's, behind the outputs of all calls."""
    text = {"type": "input_text", "text": "look"}
    items = [call(1), call(2), returned(1, [text, IMAGE]), returned(2, "b"), said("assistant", "I see")]
    note = {"type": "text", "text": ATTACHED.format(call="call_1")}
    assert messages(*items)[1:] == [
        answered(1, "look"),
        answered(2, "b"),
        {"role": "user", "content": [note, chat_part(IMAGE)]},
        {"role": "assistant", "content": "I see"},
    ]


def test_what_the_last_tool_returned_besides_text() -> None:
    """An image that the last output holds is not lost."""
    last = messages(call(1), returned(1, [IMAGE]))[-1]
    assert last["role"] == "user"
    assert last["content"][1:] == [chat_part(IMAGE)]


@pytest.mark.parametrize("kind", ["function_call_output", "custom_tool_call_output"])
@pytest.mark.parametrize("before", [[], [call(2)], [said("user", "hi")]])
def test_output_without_its_call(kind: str, before: list[Item]) -> None:
    """An output that answers no call before it is refused in words that say which, since providers' own do not."""
    with pytest.raises(TurnError, match="call_1") as refused:
        messages(*before, {**returned(1, "a"), "type": kind}, call(1))
    assert refused.value.code == "invalid_prompt"


# Reasoning


def test_reasoning_goes_back_to_the_model() -> None:
    """What a model thought of the last question stands with what it said or called then."""
    assert messages(
        said("user", "?"), thought("hm"), call(1), returned(1, "a"), thought("so"), said("assistant", "b")
    ) == [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": called(1)},
        answered(1, "a"),
        {"role": "assistant", "content": "b", "reasoning_content": "so"},
    ]


def test_reasoning_of_earlier_questions_is_left_out() -> None:
    """What a model thought before the last message of its user is not sent again."""
    items = [said("user", "?"), thought("hm"), said("assistant", "a"), said("user", "and?")]
    assert messages(*items) == [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "and?"},
    ]


def test_message_of_the_system_ends_no_question() -> None:
    """What the system says in between leaves the reasoning with its question."""
    assert messages(said("user", "?"), thought("hm"), said("system", "be brief"))[1]["reasoning_content"] == "hm"


def test_sealed_reasoning() -> None:
    """Reasoning that a client kept sealed is opened for its own tenant; its summary is no reasoning."""
    sealed = thought(encrypted_content=SEALING.seal("default", "hm"), summary=[{"type": "summary_text", "text": "so"}])
    assert messages(sealed)[0]["reasoning_content"] == "hm"


@pytest.mark.parametrize(
    "sealed",
    [None, "gAAAAAB-of-another-vendor", SEALING.seal("other", "hm"), Sealing(b"x" * 32).seal("default", "hm")],
    ids=["none", "another vendor's", "another tenant's", "another key's"],
)
def test_reasoning_that_cannot_be_read(sealed: str | None) -> None:
    """Reasoning that is not ours, or not this tenant's, is left out: the answer is there without it."""
    assert messages(said("user", "?"), thought(encrypted_content=sealed), said("assistant", "a")) == [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "a"},
    ]


# Compaction


def compacted(sealed: str) -> Item:
    """Make a compaction's item."""
    return {"type": "compaction", "id": "cmp_1", "encrypted_content": sealed}


def test_compaction() -> None:
    """What a conversation was summed up to stands in its place, and is said to be that."""
    items = [compacted(SEALING.seal("default", "We said hello.")), said("user", "?")]
    assert messages(*items) == [
        {"role": "user", "content": SUMMARY + "We said hello."},
        {"role": "user", "content": "?"},
    ]


@pytest.mark.parametrize(
    "sealed", ["ts1.", "x", SEALING.seal("other", "We said hello.")], ids=["empty", "rubbish", "another tenant's"]
)
def test_compaction_that_cannot_be_read(sealed: str) -> None:
    """A turn does not go on without what came before it: a compaction that is not the tenant's own is refused."""
    with pytest.raises(TurnError) as refused:
        messages(compacted(sealed))
    assert refused.value.code == "invalid_prompt"
