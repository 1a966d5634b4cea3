"""What a client may ask of Turnstream that OpenAI's API does not have."""

import pytest
from support.request_bodies import contradiction, kept, parsed, refusal

from turnstream.errors import InvalidRequestError
from turnstream_gateway.limits import LIMITED, check_limits
from turnstream_gateway.settings import GatewaySettings


def test_on_busy() -> None:
    """What a busy conversation means for a turn is said where there is one, and done when it is accepted."""
    for what in ("enqueue", "reject", "interrupt", "rollback"):
        body = parsed(on_busy=what, conversation="conv_1")
        assert (body.on_busy, "on_busy" in body.parameters()) == (what, False)
        assert contradiction(on_busy=what) == ("on_busy", "invalid_value")
        assert contradiction(on_busy=what, previous_response_id="resp_1") == ("on_busy", "invalid_value")
    assert refusal(on_busy="wait", conversation="conv_1")["loc"] == ("on_busy",)


def test_disconnect_grace() -> None:
    """How long a reader is waited for is said where a turn is to end with its readers."""
    given = {"on_disconnect": "cancel", "disconnect_grace": 0}
    assert kept(**given) == given
    for without in ({}, {"on_disconnect": "continue"}):
        assert contradiction(disconnect_grace=1, **without) == ("disconnect_grace", "invalid_value")
    assert refusal(**{**given, "disconnect_grace": -1})["loc"] == ("disconnect_grace",)


@pytest.mark.parametrize("stream", [False, True])
def test_background_has_no_reader(stream: bool) -> None:
    """What goes on in the background cannot end with who reads it."""
    asked = {"background": True, "stream": stream}
    assert contradiction(**asked, on_disconnect="cancel") == ("on_disconnect", "invalid_value")
    assert kept(**asked, on_disconnect="continue") == {"background": True, "on_disconnect": "continue"}


@pytest.mark.parametrize("name", LIMITED)
def test_operators_limits(name: str) -> None:
    """A request may ask for what the operator allows, and no more; the refusal says how much that is."""
    settings = GatewaySettings(nats_url="nats://nobody", postgres_dsn="postgresql://nobody")
    settings = settings.model_copy(update={f"{name}_limit": 7})
    check_limits(parsed(), settings)
    check_limits(parsed(on_disconnect="cancel", **{name: 7}), settings)
    with pytest.raises(InvalidRequestError, match="at most 7") as refused:
        check_limits(parsed(on_disconnect="cancel", **{name: 8}), settings)
    assert (refused.value.param, refused.value.code) == (name, "invalid_value")
