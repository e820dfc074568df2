"""The symbols of an executable in the order in which a trace demanded them, for a linker that puts together what is
needed together.

What is known are pages. A symbol comes where the first page that holds some of its bytes was first demanded; those
that come with the same page stay in their order in the file. So it is the order of the pages, and no record of calls.
"""

import sqlite3

from mapfs.errors import MapfsError
from mapfs.trace.labels.book import TraceLabels

_CUT = "…"  # what a name that is too long to be kept ends with
_PAGES = """
    SELECT r.offset, r.size FROM requests r
    WHERE r.op = 1 AND r.errno = 0 AND r.file = ? ORDER BY r.serial"""


def symbol_order(db: sqlite3.Connection, path: str) -> list[str]:
    """The symbols of the file `path` of the mount. Raises MapfsError where there is none that is known."""
    book = TraceLabels(db)
    file = next((number for number, name in book.newest().items() if name == path), None)
    labels = book.of(file) if file is not None else None
    (page_size,) = db.execute("SELECT page_size FROM mount").fetchone()
    found: dict[str, None] = {}
    for offset, size in db.execute(_PAGES, (file,)) if labels is not None else ():
        for page in range(offset // page_size, -(-(offset + size) // page_size)):
            assert labels is not None, "else there are no rows"
            for name in labels.names(page * page_size, page_size):
                _, colon, symbol = name.partition(":")
                if colon and not symbol.endswith(_CUT):
                    found.setdefault(symbol)
    if not found:
        raise MapfsError(
            f"no symbol of /{path} was demanded that is known; it must be an ELF file that is not stripped "
            "and that was read from its disk in this run"
        )
    return list(found)
