"""The pages of one file as a picture: which are in the page cache, how often each was demanded, who brought it in.

The picture is rows of columns; a column stands for as many pages as it takes to fit the terminal, which a line below
says. The bar shows how much of a column is resident, coloured by the process that brought most of it in; the digit
below it how often the page of it that was demanded most was demanded, 9 standing for nine or more.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from mapfs.trace.residency import Residency
from mapfs.units import PAGE_SIZE, format_size, page_count, tail_waste
from mapfs.views.lines import visible

_SHADES = " ░▒▓█"
#: Colours that colour-blind people tell apart (after Okabe and Ito, Color Universal Design), as terminals have them.
_COLOURS = ("bright_blue", "yellow", "cyan", "magenta", "bright_red", "white", "green")
_MOST_ROWS = 16


@dataclass(frozen=True, slots=True)
class Pages:
    """What is known of the pages of one file. `resident` is None where this user may not know."""

    file: str
    size: int
    resident: list[range] | None
    counted: Residency | None
    #: page: how many requests there were for it
    demands: Mapping[int, int]
    #: page: who brought it in last
    brought: Mapping[int, str]
    lost: int

    @property
    def count(self) -> int:
        """Pages that the file has."""
        return page_count(self.size)

    @property
    def resident_count(self) -> int | None:
        """How many of them are in the page cache."""
        return None if self.resident is None else sum(map(len, self.resident))

    def as_json(self) -> dict[str, Any]:
        """Plain objects; runs as first page and number of pages."""
        return {
            "file": self.file,
            "size": self.size,
            "page_size": PAGE_SIZE,
            "pages": self.count,
            "resident": self.resident_count,
            "resident_runs": None if self.resident is None else [[run.start, len(run)] for run in self.resident],
            "dirty": self.counted.dirty if self.counted else None,
            "wasted": tail_waste(self.size),
            "demands": {str(page): count for page, count in sorted(self.demands.items())},
            "brought_by": {str(page): who for page, who in sorted(self.brought.items())},
            "lost": self.lost,
        }


def of_events(events: Iterable[Mapping[str, Any]], file: str) -> tuple[Counter[int], dict[int, str], int]:
    """Demands a page, who brought each page in last, and events that were lost, of `file`."""
    demands: Counter[int] = Counter()
    brought: dict[int, str] = {}
    lost = 0
    for event in events:
        if event["op"] == "lost":
            lost += event["count"]
        elif event["file"] == file and event["op"] in ("read", "push") and not event["error"] and not event["direct"]:
            pages = range(event["page"], event["page"] + event["pages"])
            who = f"{event['command']}/{event['pid']}" if event["pid"] else "?"
            brought.update(dict.fromkeys(pages, "mapfs" if event["op"] == "push" else who))
            if event["op"] == "read":
                demands.update(pages)
    return demands, brought, lost


def render(pages: Pages, console: Console) -> None:
    """Prints the picture and what it adds up to."""
    resident = "?" if pages.resident_count is None else f"{pages.resident_count:,}"
    console.print(
        Text.assemble(
            (visible(pages.file), "bold"),
            f": {resident} of {pages.count:,} pages resident ({format_size(pages.size)}), "
            f"{sum(pages.demands.values()):,} demands",
            f", {pages.counted.dirty:,} dirty" if pages.counted and pages.counted.dirty else "",
            f", {tail_waste(pages.size):,} bytes of the last page hold nothing" if tail_waste(pages.size) else "",
        ),
        highlight=False,
        soft_wrap=True,
    )
    if pages.resident is None:
        console.print("? which pages are resident, only the owner of the file, who may write it, and root are told")
    if pages.lost:
        console.print(f"{pages.lost:,} older events have left the ring: demands are too few, and ? is who is not known")
    if pages.count:
        _picture(pages, console)


def _picture(pages: Pages, console: Console) -> None:
    gutter = len(f"{pages.size:#x}") + 1
    width = max(8, min(console.width - gutter, 128))
    each = -(-pages.count // (width * _MOST_ROWS))
    colours = _palette(pages.brought)
    filled = _filled(pages, each)
    demanded: Counter[int] = Counter()  # by column, as `brought` is
    for page, count in pages.demands.items():
        demanded[page // each] = max(demanded[page // each], count)
    brought: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for page, who in pages.brought.items():
        brought[page // each][who] += 1
    for first in range(0, pages.count, width * each):
        bar, heat = Text(), Text()
        for start in range(first, min(first + width * each, pages.count), each):
            members = range(start, min(start + each, pages.count))
            count = filled.get(start // each, 0)
            bringers = brought[start // each].most_common(1)
            style = colours.get(bringers[0][0], "") if bringers else ""
            shade = "?" if pages.resident is None else _SHADES[-(-count * 4 // len(members))]
            bar.append(shade if shade != " " else "·", style if shade != " " else "dim")
            demands = demanded[start // each]
            heat.append(str(min(demands, 9)) if demands else " ", style)
        console.print(Text(f"{first * PAGE_SIZE:#x}".rjust(gutter - 1) + " ").append(bar), highlight=False)
        if heat.plain.strip():
            console.print(Text(" " * gutter).append(heat), highlight=False)
    unit = "1 page" if each == 1 else f"{each:,} pages"
    console.print(
        f"a column is {unit} ({format_size(each * PAGE_SIZE)}): · none resident, █ all; below, how often a page of it "
        "was demanded",
        highlight=False,
        soft_wrap=True,
    )
    for who, colour in colours.items():
        console.print(Text("█ ", colour).append(visible(who), "default"), highlight=False)


def _palette(brought: Mapping[int, str]) -> dict[str, str]:
    """The processes that brought most pages in, each with a colour; the others share the last one."""
    most = [who for who, _ in Counter(brought.values()).most_common(len(_COLOURS))]
    return dict(zip(most, _COLOURS, strict=False))


def _filled(pages: Pages, each: int) -> dict[int, int]:
    """Column: how many of its pages are resident."""
    filled: Counter[int] = Counter()
    for run in pages.resident or []:
        for column in range(run.start // each, (run.stop - 1) // each + 1):
            filled[column] += min(run.stop, (column + 1) * each) - max(run.start, column * each)
    return filled
