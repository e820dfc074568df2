"""Fixtures of the contract tests."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import places_content, places_objects, places_wraps
from tests.contract.places import Place
from tests.contract.places_remote import servers_are_up

#: Modules that add their kinds to KINDS when they are imported, and a fixture that some of them need.
__all__ = ["places_content", "places_objects", "places_wraps", "servers_are_up"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Where a test makes its sources."""
    with contextlib.ExitStack() as stack:
        yield Place(tmp_path, stack)
