"""A timeline in the trace-event format (Chrome's JSON, which ui.perfetto.dev opens): a track a process and thread.

A slice is a wait: it begins when the request reached mapfs and ends with its answer. A counter tells how many pages
were asked for so far, for each file; what has left the page cache since, requests cannot tell. Times are in us.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, TextIO

import msgspec

from mapfs.views.export import Events

_ARGS = ("offset", "size", "label", "container", "error", "reason")
_MAPFS = 0  # the process and thread of what no known thread waited for


def write(events: Events, out: TextIO) -> None:
    """One JSON object, written as it goes."""
    encode = msgspec.json.Encoder().encode
    named: set[tuple[int, int]] = set()
    pages: Counter[str] = Counter()
    out.write('{"displayTimeUnit":"ns","traceEvents":[')
    separator = "\n"
    for event in events:
        for one in _of(event, named, pages):
            out.write(separator + encode(one).decode())
            separator = ",\n"
    out.write("\n]}\n")


def _of(event: Mapping[str, Any], named: set[tuple[int, int]], pages: Counter[str]) -> list[dict[str, Any]]:
    if event["op"] == "lost":
        return []
    pid, tid = event["pid"] or _MAPFS, event["tid"] or _MAPFS
    made: list[dict[str, Any]] = []
    if (pid, tid) not in named:
        named.add((pid, tid))
        name = event["command"] if event["pid"] else "nobody known"
        made.append({"ph": "M", "name": "process_name", "pid": pid, "tid": tid, "args": {"name": name}})
        made.append({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": f"{name}/{tid}"}})
    start = event["time_ns"] / 1000
    last = event["page"] + event["pages"] - 1
    which = f"page {event['page']}" if event["pages"] == 1 else f"pages {event['page']}-{last}"
    args = {key: event[key] for key in _ARGS if event[key] is not None}
    made.append(
        {
            "ph": "X",
            "name": f"{event['class'] or event['op']} {event['file']} {which}",
            "cat": event["op"],
            "pid": pid,
            "tid": tid,
            "ts": start,
            "dur": event["wait_ns"] / 1000,
            "args": args,
        }
    )
    if event["op"] in ("read", "push") and not event["error"] and not event["direct"]:
        pages[event["file"]] += event["pages"] - event["refaults"]
        args = {"pages": pages[event["file"]]}
        name = f"pages of {event['file']} asked for"
        made.append({"ph": "C", "name": name, "pid": _MAPFS, "tid": _MAPFS, "ts": start, "args": args})
    return made
