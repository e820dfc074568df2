"""A summary as text: a head, tables, and the working set over time as a chart."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapfs.units import format_ns, format_size
from mapfs.views.lines import visible
from mapfs.views.summary.chart import chart
from mapfs.views.summary.model import Counts, FileRow, ProcessRow, Share, Summary, Timeline, Unasked, Who

_ACROSS = 8  # processes that the matrix has a column for
_HEIGHT = 5  # lines of the chart


def render(summary: Summary, console: Console, *, most: int = 20) -> None:
    """Prints all of it; at most `most` rows of each table."""
    _head(summary, console)
    console.print(_file_table(summary.files[:most]))
    _rest(console, len(summary.files) - most, "files")
    console.print(_process_table(summary.processes[:most]))
    _rest(console, len(summary.processes) - most, "processes")
    if summary.sharing:
        console.print(_matrix(summary.sharing, most))
    if summary.longest:
        console.print(_wait_table(summary))
    if summary.timeline:
        _over_time(summary.timeline, console)


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style), soft_wrap=True)


def _head(summary: Summary, console: Console) -> None:
    total = summary.total
    console.print(
        Text.assemble(
            (visible(summary.mountpoint), "bold"),
            f": {total.demands:,} demands for {total.pages:,} pages "
            f"({format_size(total.bytes)}) in {format_ns(summary.span_ns)}, {total.refaults:,} re-faults, "
            f"wait p50 {format_ns(total.wait_p50_ns)}, p99 {format_ns(total.wait_p99_ns)}",
        ),
        soft_wrap=True,
    )
    if summary.lost:
        _say(console, f"lost {summary.lost:,} events: they are in none of these numbers", "red")
    if summary.unknown:
        _say(console, summary.unknown, "yellow")
    if summary.readahead:
        _say(console, "the kernel reads ahead: a page here was requested, not necessarily touched")
    if total.written or total.pushed or total.dropped:
        _say(
            console,
            f"written {format_size(total.written)}; mapfs pushed {total.pushed:,} pages, dropped {total.dropped:,}",
        )
    if summary.readahead or summary.readaheads.brought:
        _say(console, f"read ahead: {_became(summary.readaheads)}")
    if summary.pushes.brought:
        _say(console, f"pushed: {_became(summary.pushes)}")
    if (held := summary.held_back) and held.times:
        _say(
            console,
            f"prefetch held back: {held.times:,} time{'s'[: held.times > 1]}, after {held.untouched:,} of "
            f"{held.pushed:,} pages pushed were passed by untouched",
        )
    if summary.evicted is not None:
        _say(console, f"evicted: {summary.evicted:,} pages, asked for again: {total.refaults:,}")
    if summary.joined and summary.joined.count:
        joined = summary.joined
        missing = f" and {joined.waits_unknown:,} waits that are not known" if joined.waits_unknown else ""
        _say(console, f"joined: {joined.count:,} waits for another's request, {format_ns(joined.wait_ns)}{missing}")


def _became(unasked: Unasked) -> str:
    unclear = f", of {unasked.unclear:,} pages it is not known" if unasked.unclear else ""
    used, wasted = _number(unasked.used), _number(unasked.wasted)
    return f"{_number(unasked.brought)} pages unasked, {used} used, {wasted} wasted{unclear}"


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _rest(console: Console, count: int, what: str) -> None:
    if count > 0:
        _say(console, f"... and {count:,} more {what}; --json has them all")


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _file_table(rows: list[FileRow]) -> Table:
    table = _table("file", "pages", "of", "re-faults", "bytes", "p50", "p99", "errors", "wasted", "evicted")
    for row in rows:
        table.add_row(
            Text(visible(row.file)),  # not a str, whose [brackets] would be markup
            f"{row.counts.pages:,}",
            f"{row.of_pages:,}",
            *_cells(row.counts),
            format_size(row.waste),
            _number(row.evicted),
        )
    return table


def _process_table(rows: list[ProcessRow]) -> Table:
    table = _table(
        "process", "threads", "pages", "re-faults", "bytes", "p50", "p99", "errors", "ahead", "shared", "joined"
    )
    for row in rows:
        name = "?" if row.pid is None else f"{visible(row.command or '?')}/{row.pid}"
        name += f" in {visible(row.container[:12])}" if row.container else ""
        got = row.got
        table.add_row(
            Text(name),
            f"{row.threads:,}" if row.threads else "?",
            f"{row.counts.pages:,}",
            *_cells(row.counts),
            *(("?", "?", "?") if got is None else (f"{got.ahead:,}", f"{got.shared:,}", f"{got.joined:,}")),
        )
    return table


def _cells(counts: Counts) -> tuple[str, ...]:
    return (
        f"{counts.refaults:,}",
        format_size(counts.bytes),
        format_ns(counts.wait_p50_ns),
        format_ns(counts.wait_p99_ns),
        f"{counts.errors:,}",
    )


def _who(who: Who | None) -> str:
    return "?" if who is None else visible(f"{who.command}/{who.pid}")


def _matrix(sharing: list[Share], most: int) -> Table:
    """Pages shared and joined: a row for who got them, a column for who brought them, the rest added up."""
    cells: Counter[tuple[Who | None, Who | None]] = Counter()
    got: Counter[Who | None] = Counter()
    brought: Counter[Who | None] = Counter()
    for share in sharing:
        pages = share.shared + share.joined
        cells[share.got, share.brought] += pages
        got[share.got] += pages
        brought[share.brought] += pages
    rows = [who for who, _ in got.most_common(most)]
    columns = [who for who, _ in brought.most_common(_ACROSS)]
    table = _table("pages got from", *map(_who, columns), *(["others"] if len(brought) > _ACROSS else []), "all")
    for who in rows:
        table.add_row(Text(_who(who)), *_row([cells[who, by] for by in columns], got[who], len(brought) > _ACROSS))
    if len(got) > most:
        hidden = set(got) - set(rows)
        sums = [sum(cells[who, by] for who in hidden) for by in columns]
        table.add_row("others", *_row(sums, sum(got[who] for who in hidden), len(brought) > _ACROSS))
    return table


def _row(known: Sequence[int], total: int, rest: bool) -> list[str]:
    return [f"{pages:,}" for pages in [*known, *([total - sum(known)] if rest else []), total]]


def _wait_table(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("longest waits", overflow="fold")
    for name in ("page", "class", "process"):
        table.add_column(name, no_wrap=True)
    for name in ("wait", "in total"):
        table.add_column(name, justify="right", no_wrap=True)
    for wait in summary.longest:
        last = f"-{wait.page + wait.pages - 1}" if wait.pages > 1 else ""
        table.add_row(
            Text(visible(wait.file)),
            f"{wait.page}{last}",
            wait.cls or "?",
            Text(_who(None if wait.pid is None else Who(wait.pid, wait.command or "?"))),
            format_ns(wait.wait_ns),
            "?" if wait.total_ns is None else format_ns(wait.total_ns),
        )
    return table


def _over_time(timeline: Timeline, console: Console) -> None:
    """What was read in each bucket, and how much was in the page cache, or, where that is not known, asked for."""
    buckets = timeline.buckets
    end = format_ns(timeline.bucket_ns * len(buckets))
    title = f"pages read within each {format_ns(timeline.bucket_ns)}"
    for line in [title, *chart([bucket.pages for bucket in buckets], _HEIGHT, "0", end)]:
        _say(console, line)
    resident = [bucket.resident for bucket in buckets if bucket.resident is not None]
    title = "pages in the page cache" if resident else "pages asked for so far; how many stayed in the page cache is ?"
    for line in [title, *chart(resident or [bucket.asked for bucket in buckets], 2, "0", end)]:
        _say(console, line)
