"""What a turn's calls of models have used, in tokens."""

from typing import Any

import pytest

from turnstream_worker.usage import Usage


def shown(*usages: dict[str, Any]) -> dict[str, Any] | None:
    """Return the sum of what calls say that they used."""
    usage = Usage()
    for used in usages:
        usage.add(used)
    return usage.shown()


def tokens(read: int, written: int, *, cached: int = 0, reasoning: int = 0, total: int | None = None) -> dict[str, Any]:
    """Make a sum by the specification's names."""
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": read + written if total is None else total,
    }


@pytest.mark.parametrize("usages", [[], [{}], [{}, {}]])
def test_nothing_was_said(usages: list[dict[str, Any]]) -> None:
    """Where no provider counts, there is no usage, which is not a usage of nothing."""
    assert shown(*usages) is None


def test_one_call() -> None:
    """A call's usage is shown with its details."""
    used = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 16,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert shown(used) == tokens(10, 5, cached=4, reasoning=3, total=16)


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"total_tokens": None, "prompt_tokens_details": None, "completion_tokens_details": None},
        {"prompt_tokens_details": {"cached_tokens": None}, "completion_tokens_details": {}},
    ],
)
def test_what_a_provider_leaves_out(details: dict[str, Any]) -> None:
    """A detail that a provider leaves out is none, and the total is what was read and written."""
    assert shown({"prompt_tokens": 10, "completion_tokens": 5, **details}) == tokens(10, 5)


def test_calls_are_summed_up() -> None:
    """The calls of a turn add up, and one that said nothing takes nothing away."""
    first = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
    second = {"prompt_tokens": 1, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 1}}
    assert shown(first, {}, second) == tokens(11, 7, cached=4, reasoning=1)
