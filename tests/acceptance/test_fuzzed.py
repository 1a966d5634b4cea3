"""Whatever is asked of the API, it answers as /openapi.json says. `make fuzz` asks more, and other things each time."""

from support.deployment import Gateway
from support.fuzzing import fuzz


async def test_fuzzed(gateway: Gateway) -> None:
    """No request makes the server fail, and every answer has a status, a type and a schema that are described."""
    passed, report = await fuzz(gateway.url, "--seed=1", "--max-examples=10", "--phases=examples,fuzzing,stateful")
    assert passed, report
