"""Whether the tables of a trace are tables, as mapfs made them.

To query a trace is to run what its schema says: a view, a virtual table or a generated column under a name that is
expected would have a stranger's SQL evaluated, which cannot load code (`trusted_schema` is off), but can run for ever.
Tables, views and indexes of other names are their owner's affair: nothing here reads them.
"""

import functools
import sqlite3

from mapfs.trace.store import SCHEMA

_ORDINARY = "SELECT type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' FROM main.sqlite_schema WHERE name = ?"
_COLUMNS = "SELECT name, hidden FROM pragma_table_xinfo(?, 'main')"  # hidden: generated, or of a virtual table


@functools.cache
def _tables() -> dict[str, set[str]]:
    """The tables of a new trace, and the columns of each."""
    with sqlite3.connect(":memory:") as database:
        database.executescript(SCHEMA)
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        found = {name: {column for column, _ in database.execute(_COLUMNS, (name,))} for name in names}
    database.close()
    return found


def not_as_written(connection: sqlite3.Connection) -> str | None:
    """The first table that is missing, or something else; None: all are there. Raises sqlite3.Error."""
    for table, columns in _tables().items():
        if connection.execute(_ORDINARY, (table,)).fetchone() != (1,):
            return f"table {table}"
        there = dict(connection.execute(_COLUMNS, (table,)))
        if not columns <= there.keys() or any(there.values()):
            return f"table {table}"
    return None
