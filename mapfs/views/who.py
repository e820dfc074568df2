"""Who maps or holds files of a mount, as a table: a row for each file that a process maps, or only holds."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapfs.trace.users import Mapping, User, Users
from mapfs.units import format_size
from mapfs.views.lines import visible


@dataclass(frozen=True, slots=True)
class Row:
    """A file and a process. Sizes are bytes of physical memory, of all its mappings of the file together."""

    pid: int
    uid: int
    command: str
    container: str | None
    file: str
    open: bool
    ranges: list[tuple[int, int]]  # first page, pages
    writable: bool
    rss: int
    pss: int
    shared: int
    private: int


def rows_of(users: Users, name_of: Callable[[int, str], str], inode: int | None) -> list[Row]:
    """A row for each file of each process; of the file with `inode` alone where it is given."""
    rows = []
    for user in users.users:
        by_inode: dict[int, list[Mapping]] = {number: [] for number in user.held}
        for mapping in user.mappings:
            by_inode.setdefault(mapping.inode, []).append(mapping)
        for number, mappings in sorted(by_inode.items()):
            if inode is None or number == inode:
                path = mappings[0].path if mappings else ""
                rows.append(_row(user, name_of(number, path), number in user.held, mappings))
    return rows


def _row(user: User, file: str, held: bool, mappings: list[Mapping]) -> Row:
    return Row(
        user.pid,
        user.uid,
        user.command,
        user.container,
        file,
        held,
        [(one.first_page, one.pages) for one in mappings],
        any(one.writable and one.shared for one in mappings),
        sum(one.rss for one in mappings),
        sum(one.pss for one in mappings),
        sum(one.shared_bytes for one in mappings),
        sum(one.private_bytes for one in mappings),
    )


def as_json(rows: list[Row], closed: int) -> dict[str, Any]:
    """Plain objects."""
    return {"users": [asdict(row) for row in rows], "closed": closed}


def render(rows: list[Row], closed: int, console: Console) -> None:
    """Prints the table, and what it cannot know."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, right in (
        ("process", False), ("file", False), ("pages", False), ("resident", True), ("shared", True),
        ("private", True), ("pss", True), ("how", False),
    ):  # fmt: skip
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=right)
    for row in rows:
        where = f" in {row.container[:12]}" if row.container else ""
        how = "mapped for writing" if row.writable else "mapped" if row.ranges else "open"
        sizes = [format_size(size) if row.ranges else "-" for size in (row.rss, row.shared, row.private, row.pss)]
        table.add_row(
            Text(visible(f"{row.command}/{row.pid}{where}")), Text(visible(row.file)), _ranges(row), *sizes, how
        )
    if rows:
        console.print(table)
    else:
        console.print("nobody that could be looked into maps or holds it")
    if closed:
        several = "process" if closed == 1 else "processes"
        console.print(f"{closed:,} {several} of other users could not be looked into: ?", style="yellow")


def _ranges(row: Row) -> str:
    shown = [f"{first}-{first + pages - 1}" if pages > 1 else str(first) for first, pages in row.ranges[:4]]
    return " ".join(shown) + (f" and {len(row.ranges) - 4} more" if len(row.ranges) > 4 else "") or "-"
