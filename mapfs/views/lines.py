"""An event as one line of the log: time, class, command/thread, file, page, offset, label, wait.

Works on the JSON form of an event, so that a running mount, a trace and a stream print the same.
"""

import re
import time
from collections.abc import Mapping
from typing import Any

from mapfs.units import format_ns

_COLOURS = {
    "COLD": "36",
    "REFAULT": "33",
    "ERROR": "1;31",
    "WRITE": "35",
    "PUSH": "34",
    "DROP": "33",
    "AHEAD": "34",
    "SHARED": "32",
    "JOINED": "32",
    "EVICT": "2",
}
_UNCLASSED = {"push": "PUSH", "drop": "DROP", "evict": "EVICT"}  # what no process asked for, and is of no class
_CLASS_WIDTH = 7
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """`text` without anything that could move a cursor or start a new line: shown as escapes instead."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class Lines:
    """Formats events; remembers the last second, whose text is the same for all its events."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour
        self._second = -1
        self._clock = ""

    def line(self, event: Mapping[str, Any]) -> str:
        """The line of `event`, without a newline."""
        if event["op"] == "lost":
            return self._lost(event)
        return "  ".join(
            (
                self._time(event["wall_ns"]),
                self._class(event),
                f"{_who(event):<20}",
                f"{visible(event['file']):<16}",
                f"{_pages(event):<10}",
                f"{event['offset']:#010x}",
                visible(event["label"] or "-"),
                f"{_wait(event)}{_by(event)}{_why(event)}",
            )
        )

    def short(self, event: Mapping[str, Any], width: int) -> str:
        """The same without time, offset and label, cut to `width` columns."""
        if event["op"] == "lost":
            return self._lost(event)
        columns = (f"{_who(event):<14}", f"{visible(event['file']):<7}", f"{_pages(event):<10}", _wait(event))
        rest = "  ".join(columns) + _by(event) + _why(event)
        room = width - _CLASS_WIDTH - 2
        return f"{self._class(event)}  {rest if len(rest) <= room else rest[: room - 3] + '...'}"

    def _lost(self, event: Mapping[str, Any]) -> str:
        if event.get("skipped"):
            return self._paint("33", f"... skipped {event['count']:,} lines: their reader is slower than the events")
        if event.get("samples"):
            return self._paint(
                "1;31", f"... lost {event['count']:,} samples of evidence: the kernel had no room for them"
            )
        return self._paint("1;31", f"... lost {event['count']:,} events: overwritten before they could be recorded")

    def _time(self, wall_ns: int) -> str:
        second, rest = divmod(wall_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._clock = time.strftime("%H:%M:%S", time.localtime(second))
        return f"{self._clock}.{rest // 1000:06d}"

    def _class(self, event: Mapping[str, Any]) -> str:
        name = event["class"] or _UNCLASSED.get(event["op"]) or ("DIRECT" if event["direct"] else "?")
        return self._paint(_COLOURS.get(name, "0"), f"{name:<{_CLASS_WIDTH}}")

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def _who(event: Mapping[str, Any]) -> str:
    """`python3/1234`; of a thread that is not its process's first, `python3/1234:1240`."""
    tid, pid = event["tid"], event["pid"]
    if tid is None:
        return "?"
    if pid is None:
        return f"?/{tid}"
    return visible(f"{event['command']}/{pid}" if tid == pid else f"{event['command']}/{pid}:{tid}")


def _pages(event: Mapping[str, Any]) -> str:
    first, count = event["page"], event["pages"]
    return f"page {first}" if count == 1 else f"pages {first}-{first + count - 1}"


def _wait(event: Mapping[str, Any]) -> str:
    """`412 us`, and what the thread waited in total where that is known and another time: `412 us (of 431 us)`."""
    wait, total = event["wait_ns"], event["total_ns"]
    shown = f"{'-' if wait is None else format_ns(wait):>7}"
    return shown if total in (None, wait) else f"{shown} (of {format_ns(total)})"


def _by(event: Mapping[str, Any]) -> str:
    """Who brought in the pages that were shared, or on their way: `by python3/1234`."""
    if event["class"] not in ("SHARED", "JOINED"):
        return ""
    return f"  by {_who(event['by'])}" if event["by"] else "  by ?"


def _why(event: Mapping[str, Any]) -> str:
    return f"  {event['error']}: {visible(event['reason'] or '?')}" if event["error"] else ""
