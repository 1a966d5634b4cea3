"""Conversations that outgrow a model's context: cut in the middle or summed up, as the client asks."""

from typing import Any

import openai
import pytest
from openai.types.responses import Response
from support.deployment import Deployment

TOO_LONG = {"error": {"status": 400, "code": "context_length_exceeded", "message": "Your input is too long."}}
SUMMARY = "They spoke at length of numbers."
COMPACTION: Any = [{"type": "compaction", "compact_threshold": 1000}]
LONG = "number " * 1200  # more words than the threshold
COUNTED = {"prompt_tokens": 1300, "completion_tokens": 1}


async def conversation_of(client: openai.AsyncOpenAI, *texts: str) -> str:
    """Create a conversation in which the user said some texts, each answered."""
    items: Any = [
        {"role": role, "content": said}
        for text in texts
        for role, said in (("user", text), ("assistant", f"re: {text}"))
    ]
    return (await client.conversations.create(items=items)).id


async def said_to_model(deployment: Deployment, text: str) -> list[list[str]]:
    """Return the texts of the messages of each request that reached the model with a text."""
    return [[message["content"] for message in asked["messages"]] for asked in await deployment.model_requests(text)]


def error_of(response: Response) -> dict[str, Any]:
    """Return the error of a response that has failed."""
    assert response.error
    return response.error.to_dict()


# Truncation


