"""What warming has the kernel know of names."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapfs.fuse.warm import Warmer


def test_a_directory_is_looked_at_after_it_and_those_in_it_were_listed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """To list it makes its access time unknown: who looks at it next would ask."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    calls: list[tuple[str, str]] = []

    def told(name: str, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def call(path: Any) -> Any:
            calls.append((name, os.path.relpath(os.fsdecode(path), tmp_path)))
            return function(path)

        return call

    monkeypatch.setattr(os, "scandir", told("list", os.scandir))
    monkeypatch.setattr(os, "stat", told("look", os.stat))
    warmer = Warmer(None, None, None)  # type: ignore[arg-type] # nothing is pushed here
    warmer.list_names(str(tmp_path), [b"a", b"a/b", b"gone"])
    monkeypatch.undo()
    assert calls[:3] == [("list", "a"), ("list", "a/b"), ("list", "gone")]
    assert calls[3:] == [("look", "a"), ("look", "a/b"), ("look", "gone")]
