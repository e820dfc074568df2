"""The rows of the two tables: files and processes, from the model."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rich.text import Text

from mapfs.units import format_ns
from mapfs.views.lines import visible
from mapfs.views.live.model import MOST_READERS, Earlier, File, Model
from mapfs.views.live.pane import Column
from mapfs.views.live.words import process_colour, process_letter

ORDERS = ("demands", "/s", "name")


def file_columns(order: str) -> list[Column]:
    """Resident of so many pages; readers are processes that got pages of it."""
    columns = _marked([("FILES", 0), ("demands", 9), ("/s", 7), ("in memory", 18), ("readers", 7)], order)
    return [replace(columns[0], paths=True), *columns[1:]]


def file_keys(model: Model, order: str, now_ns: int) -> list[str]:
    """The names of all files, in order."""
    return [file.name for file in sorted(model.files.values(), key=_key(order, now_ns))]


def file_cells(model: Model, name: str, now_ns: int) -> list[Text]:
    """The row of one file."""
    file = model.files[name]
    many = "+" if len(file.readers) >= MOST_READERS else ""
    return [
        Text(visible(file.name)),
        Text(f"{file.counts.demands:,}"),
        _rate(file.rate.a_second(now_ns)),
        Text(_resident(model, file)),
        Text(f"{len(file.readers):,}{many}"),
    ]


def _resident(model: Model, file: File) -> str:
    of = "?" if file.size is None else f"{file.page_count(model.mount.page_size):,}"
    known = model.resident(file)
    if known is None:
        return f"? of {of}"
    count, exact = known
    return f"{count:,} of {of}" if exact else f">={count:,} of {of}"


def earlier_line(earlier: Earlier) -> Text | None:
    """What stands for the rows that were added up, if there are any."""
    if not earlier.rows:
        return None
    return Text(f"... and {earlier.rows:,} that were quiet for longest: {earlier.counts.demands:,} demands", "dim")


def process_columns(order: str) -> list[Column]:
    """Shared are pages that it got from the page cache, brought in by others; waited for mapfs."""
    return _marked([("PROCESSES", 0), ("demands", 9), ("/s", 7), ("shared", 9), ("waited", 8)], order)


def process_keys(model: Model, order: str, now_ns: int) -> list[int]:
    """The numbers of all processes, in order."""
    return [process.number for process in sorted(model.processes.values(), key=_key(order, now_ns))]


def process_cells(model: Model, number: int, now_ns: int, *, plain: bool) -> list[Text]:
    """The row of one process, with its colour or its letter in the map."""
    process = model.numbers[number]
    counts = process.counts
    mark = f"{process_letter(process)} " if plain else "█ "
    name = Text.assemble((mark, process_colour(process)), visible(process.name))
    if process.container:
        name.append(f" in {visible(process.container[:12])}", "dim")
    if model.followed is not None and model.followed.process.number == process.number:
        name.append("  followed", "bold")
    got = counts.shared + counts.joined
    unknown = model.mount.evidence == "requests"
    return [
        name,
        Text(f"{counts.demands:,}"),
        _rate(process.rate.a_second(now_ns)),
        Text("?" if unknown else f"{got:,}"),
        Text(format_ns(counts.waited_ns) if counts.waited_ns else "-"),
    ]


def _rate(rate: int) -> Text:
    return Text(f"{rate:,}" if rate else "-", "bold" if rate else "dim")


def _marked(columns: list[tuple[str, int]], order: str) -> list[Column]:
    """The column that the rows are in order of has a mark."""
    first = order == "name"
    return [
        Column(f"{name}▾" if name == order or (first and at == 0) else name, width)
        for at, (name, width) in enumerate(columns)
    ]


def _key(order: str, now_ns: int) -> Callable[[Any], tuple[Any, ...]]:
    """By which rows of either table are sorted."""
    if order == "name":
        return lambda row: (row.name,)
    if order == "/s":
        return lambda row: (-row.rate.a_second(now_ns), -row.counts.demands, row.name)
    return lambda row: (-row.counts.demands, -row.counts.shared, row.name)