async def test_truncated(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """With truncation, the middle of a conversation goes until the rest fits; first and last stay, and instructions."""
    await deployment.script("is it short enough?", TOO_LONG, TOO_LONG, {"text": "It is now."})
    conversation = await conversation_of(client, *(f"question {n}" for n in range(8)))
    response = await client.responses.create(
        model="stand-in",
        input="is it short enough?",
        conversation=conversation,
        truncation="auto",
        instructions="Be brief.",
    )
    assert response.output_text == "It is now."
    assert response.truncation == "auto"
    requests = await said_to_model(deployment, "is it short enough?")
    assert len(requests) == 3
    assert [len(request) for request in requests] == sorted((len(request) for request in requests), reverse=True)
    assert len(requests[0]) == 18
    for shorter in requests[1:]:
        assert shorter[:3] == ["Be brief.", "question 0", "re: question 0"]
        assert shorter[-1] == "is it short enough?"
        # A question never loses its answer, and what is left stands in its order.
        assert [text for text in requests[0] if text in shorter] == shorter
        assert all(f"re: {text}" in shorter for text in shorter[1:-1] if text.startswith("question"))
    items = [item async for item in client.conversations.items.list(conversation, limit=100)]
    assert len(items) == 18  # the conversation itself is kept whole


async def test_truncated_streamed(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A stream shows nothing of the tries that did not fit."""
    await deployment.script("does the stream fit?", TOO_LONG, {"text": "Yes."})
    conversation = await conversation_of(client, "one", "two", "three")
    stream = await client.responses.create(
        model="stand-in", input="does the stream fit?", conversation=conversation, truncation="auto", stream=True
    )
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events].count("response.created") == 1
    assert events[-1].type == "response.completed"


@pytest.mark.parametrize("truncation", [None, "disabled"])
async def test_not_truncated(client: openai.AsyncOpenAI, deployment: Deployment, truncation: Any) -> None:
    """Without truncation, a conversation that does not fit fails by the provider's code, and is not tried again."""
    text = f"too long, {truncation}"
    await deployment.script(text, TOO_LONG, {"text": "never said"})
    conversation = await conversation_of(client, "one", "two", "three")
    response = await client.responses.create(
        model="stand-in", input=text, conversation=conversation, truncation=truncation
    )
    assert response.status == "failed"
    assert error_of(response) == {"code": "context_length_exceeded", "message": "Your input is too long."}
    assert len(await deployment.model_requests(text)) == 1


async def test_nothing_to_truncate(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """Where nothing is left to leave out, truncation fails as if it were not there."""
    await deployment.script("too long by itself", TOO_LONG)
    response = await client.responses.create(model="stand-in", input="too long by itself", truncation="auto")
    assert error_of(response)["code"] == "context_length_exceeded"
    assert len(await deployment.model_requests("too long by itself")) == 1


# Compaction


async def test_compacted(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A conversation that has grown to the threshold is summed up by an item that stands for it from then on."""
    await deployment.script("Sum up the conversation above", {"text": SUMMARY, "usage": COUNTED})
    await deployment.script("what was it about?", {"text": "counted", "usage": COUNTED}, {"text": "Numbers."})
    first = await client.responses.create(model="stand-in", input=LONG)
    stream = await client.responses.create(
        model="stand-in",
        input="what was it about?",
        previous_response_id=first.id,
        instructions="Be brief.",
        context_management=COMPACTION,
        stream=True,
    )
    events = [event async for event in stream]
    last = events[-1]
    assert last.type == "response.completed"
    second = last.response
    compaction, message = second.output
    assert compaction.type == "compaction"
    assert message.type == "message"
    assert compaction.encrypted_content
    assert SUMMARY not in second.to_json()
    about = [event.type for event in events if getattr(event, "output_index", None) == 0]
    assert about == ["response.output_item.added", "response.output_item.done"]
    # The last question was asked with the summary in place of all before it.
    asked = (await said_to_model(deployment, "what was it about?"))[-1]
    assert asked[0] == "Be brief."
    assert SUMMARY in asked[1]
    assert asked[2:] == ["what was it about?"]
    assert second.usage
    assert second.usage.input_tokens > 1300
    # And so is the next one, by whichever way the conversation goes on.
    await client.responses.create(model="stand-in", input="go on behind it", previous_response_id=second.id)
    asked = (await said_to_model(deployment, "go on behind it"))[-1]
    assert SUMMARY in asked[0]
    assert asked[1:] == ["Numbers.", "go on behind it"]
    sent_back: Any = [*(item.model_dump() for item in second.output), {"role": "user", "content": "by hand behind it"}]
    await client.responses.create(model="stand-in", input=sent_back)
    assert SUMMARY in (await said_to_model(deployment, "by hand behind it"))[-1][0]


async def test_compacted_conversation(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A conversation keeps the item, so that later turns of any client start behind it."""
    await deployment.script("Sum up the conversation above", {"text": SUMMARY, "usage": COUNTED})
    conversation = await conversation_of(client, LONG)
    response = await client.responses.create(
        model="stand-in", input="sum it up", conversation=conversation, context_management=COMPACTION
    )
    assert response.output[0].type == "compaction"
    items = [item async for item in client.conversations.items.list(conversation, order="asc")]
    assert [item.type for item in items] == ["message", "message", "message", "compaction", "message"]
    await client.responses.create(model="stand-in", input="a later turn", conversation=conversation)
    [asked] = await said_to_model(deployment, "a later turn")
    assert SUMMARY in asked[0]
    assert len(asked) == 3


async def test_not_compacted(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """Below the threshold nothing is summed up, and nothing is counted that is short anyway."""
    response = await client.responses.create(model="stand-in", input="short yet", context_management=COMPACTION)
    assert [item.type for item in response.output] == ["message"]
    assert len(await deployment.model_requests("short yet")) == 1


@pytest.mark.parametrize("sealed", ["anything", "ts1.AAAA", "ts1.é"])
async def test_compaction_of_another(client: openai.AsyncOpenAI, sealed: str) -> None:
    """A compaction that was not made here fails the turn: what the model would not know must not go unnoticed."""
    items: Any = [{"type": "compaction", "encrypted_content": sealed}, {"role": "user", "content": "go on"}]
    response = await client.responses.create(model="stand-in", input=items)
    assert response.status == "failed"
    assert error_of(response)["code"] == "invalid_prompt"


@pytest.mark.parametrize(
    "entries",
    [
        [{"type": "compaction", "compact_threshold": 999}],
        [{"type": "compaction"}],
        [{"type": "forgetting", "compact_threshold": 1000}],
        COMPACTION * 2,
    ],
)
async def test_no_such_management(client: openai.AsyncOpenAI, entries: Any) -> None:
    """A management of the context that is not there is refused."""
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="stand-in", input="x", context_management=entries)
    assert str(refused.value.param).startswith("context_management")
