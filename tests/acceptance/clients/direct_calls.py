"""What a user of llama-stack-client asks of a model directly, and of the server about itself.

Runs with any version of the client, as `python direct_calls.py URL`, and prints what it saw as JSON.
"""

import importlib.metadata
import json
import sys
from typing import Any

from llama_stack_client import LlamaStackClient

HELLO: Any = {"model": "stand-in", "messages": [{"role": "user", "content": "Hello there."}]}


def main() -> None:
    """Do it, and print it."""
    client = LlamaStackClient(base_url=sys.argv[1])
    whole: Any = client.chat.completions.create(**HELLO)
    deltas = [chunk.choices[0].delta.content for chunk in client.chat.completions.create(**HELLO, stream=True)]
    text: Any = client.completions.create(model="stand-in", prompt="Hello there.")
    embedded: Any = client.embeddings.create(model="stand-in-embedding", input=["one two", "three"])
    providers = client.providers.list()
    seen = {
        "version": importlib.metadata.version("llama-stack-client"),
        "whole": whole.choices[0].message.content,
        "streamed": "".join(delta or "" for delta in deltas),
        "text": text.choices[0].text,
        "dimensions": [len(one.embedding) for one in embedded.data],
        "providers": [provider.to_dict() for provider in providers],
        "provider": client.providers.retrieve(providers[0].provider_id).to_dict(),
        "routes": [f"{route.method} {route.route}" for route in client.routes.list()],
        "health": client.inspect.health().status,
        "server": client.inspect.version().version,
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
