"""The rows of the two tables: files and processes, from the model."""

from typing import Any

from rich.text import Text

from mapfs.units import format_ns
from mapfs.views.lines import visible
from mapfs.views.live.model import MOST_READERS, Earlier, File, Model, Process
from mapfs.views.live.pane import Column
from mapfs.views.live.words import process_colour, process_letter

ORDERS = ("demands", "/s", "name")
Rows = list[tuple[Any, list[Text]]]


def file_columns(order: str) -> list[Column]:
    """Resident of so many pages; readers are processes that got pages of it."""
    return _marked([("FILES", 0), ("demands", 9), ("/s", 7), ("in memory", 18), ("readers", 7)], order)


def file_rows(model: Model, order: str, now_ns: int) -> Rows:
    """A row a file."""
    rates = {name: file.rate.a_second(now_ns) for name, file in model.files.items()}
    rows = _sorted(list(model.files.values()), order, rates, lambda file: file.name)
    return [(file.name, _file(model, file, rates[file.name])) for file in rows]


def _file(model: Model, file: File, rate: int) -> list[Text]:
    many = "+" if len(file.readers) >= MOST_READERS else ""
    return [
        Text(visible(file.name)),
        Text(f"{file.counts.demands:,}"),
        _rate(rate),
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


def process_rows(model: Model, order: str, now_ns: int, *, plain: bool) -> Rows:
    """A row a process, with its colour or its letter in the map."""
    rates = {process.name: process.rate.a_second(now_ns) for process in model.processes.values()}
    rows = _sorted(list(model.processes.values()), order, rates, lambda process: process.name)
    return [(process.number, _process(process, rates[process.name], model, plain=plain)) for process in rows]


def _process(process: Process, rate: int, model: Model, *, plain: bool) -> list[Text]:
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
        _rate(rate),
        Text("?" if unknown else f"{got:,}"),
        Text(format_ns(counts.waited_ns)),
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


def _sorted(rows: list[Any], order: str, rates: dict[Any, int], name: Any) -> list[Any]:
    if order == "name":
        return sorted(rows, key=name)
    if order == "/s":
        return sorted(rows, key=lambda row: (-rates[name(row)], -row.counts.demands, name(row)))
    return sorted(rows, key=lambda row: (-row.counts.demands, -row.counts.shared, name(row)))
