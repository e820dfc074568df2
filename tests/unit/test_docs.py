"""The documentation names every command, option, kind, key, table and column, and only tests that exist."""

import ast
import os
import re
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import msgspec
import pytest

from mapfs.commands import mapfs
from mapfs.fuse import fstab
from mapfs.fuse.control import Request
from mapfs.lessons import NAMES
from mapfs.settings import KEYS
from mapfs.sources import catalogue
from mapfs.sources.coherency import Coherency
from mapfs.sources.wrap import WRAPPERS, maker
from mapfs.trace.events import COLD, ERROR, READ, Event, Lost, as_json
from mapfs.trace.exposition import DAEMON_GAUGES, families
from mapfs.trace.facts import DaemonValues, FileFact, MountFact, ThreadFact
from mapfs.trace.labels import FORMATS
from mapfs.trace.metrics import Metrics, SinkState, Snapshot
from mapfs.trace.store import SCHEMA, Store
from mapfs.units import PAGE_SIZE

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
COMMANDS, SOURCES, TRACE, METRICS = (
    (ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in ("COMMANDS", "SOURCES", "TRACE", "METRICS")
)
MOUNT = MountFact("/mnt", "0", "own", PAGE_SIZE, 0, 1, 5, 1_000_000)
FILE = FileFact(1, 2, "a/b", "pages:64p", 64 * PAGE_SIZE, 1)
THREAD = ThreadFact(1, 7, "main", 7, 100, "reader", "reader a/b", None, 0)


def section(text: str, heading: str) -> str:
    """What stands under the heading that begins with `heading`, up to the next of its level or above."""
    match = re.search(rf"^(#+) {re.escape(heading)}\b.*$", text, re.MULTILINE)
    assert match, f"there is no heading {heading!r}"
    rest = text[match.end() :]
    end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def event(serial: int, page: int, cls: str = COLD, errno: int = 0) -> Event:
    """One request for one page of FILE by THREAD."""
    return Event(
        serial, serial * 1000, 500, READ, cls, FILE, page * PAGE_SIZE, PAGE_SIZE, THREAD, THREAD.key, 7, errno,
        "on purpose" if errno else None, 0, False, serial,
    )  # fmt: skip


def commands() -> Iterator[tuple[str, click.Command]]:
    assert isinstance(mapfs, click.Group)
    context = click.Context(mapfs)
    for name in mapfs.list_commands(context):
        command = mapfs.get_command(context, name)
        assert command is not None
        yield name, command


@pytest.mark.parametrize(("name", "command"), [*commands()], ids=[name for name, _ in commands()])
def test_each_command_and_option_is_documented(name: str, command: click.Command) -> None:
    text = section(COMMANDS, f"mapfs {name}")
    for parameter in command.params:
        if not isinstance(parameter, click.Option):
            continue
        for option in (*parameter.opts, *parameter.secondary_opts):
            assert re.search(rf"`{re.escape(option)}[` ]", text), f"{option} of mapfs {name}"
        if isinstance(parameter.type, click.Choice):
            for choice in parameter.type.choices:
                assert f"`{parameter.opts[0]} {choice}`" in text
    assert f"mapfs {name}" in (ROOT / "README.md").read_text("utf-8")


def test_each_documented_option_exists() -> None:
    documented = set(re.findall(r"^## mapfs (\w+)", COMMANDS, re.MULTILINE))
    assert documented == {name for name, _ in commands()}
    for name, command in commands():
        known = {
            option for parameter in command.params if parameter.param_type_name == "option" for option in parameter.opts
        }
        named = set(re.findall(r"^\| .*?(?= \| )", section(COMMANDS, f"mapfs {name}"), re.MULTILINE))
        options = {option for cell in named for option in re.findall(r"`(-\w|--[\w-]+)[` ]", cell)}
        assert options == known


def test_each_toml_key_is_documented() -> None:
    text = section(COMMANDS, "mapfs mount")
    assert [key for key in KEYS if f"`{key}`" not in text and f"`[{key}]`" not in text] == []


def test_each_mount_option_is_documented() -> None:
    rows = re.findall(r"^\| (`.*?) \|", section(COMMANDS, "mapfs mount").partition("| mount option |")[2], re.MULTILINE)
    documented = {name.partition("=")[0] for row in rows for name in re.findall(r"`([^`…]+)…?`", row)}
    values = {*fstab.VALUES, *fstab.OTHERS}
    known = {*fstab.SWITCHES, *values, *fstab.KERNEL, *fstab.IGNORED, "rw", "comment", "x-", "X-"}
    assert documented == known
    assert {*fstab.SWITCHES, *fstab.VALUES} <= set(KEYS), "which have the same names in the TOML file"


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_each_kind_and_option_is_documented(kind: str) -> None:
    kinds = section(SOURCES, "Kinds")
    rows = [line for line in kinds.splitlines() if line.startswith(f"| `{kind}:")]
    assert rows
    headings = re.findall(r"^### (.*)$", kinds, re.MULTILINE)
    (heading,) = [heading for heading in headings if re.search(rf"\b{kind}:", heading)]
    for option in catalogue.KINDS[kind].options or ():
        assert any(f"`{option}`" in row for row in rows)
        text = section(kinds, heading)
        assert f"{option}=" in text or f"`{option}`" in text, "one that takes no value"


def test_each_example_of_a_spec_can_be_read() -> None:
    """In the indented examples of SOURCES.md: NAME=SPEC, quoted where a shell needs it."""
    lines = re.findall(r"^    mapfs mount x (.*)$", SOURCES, re.MULTILINE)
    pairs = [word for line in lines for word in shlex.split(line) if "=" in word]
    kinds = {catalogue.parse(pair.partition("=")[2]).kind for pair in pairs}
    assert kinds == set(catalogue.KINDS)


def test_each_sentence_of_a_bad_spec_is_in_the_list_of_errors() -> None:
    """The literal parts of the errors that the sources and the tree raise."""
    rows = re.findall(r"^\| `([^|]*)` \|", section(SOURCES, "Errors"), re.MULTILINE)
    parts = [part.strip(" …`") for row in rows for part in row.split("…") if part.strip(" …`,")]
    for path in [*(ROOT / "mapfs" / "sources").rglob("*.py"), ROOT / "mapfs" / "tree" / "build.py"]:
        for sentence in raised(path):
            assert any(part in sentence for part in parts), f"{path.name}: {sentence}"


def raised(path: Path) -> Iterator[str]:
    """The messages of each SpecError and SourceError in a module, what is filled in left out."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id not in ("SpecError", "SourceError") or not node.args:
                continue
            message = node.args[0]
            if isinstance(message, ast.Constant):
                yield str(message.value)
            elif isinstance(message, ast.JoinedStr):
                yield "".join(_literal(value) for value in message.values)


def _literal(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    assert isinstance(value, ast.FormattedValue)
    return ".mapfs" if isinstance(value.value, ast.Name) and value.value.id == "CONTROL" else "…"


def test_each_json_key_is_documented() -> None:
    rows = re.findall(r"^\| (`.*?) \|", section(TRACE, "An event as JSON"), re.MULTILINE)
    documented = [key for row in rows for key in re.findall(r"`(\w+)`", row)]
    assert sorted(documented) == sorted(as_json(event(1, 0), 0))
    for key in as_json(Lost(3), 0):
        assert f'"{key}":' in section(TRACE, "An event as JSON")


def test_each_format_that_has_labels_is_documented() -> None:
    rows = re.findall(r"^\| (.*?) \|", section(TRACE, "Labels"), re.MULTILINE)
    documented = " ".join(rows).casefold()
    assert [name for name in FORMATS if name not in documented] == []
    assert "--no-labels" in section(TRACE, "Labels")


def test_each_table_and_column_is_documented() -> None:
    db = sqlite3.connect(":memory:")
    try:
        db.executescript(SCHEMA)
        for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')").fetchall():
            heading = next(line for line in re.findall(r"^### (.*)$", TRACE, re.MULTILINE) if table in line.split(", "))
            text = section(TRACE, heading)
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            assert [column for column in columns if f"`{column}`" not in text] == [], table
    finally:
        db.close()


def test_the_queries_work() -> None:
    store = Store(":memory:")
    try:
        for fact in (MOUNT, FILE, THREAD):
            store.fact(fact)
        store.events([event(1, 4), event(2, 5), event(3, 5, ERROR, 5), event(4, 9)])
        queries = re.findall(r"^```sql\n(.*?)^```", TRACE, re.MULTILINE | re.DOTALL)
        waits, working_set, order = (store.connection.execute(query).fetchall() for query in queries)
    finally:
        store.connection.close()
    assert [row[:4] for row in waits] == [("reader", 7, "a/b", page) for page in (4, 5, 9)]
    assert working_set == [("a/b", 3, 0)]
    assert order == [("a/b", 4, 1)]


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS], ids=lambda path: path.name)
def test_each_test_and_each_file_that_is_named_exists(path: Path) -> None:
    text = path.read_text("utf-8")
    for name, function in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        tree = ast.parse((ROOT / name).read_text("utf-8"))
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert function in defined, f"{name}::{function}"
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (path.parent / link).exists(), link


def test_each_metric_and_label_is_documented() -> None:
    counted = Metrics()
    counted.observe([msgspec.structs.replace(event(1, 0, ERROR, errno=5), refaults=1)])
    daemon: DaemonValues = dict.fromkeys(DAEMON_GAUGES, 1)
    sinks = (SinkState("log", failed=False, waiting=0, skipped=0),)
    shown = Snapshot(counted.counted(), 0, 0, 0, 0, 0, 0, sinks, MOUNT, daemon, {"daemon": os.getpid()})
    rows = re.findall(r"^\| (`mapfs_.*?) \| (.*?) \|", METRICS, re.MULTILINE)
    documented = {
        name: set(re.findall(r"`(\w+)`", labels)) for names, labels in rows for name in re.findall(r"`(\w+)`", names)
    }
    exposed = {
        family.name + {"counter": "_total", "info": "_info"}.get(family.type, ""): {
            label for sample in family.samples for label in sample.labels if label != "le"
        }
        for family in families(shown)
    }
    assert documented == exposed


def test_each_promise_names_a_test() -> None:
    text = (ROOT / "docs" / "SEMANTICS.md").read_text("utf-8")
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    without = [heading for heading in headings if "::test_" not in section(text, heading)]
    assert without == ["Times and waits"]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_each_wrapper_is_documented_with_an_example(wrapper: str) -> None:
    text = section(SOURCES, "Wrappers")
    assert re.search(rf"^\| .*`{wrapper}[=`]", text, re.MULTILINE)
    examples = [
        pair for line in re.findall(r"^    mapfs mount x (.*)$", text, re.MULTILINE) for pair in shlex.split(line)
    ]
    specs = [catalogue.parse(pair.partition("=")[2]) for pair in examples]
    for spec in specs:
        for name, value in spec.options.items():
            if name in WRAPPERS:
                maker(name, value)  # its value can be read
    assert any(wrapper in spec.options for spec in specs)


@pytest.mark.parametrize("terms", Coherency)
def test_each_way_of_coherency_is_documented(terms: Coherency) -> None:
    assert f"| `{terms.value}` |" in section(SOURCES, "When the backing changes")
    assert f"- `{terms.value}`:" in section((ROOT / "docs" / "SEMANTICS.md").read_text("utf-8"), "Coherency")


def test_each_lesson_is_documented() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| ", section(COMMANDS, "mapfs lesson"), re.MULTILINE)
    assert [row for row in rows if not row.startswith("-")] == [*NAMES]


def test_each_request_of_ctl_is_documented() -> None:
    text = section(COMMANDS, ".mapfs/ctl")
    for request in get_args(Request):
        assert f'"do": "{request.__struct_config__.tag}"' in text
