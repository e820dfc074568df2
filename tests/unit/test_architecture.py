"""Imports go one way (DESIGN.md, "The layout"), and modules stay small enough to read."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mapfs

ROOT = Path(mapfs.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
MOST_LINES = 330

BASE = {"mapfs", "mapfs.errors", "mapfs.toml", "mapfs.units"}  # `from mapfs import __version__` is all of the first
#: package: what its modules may import of mapfs, a package with all that is in it
ALLOWED = {
    "mapfs.sources": BASE | {"mapfs.sources"},
    "mapfs.tree": BASE | {"mapfs.headroom", "mapfs.sources", "mapfs.tree"},
    "mapfs.trace": BASE | {"mapfs.trace"},
    "mapfs.views": BASE | {"mapfs.trace", "mapfs.views"},
    "mapfs.fuse": BASE
    | {
        "mapfs.headroom",
        "mapfs.sources.base",
        "mapfs.sources.spec",
        "mapfs.sources.coherency",
        "mapfs.tree",
        "mapfs.trace",
        "mapfs.fuse",
    },
    "mapfs.running": BASE | {"mapfs.sources.spec", "mapfs.fuse", "mapfs.running"},
    "mapfs.commands": BASE
    | {
        "mapfs.sources",
        "mapfs.tree",
        "mapfs.trace",
        "mapfs.views",
        "mapfs.fuse",
        "mapfs.commands",
        "mapfs.client",
        "mapfs.systemd",
        "mapfs.completing",
        "mapfs.lessons",
        "mapfs.measuring",
        "mapfs.running",
        "mapfs.settings",
        "mapfs.signals",
    },
    "mapfs.measuring": BASE  # it mounts, and looks
    | {"mapfs.measuring", "mapfs.mounting", "mapfs.sources.spec", "mapfs.trace", "mapfs.views.terminal"},
    "mapfs.lessons": BASE | {"mapfs.lessons", "mapfs.mounting", "mapfs.trace", "mapfs.views"},  # it mounts, and looks
    "mapfs.__main__": {"mapfs.commands"},
    "mapfs.client": BASE | {"mapfs.fuse.device"},  # the other end of .mapfs/ctl
    "mapfs.mounting": BASE | {"mapfs.sources", "mapfs.trace", "mapfs.views", "mapfs.fuse", "mapfs.client"},
    "mapfs.settings": BASE
    | {"mapfs.sources", "mapfs.tree", "mapfs.trace", "mapfs.fuse"},  # what a mount is asked to be
    "mapfs.completing": BASE | {"mapfs.fuse.device", "mapfs.trace.store"},  # what a shell asks
    "mapfs.systemd": set[str](),
    "mapfs.signals": set[str](),
    "mapfs.errors": set[str](),
    "mapfs.headroom": set[str](),
    "mapfs.toml": {"mapfs.errors"},
    "mapfs.units": {"mapfs.errors"},
    "mapfs.pytest_plugin": {"mapfs.mounting", "mapfs.sources.base", "mapfs.views.demanded"},
    "mapfs.testing": BASE | {"mapfs.sources"},
    "mapfs": {
        "mapfs.errors",
        "mapfs.sources.base",
        "mapfs.mounting",
    },  # what it lends to those who write a source, when they ask
}


def name_of(path: Path) -> str:
    parts = ("mapfs", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def imports(path: Path) -> Iterator[str]:
    """The modules of mapfs that `path` imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "mapfs")
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name_of(path)} has a relative import"
            if node.module and node.module.split(".")[0] == "mapfs":
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    yield inner if inner in NAMES else node.module


def package_of(name: str) -> str:
    return ".".join(name.split(".")[:2])


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    name = name_of(path)
    allowed = ALLOWED[package_of(name)]
    # a package itself is what its __init__ says; only the root's is meant by its bare name
    wrong = {
        one
        for one in imports(path)
        if not any(one == may or (may != "mapfs" and one.startswith(may + ".")) for may in allowed)
    }
    assert not wrong, f"{name} imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text and text[0].isprintable(), f"{name_of(path)} has no docstring"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_can_be_read_at_once(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MOST_LINES, f"{name_of(path)} has {lines} lines; look for the second thing inside it"


def test_every_package_has_its_rule() -> None:
    assert {package_of(name) for name in NAMES} == set(ALLOWED)


def test_the_main_module_is_six_lines() -> None:
    assert len((ROOT / "__main__.py").read_text().splitlines()) <= 6
