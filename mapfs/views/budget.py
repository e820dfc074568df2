"""A budget: how many pages, re-faults and milliseconds a run may take, and whether a summary keeps within it.

A budget is a TOML file with one table `[total]` and any number of `[[file]]`, whose `match` is a pattern over paths in
the mount (`*` matches slashes too). The numbers are those of `mapfs summary`, added up over the files that match. Where
events were lost the numbers are what was seen at least: too many is certain then, few enough is not known.
"""

import glob
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapfs.errors import TraceError, UsageError
from mapfs.toml import parse_toml
from mapfs.views.lines import visible
from mapfs.views.summary import Counts, Summary

_TOTAL = "total"
_SHOWN = 5  # files that the table names for a number
_Number = Annotated[int, msgspec.Meta(ge=0)]
_Time = Annotated[float, msgspec.Meta(ge=0)]
_OF: dict[str, Callable[[Counts], float]] = {
    "pages": lambda counts: counts.pages,
    "refaults": lambda counts: counts.refaults,
    "wait_ms": lambda counts: counts.wait_ns / 1e6,
}


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the whole run may take; None is no limit. Pages are demanded for the first time, re-faults again."""

    pages: _Number | None = None
    refaults: _Number | None = None
    wait_ms: _Time | None = None

    def given(self) -> dict[str, float]:
        """The limits that there are, by name."""
        named = {name: getattr(self, name) for name in _OF}
        return {name: limit for name, limit in named.items() if limit is not None}


class FileLimits(Limits, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The same for the files whose path in the mount matches, all together."""

    match: str


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All limits."""

    total: Limits = Limits()
    file: tuple[FileLimits, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One limit and what was found. `match` is None for all files; `ok` is None where lost events leave it open.

    `by` has the share of each file that has one, the largest first.
    """

    match: str | None
    what: str
    limit: float
    found: float
    ok: bool | None
    by: dict[str, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A summary held against a budget. `lost` events are in none of the numbers."""

    ok: bool | None
    lost: int
    rows: list[Row]

    def as_json(self) -> dict[str, Any]:
        """The same as plain objects."""
        return asdict(self)


def parse(text: str, name: str) -> Budget:
    """The budget in a TOML text from the file `name`. Raises UsageError where it is none, or limits nothing."""
    try:
        budget = msgspec.convert(parse_toml(text, name), Budget)
    except msgspec.ValidationError as error:
        remedy = "write [total], or [[file]] with match=, and pages=, refaults= or wait_ms= in it"
        raise UsageError(f"{name} is no budget: {error}; {remedy}") from error
    matches = [one.match for one in budget.file]
    for one in budget.file:
        if not one.given():
            raise UsageError(f"{name}: match = {one.match!r} limits nothing; give it pages=, refaults= or wait_ms=")
        if matches.count(one.match) > 1:
            raise UsageError(f"{name}: match = {one.match!r} stands there twice; write one [[file]] of them")
    if not any(limits.given() for limits in (budget.total, *budget.file)):
        raise UsageError(f"{name} limits nothing; write [total] with pages=, refaults= or wait_ms=")
    if not all(math.isfinite(limits.wait_ms or 0) for limits in (budget.total, *budget.file)):
        raise UsageError(f"{name} has a wait_ms that is no number; write milliseconds, or leave it out")
    return budget


def check(summary: Summary, budget: Budget) -> Verdict:
    """Holds `summary` against `budget`."""
    rows = []
    for match, limits in ((None, budget.total), *((one.match, one) for one in budget.file)):
        counts = {row.file: row.counts for row in summary.files if match is None or fnmatchcase(row.file, match)}
        for what, limit in limits.given().items():
            of = _OF[what]
            by = {file: of(one) for file, one in counts.items() if of(one)}
            found = of(summary.total) if match is None else sum(by.values())
            ok = False if found > limit else None if summary.lost else True
            by = dict(sorted(by.items(), key=lambda item: (-item[1], item[0])))
            rows.append(Row(match, what, limit, found, ok, by))
    verdicts = {row.ok for row in rows}
    return Verdict(False if False in verdicts else None if None in verdicts else True, summary.lost, rows)


def renewed(summary: Summary, budget: Budget | None) -> Budget:
    """What `summary` took, as a budget: with the limits that `budget` has, or with pages and re-faults of each file.

    Raises TraceError where events were lost, so that the numbers would be too small.
    """
    if summary.lost:
        raise TraceError(
            f"{summary.lost:,} events of this run were lost, it is no measure; record it again, with --trace"
        )
    if budget is None:
        files = tuple(
            FileLimits(match=glob.escape(row.file), pages=row.counts.pages, refaults=row.counts.refaults)
            for row in sorted(summary.files, key=lambda row: row.file)
        )
        return Budget(Limits(pages=summary.total.pages, refaults=summary.total.refaults), files)
    found: dict[str | None, dict[str, float]] = {}
    for row in check(summary, budget).rows:
        found.setdefault(row.match, {})[row.what] = math.ceil(row.found)
    total = msgspec.convert(found.get(None, {}), Limits)
    return Budget(total, tuple(msgspec.structs.replace(one, **found[one.match]) for one in budget.file))


def as_toml(budget: Budget) -> str:
    """The text that `parse` reads, of a budget from `renewed`: its numbers are whole."""
    tables = [("[total]", budget.total), *(("[[file]]", one) for one in budget.file)]
    texts = []
    for head, limits in tables:
        lines = [
            f"{name} = {limit:g}" if limit % 1 else f"{name} = {limit:.0f}" for name, limit in limits.given().items()
        ]
        if isinstance(limits, FileLimits):
            # a JSON string is one of TOML, but for DEL
            quoted = msgspec.json.encode(limits.match).decode().replace("\x7f", "\\u007f")
            lines.insert(0, f"match = {quoted}")
        if lines:
            texts.append("\n".join([head, *lines]) + "\n")
    return "\n".join(texts)


def render(verdict: Verdict, console: Console) -> None:
    """Prints a row for each limit, those that were exceeded first, with the files that had most of it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("budget")
    table.add_column("of")
    table.add_column("limit", justify="right")
    table.add_column("found", justify="right")
    table.add_column("verdict")
    table.add_column("by", overflow="fold")
    words = {True: ("kept", "green"), False: ("exceeded", "bold red"), None: ("?", "yellow")}
    for row in sorted(verdict.rows, key=lambda row: row.ok is not False):
        by = shares(row.by.items(), _SHOWN) if row.ok is False else ""
        name = visible(row.match) if row.match is not None else _TOTAL
        table.add_row(Text(name), row.what, f"{row.limit:,g}", f"{row.found:,.10g}", Text(*words[row.ok]), Text(by))
    console.print(table)


def shares(numbers: Iterable[tuple[str, float]], most: int) -> str:
    """`users.idx 97, users.db 61, and 3 more`; the numbers are in order already."""
    given = list(numbers)
    texts = [f"{visible(name)} {number:,.10g}" for name, number in given[:most]]
    return ", ".join([*texts, f"and {len(given) - most:,} more"] if len(given) > most else texts)
