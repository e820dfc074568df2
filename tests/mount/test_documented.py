"""What a running mount says as JSON has the keys that the documentation promises, no more and no fewer."""

import json
import re
from typing import Any

from tests.conftest import Mounter
from tests.support import mapfs
from tests.unit.test_docs import COMMANDS, TRACE, section


def keys(said: dict[str, Any]) -> set[str]:
    """All keys, those of objects in it too, but for those that are names of classes and of sinks."""
    inner = {key for name in ("daemon",) for key in said.get(name, {})}
    return set(said) | inner


def documented(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def test_each_key_of_stats_is_documented(mount: Mounter) -> None:
    daemon = mount("a=pages:2p")
    text = section(TRACE, ".mapfs/events and .mapfs/stats").partition("`.mapfs/stats`:")[2]
    assert documented(text) - {"ok", "failed"} == keys(daemon.stats())


def test_each_key_of_files_is_documented(mount: Mounter) -> None:
    daemon = mount("a=pages:2p", "d=shm:")
    text = section(COMMANDS, "mapfs files").partition("one JSON array")[2]
    for row in json.loads(mapfs("files", daemon.path, "--json").stdout):
        assert documented(text) == keys(row)
