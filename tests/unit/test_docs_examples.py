"""Each command line that the documentation shows can be given, and each name that the code looks at is in it."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mapfs.commands import mapfs
from tests.support import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: A call at the beginning of a command: of a line, behind a prompt, or behind what ends another command.
_CALL = re.compile(r"(?:^|[;&|] *|\$ |\bIMAGE )(?:scripts/run|(?:[\w~.]+/)*mapfs) +(?=[a-z])")
_SPAN = re.compile(r"`([^`]+)`")
#: Placeholders for values that would not be taken.
_VALUES = {"N": "1", "$$": "1"}


def code(path: Path) -> Iterator[str]:
    """The lines of code of a document that a shell could be given: fenced, indented, and within sentences."""
    fence: str | None = None
    text: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("```"):
            fence = line.removeprefix("```") if fence is None else None
        elif fence is not None:
            if fence in ("", "sh"):
                yield line
        elif line.startswith("    "):
            yield line.strip()
        else:
            text.append(line)
    for paragraph in "\n".join(text).split("\n\n"):
        yield from _SPAN.findall(paragraph.replace("\n", " "))


def calls(path: Path) -> Iterator[str]:
    """What stands behind `mapfs` where a document calls it, to the end of its line."""
    for line in code(path):
        for found in _CALL.finditer(line):
            yield line[found.end() :]


def words(call: str) -> list[str]:
    """The words of one command, up to what a shell does with it."""
    lexer = shlex.shlex(call, posix=True, punctuation_chars="();<>|&")
    lexer.commenters = "#"
    lexer.wordchars += "~:%@+[]{}$^!…"
    found: list[str] = []
    for word in lexer:
        if set(word) <= set("();<>|&"):
            break
        found.append(_VALUES.get(word, word))
    return found


CALLS = [(path.name, call) for path in DOCUMENTS for call in dict.fromkeys(calls(path))]


@pytest.mark.parametrize(("document", "call"), CALLS, ids=[f"{document}:{call[:40]}" for document, call in CALLS])
def test_a_command_line_of_the_documentation_can_be_given(document: str, call: str) -> None:
    name, *arguments = words(call)
    assert isinstance(mapfs, click.Group)
    context = click.Context(mapfs, info_name="mapfs")
    command = mapfs.get_command(context, name)
    assert command is not None, f"{document}: there is no command {name}"
    try:
        command.make_context(name, arguments, parent=context)
    except click.MissingParameter:
        assert len(call.split()) < 4, f"{document}: mapfs {call} lacks an argument"
    except click.exceptions.Exit:
        assert "--help" in arguments


def test_the_documentation_is_looked_through() -> None:
    assert {document for document, _ in CALLS} >= {"README.md", "COMMANDS.md", "INSTALL.md", "SOURCES.md", "TRACE.md"}
    assert isinstance(mapfs, click.Group)
    assert {words(call)[0] for _, call in CALLS} == set(mapfs.list_commands(click.Context(mapfs)))


def test_each_variable_of_the_environment_is_documented() -> None:
    text = (ROOT / "docs" / "COMMANDS.md").read_text("utf-8")
    manual = (ROOT / "packaging" / "man" / "mapfs.1").read_text("utf-8")
    found = set()
    for path in (ROOT / "mapfs").rglob("*.py"):
        code = path.read_text("utf-8")
        if "os.environ" in code:
            found |= set(re.findall(r'"((?:MAPFS|NO|FORCE|NOTIFY)_[A-Z]+)"', code))
    assert found == {"MAPFS_DEBUG", "NO_COLOR", "FORCE_COLOR", "NOTIFY_SOCKET"}
    for name in found:
        assert name in text and name in manual


def test_each_extra_and_each_file_of_the_package_is_documented() -> None:
    text = (ROOT / "docs" / "INSTALL.md").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for extra in project["project"]["optional-dependencies"]:
        assert f"| `{extra}` |" in text
    for place in project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"].values():
        assert f"`{place}`" in text
    for program in project["project"]["scripts"]:
        assert f"`bin/{program}`" in text
