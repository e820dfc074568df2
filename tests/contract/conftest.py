"""Fixtures of the contract tests."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.places import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Where a test makes its sources."""
    with contextlib.ExitStack() as stack:
        yield Place(tmp_path, stack)
