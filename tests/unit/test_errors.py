"""The tree of errors, and the maps from libraries' errors to it."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import asyncpg.exceptions
import nats.errors
import nats.js.errors
import pytest
from nats.aio.msg import Msg

from turnstream import bus, database, errors
from turnstream.bus import Delivery, connection
from turnstream.errors import ApiError, BusUnavailableError, ModelError, TurnstreamError

# Rule: everything that nats-py raises means that the server is away, but for what is listed here, which says that the
# caller, the configuration or the message is wrong, and comes again however often it is tried. An error that a new
# version of nats-py brings is in neither list, and fails the test until somebody has thought about it.
NOT_AWAY = {
    "AuthorizationError",
    "BadHeaderError",
    "BadSubjectError",
    "BadSubscriptionError",
    "BadTimeoutError",
    "ConnectionDrainingError",  # nothing here drains
    "Error",
    "InvalidCallbackTypeError",
    "InvalidUserCredentialsError",
    "JsonParseError",
    "MaxPayloadError",
    "MsgAlreadyAckdError",
    "NotJSMessageError",
    "ProtocolError",
    "SecureConnFailedError",
    "SecureConnRequiredError",
    "SecureConnWantedError",
    "ServerNotInPoolError",  # goes to the error callback, which logs it
    "SlowConsumerError",  # the same
}

# Rule: Postgres is away if it cannot be reached (SQLSTATE class 08), is going or coming (class 57), has no connection
# left (53300), or is no longer the leader (25006). Anything else that it says, it says about the statement.
AWAY_STATES = re.compile("08|57|53300|25006")
# Errors that asyncpg raises itself have no SQLSTATE. These are about a connection that is gone, or not to be trusted.
AWAY_WITHOUT_STATE = {"InterfaceError", "InternalClientError", "ProtocolError", "OutdatedSchemaCacheError"}
# And these about the values or the options that it was given, which trying again does not change.
NOT_AWAY_WITHOUT_STATE = {
    "ClientConfigurationError",
    "DataError",
    "FatalPostgresError",
    "PostgresError",
    "TargetServerAttributeNotMatched",
    "UnknownPostgresError",
    "UnsupportedClientFeatureError",
    "UnsupportedServerFeatureError",
}


def classes(module: ModuleType) -> Iterator[tuple[str, type[Exception]]]:
    """Yield the exceptions that a module defines."""
    for name, found in inspect.getmembers(module, inspect.isclass):
        defined = found.__module__.startswith(module.__name__.rpartition(".")[0])
        if defined and issubclass(found, Exception) and not issubclass(found, Warning):
            yield name, found


def asyncpg_errors(*, away: bool) -> list[type[Exception]]:
    """Return asyncpg's errors that mean, by the rule, that Postgres is away, or those that do not."""
    found = []
    for name, error in classes(asyncpg.exceptions):
        state = getattr(error, "sqlstate", None)
        known = name in AWAY_WITHOUT_STATE | NOT_AWAY_WITHOUT_STATE
        assert state or known, f"{name} is new: decide whether it means that Postgres is away"
        if away == bool(AWAY_STATES.match(state) if state else name in AWAY_WITHOUT_STATE):
            found.append(error)
    return found


def test_tree_is_as_drawn() -> None:
    """The tree in the module's docstring is the tree of the classes."""
    drawn = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if name := re.search(r"\b\w+Error\b", line):
            depth = (name.start() - 4) // 4
            above = above[:depth]
            drawn[name[0]] = above[-1] if above else "Exception"
            above.append(name[0])
    defined = {name: error.__base__.__name__ for name, error in classes(errors) if error.__base__}
    assert drawn == defined


def test_every_error_says_what_it_means() -> None:
    """Every error has a docstring, and a kind: another try may help, or not."""
    kinds = (errors.TerminalError, errors.RetryableError)
    for _, error in classes(errors):
        assert error.__doc__
        assert error is TurnstreamError or sum(issubclass(error, kind) for kind in kinds) == 1


