"""What a user of llama-stack-client's `Agent` does: a session, two turns with memory, a tool of the client's own.

Runs with any version of the client, as `python agent_session.py URL`, and prints what it saw as JSON.
"""

import importlib.metadata
import json
import sys
from typing import Any

from llama_stack_client import LlamaStackClient
from llama_stack_client.lib.agents.agent import Agent
from llama_stack_client.lib.agents.client_tool import client_tool
from llama_stack_client.lib.agents.event_logger import AgentEventLogger

calls: list[list[int]] = []


@client_tool
def add(first: int, second: int) -> int:
    """Add two whole numbers.

    :param first: one number
    :param second: the other number
    """
    calls.append([first, second])
    return first + second


def say(agent: Agent, session: str, text: str) -> str:
    """Run a turn and return what the logger would print of it."""
    messages = [{"role": "user", "content": text, "type": "message"}]
    stream = agent.create_turn(messages=messages, session_id=session, stream=True)
    return "".join(str(printed) for printed in AgentEventLogger().log(stream))


def main() -> None:
    """Do it, and print it."""
    client = LlamaStackClient(base_url=sys.argv[1])
    models = [model.id if hasattr(model, "id") else model.identifier for model in client.models.list()]
    talker = Agent(client, model="stand-in", instructions="Be brief.")
    session = talker.create_session("a session")
    printed = [say(talker, session, text) for text in ("My name is Ada.", "What is my name?")]
    conversation = client.conversations.retrieve(session)
    items = client.conversations.items.list(session, order="asc", after="", include=[], limit=50).data
    adder = Agent(client, model="stand-in", instructions="Use your tools.", tools=[add])
    tool_session = adder.create_session("another session")
    printed_with_tool = say(adder, tool_session, "Please add 2 and 3.")
    whole: Any = adder.create_turn(
        messages=[{"role": "user", "content": "Now add 4 and 5.", "type": "message"}],
        session_id=tool_session,
        stream=False,
    )
    client.conversations.delete(session)
    seen = {
        "version": importlib.metadata.version("llama-stack-client"),
        "models": models,
        "printed": printed,
        "printed_with_tool": printed_with_tool,
        "conversation": conversation.metadata,
        "roles": [item.role for item in items if item.type == "message"],
        "calls": calls,
        "whole": whole.output_text,
    }
    print(json.dumps(seen))


main()
