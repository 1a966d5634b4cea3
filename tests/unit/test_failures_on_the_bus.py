"""Errors on their way from a service to its asker."""

import inspect

import pytest

from turnstream import errors
from turnstream.bus import failures
from turnstream.errors import ApiError, ModelError, TurnError

SHOWN = [error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, ApiError)]


@pytest.mark.parametrize("kind", [*SHOWN, TurnError, ModelError])
def test_error_arrives_as_it_was(kind: type[ApiError | TurnError]) -> None:
    """Every error that is made to be shown is the same at the other end."""
    error = kind("No.", code="c", param="p")
    arrived = failures.decode(failures.encode(error))
    assert type(arrived) is kind
    assert vars(arrived) == vars(error)


def test_model_error_arrives_with_its_advice() -> None:
    """A model's error says at the other end too what status it has, and when to try again."""
    arrived = failures.decode(failures.encode(ModelError("No.", status=429, retry_after=2.5)))
    assert isinstance(arrived, ModelError)
    assert (arrived.status, arrived.retry_after) == (429, 2.5)


@pytest.mark.parametrize("name", ["TeapotError", "TurnstreamError", "Any", ""])
def test_unknown_error(name: str) -> None:
    """An error that only another version knows, or that is none, is shown as any error is."""
    arrived = failures.decode(b'{"class": "%b", "message": "No.", "code": null, "param": null}' % name.encode())
    assert type(arrived) is ApiError
    assert arrived.message == "No."