def test_api_errors_have_the_statuses_that_are_drawn() -> None:
    """The statuses in the module's docstring are those that clients get, in a body of OpenAI's shape."""
    drawn = {
        name: int(status) for name, status in re.findall(r"(\w+Error) +(\d{3})$", errors.__doc__ or "", re.MULTILINE)
    }
    answers = {name: error for name, error in classes(errors) if issubclass(error, ApiError)}
    assert drawn == {name: error.status for name, error in answers.items() if error is not ApiError}
    for error in answers.values():
        kind = "invalid_request_error" if error.status < 500 else "server_error"
        kind = "rate_limit_error" if error.status == 429 else kind
        body = {"message": "No.", "type": kind, "code": "c", "param": "p"}
        assert error("No.", code="c", param="p").body() == {"error": body}


def test_answers_say_whether_to_try_again() -> None:
    """Only the answers that invite another try say when, and those that clients would try again forbid it."""
    answers = [error for _, error in classes(errors) if issubclass(error, ApiError)]
    told = ("retry-after", "x-should-retry")
    headers = {error.__name__: error.headers for error in answers if any(name in error.headers for name in told)}
    in_vain = {"x-should-retry": "false"}
    again = {"retry-after": "1"}
    assert headers == {
        "UnavailableError": again,
        "RateLimitError": again,
        "ConflictError": in_vain,
        "NotConfiguredError": in_vain,
    }


@pytest.mark.parametrize(
    ("status", "retry_after", "kind", "headers"),
    [
        (400, None, "invalid_request_error", {"x-should-retry": "false"}),
        (429, None, "rate_limit_error", {"x-should-retry": "false"}),
        (429, 1.2, "rate_limit_error", {"retry-after": "2"}),
        (503, 0.0, "server_error", {}),
        (502, None, "server_error", {"x-should-retry": "false"}),
    ],
)
def test_model_error_as_an_answer(status: int, retry_after: float | None, kind: str, headers: dict[str, str]) -> None:
    """A model's error says in its answer what went wrong, and when to try again or not to."""
    error = ModelError("No.", code="c", param="p", status=status, retry_after=retry_after)
    assert error.body() == {"error": {"message": "No.", "type": kind, "code": "c", "param": "p"}}
    assert error.headers == headers


@pytest.mark.parametrize("error", [error for _, error in classes(nats.errors)])
def test_nats_errors_are_mapped(error: type[Exception]) -> None:
    """Every error of nats-py that passes when the server is back is tried again, and no other."""
    assert issubclass(error, connection.AWAY) == (error.__name__ not in NOT_AWAY)


def test_jetstream_errors_stay_out_of_the_services() -> None:
    """The errors of nats-py's JetStream client need no map: only the provisioning step uses it."""
    importing = set()
    for file in Path(inspect.getfile(bus)).parent.glob("*.py"):
        imported = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        importing |= {file.name for node in imported if (node.module or "").startswith("nats.js")}
    assert importing == {"provision.py"}


@pytest.mark.parametrize("error", [ConnectionRefusedError, ConnectionResetError, TimeoutError, FileNotFoundError])
def test_network_errors_are_mapped(error: type[Exception]) -> None:
    """The operating system's words for a server that is not there are tried again, for both servers."""
    assert issubclass(error, connection.AWAY)
    assert database.is_away(error)


@pytest.mark.parametrize("error", asyncpg_errors(away=True))
def test_postgres_errors_are_mapped(error: type[Exception]) -> None:
    """Every error of asyncpg that passes when Postgres is back is tried again."""
    assert database.is_away(error)


def test_postgres_errors_that_stay() -> None:
    """No error that is about the statement or its values is tried again: it would only come later."""
    assert [error.__name__ for error in asyncpg_errors(away=False) if database.is_away(error)] == []


class _ClosedClient:
    async def publish(self, *_: object) -> None:
        raise nats.errors.ConnectionClosedError


@pytest.mark.parametrize("settle", ["nak", "in_progress"])
async def test_settling_on_a_closed_connection(settle: str) -> None:
    """A delivery that cannot be settled, since the connection is closed, says so in our words."""
    delivery = Delivery(Msg(_ClosedClient(), reply="$JS.ACK.x"))  # type: ignore[arg-type]
    with pytest.raises(BusUnavailableError):
        await (delivery.nak(1) if settle == "nak" else delivery.in_progress())
