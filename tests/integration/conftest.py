"""What several of these tests run against."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from turnstream_local.layout import temporary_data_directory


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Give an empty data directory that PostgreSQL's account can reach."""
    with temporary_data_directory() as path:
        yield path
