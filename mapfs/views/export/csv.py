"""A table (RFC 4180): a head line with the keys of an event, then a line an event. Null is an empty cell.

Where events were lost, a line has `lost` for its op, and in the column `lost` how many.
"""

import csv
from typing import TextIO

from mapfs.views.export import Events

_COLUMNS = (
    "time_ns", "wall_ns", "op", "class", "via", "direct", "file", "offset", "size", "page", "pages", "refaults",
    "demanded", "tid", "pid", "command", "container", "wait_ns", "total_ns", "error", "reason", "label", "by_tid",
    "by_pid", "by_command", "lost",
)  # fmt: skip


def write(events: Events, out: TextIO, _evidence: str = "") -> None:
    """All columns, always in the same order."""
    table = csv.writer(out)
    table.writerow(_COLUMNS)
    for event in events:
        if event["op"] == "lost":
            event = {"op": "lost", "lost": event["count"]}
        elif event["by"]:
            event = {**event, **{f"by_{key}": value for key, value in event["by"].items()}}
        table.writerow(["" if (value := event.get(name)) is None else value for name in _COLUMNS])
