"""What a mount serves, as a table."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapfs.units import PAGE_SIZE, format_size, page_count
from mapfs.views.lines import visible

_MOST_SPEC = 120  # characters


def render(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Prints the rows of `mapfs files --json`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, right in (("file", 0), ("size", 1), ("resident", 1), ("mode", 0), ("coherency", 0), ("open", 1)):
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "file", overflow="fold")
    table.add_column("spec", overflow="fold")
    for row in rows:
        table.add_row(
            Text(visible(row["name"])),
            format_size(row["size"]) if row["size"] is not None else "-",
            _resident(row),
            row["mode"] or "?",
            row["coherency"] or "?",
            f"{row['open']:,}",
            Text(_shortened(visible(row["spec"]))),
        )
        for rule in row["rules"]:
            table.add_row("", "", "", "", "", "", Text(f"injected: {rule}", style="red"))
    console.print(table)


def _shortened(spec: str) -> str:
    """A spec may hold a whole text; --json has all of it."""
    return spec if len(spec) <= _MOST_SPEC else spec[: _MOST_SPEC - 1] + "…"


def _resident(row: dict[str, Any]) -> str:
    """Pages in the page cache, of how many."""
    if row["size"] is None:
        return "-"
    if row["resident"] is None:
        return "?"
    return f"{row['resident']:,} of {page_count(row['size'], PAGE_SIZE):,}"
