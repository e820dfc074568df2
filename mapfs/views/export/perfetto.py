"""A timeline in the trace-event format (Chrome's JSON, which ui.perfetto.dev opens): a track a process and thread.

A slice is a wait: it begins when the request reached mapfs, or with the page fault, and ends with the answer. A page
that was there already is a slice of 1 ns, the shortest there is. An arrow (a flow, phases s and f) leads from the
request that brought a page in to each wait that joined it and each page that was shared. Slices of a track do not
overlap, so what a thread did at the same time (read-ahead) is on further tracks of it, and what no known thread
waited for on those of the process 0. Counters tell, for each file, how many pages were in the page cache where
evictions were seen, and else how many were asked for so far. Times are in us of CLOCK_MONOTONIC, or, where that is
more than a double can hold to the ns, from an hour before the first event.
"""

from collections.abc import Generator, Iterator, Mapping
from typing import Any, TextIO

import msgspec

from mapfs.views.export import Events
from mapfs.views.export.bringers import Bringers

_MAPFS = 0  # the process and thread of what no known thread waited for
_EXACT = 1 << 52  # ns up to which a double of us is exact
_HOUR = 3_600_000_000_000  # ns: no request that was recorded later began earlier than that, but for a stalled one
_LANES = 1 << 32  # thread ids from here on are further tracks; no thread has such a one
_ARGS = ("class", "via", "offset", "size", "container", "total_ns", "error", "reason", "label")
Slice = dict[str, Any]


def write(events: Events, out: TextIO, evidence: str = "requests") -> None:
    """One JSON object, written as it goes."""
    encode = msgspec.json.Encoder().encode
    timeline = _Timeline(kernel=evidence == "kernel")
    out.write('{"displayTimeUnit":"ns","traceEvents":[')
    separator = "\n"
    for event in events:
        for one in timeline.of(event):
            out.write(separator + encode(one).decode())
            separator = ",\n"
    out.write("\n]}\n")


class _Timeline:
    """Turns events into those of the format; remembers tracks, and who brought which page in."""

    def __init__(self, *, kernel: bool) -> None:
        self._kernel = kernel
        self._ends: dict[tuple[int, int], list[int]] = {}  # of each thread: when the last slice of each track ended
        self._numbers: dict[tuple[int, int], int] = {}  # of each track
        self._tracks: list[tuple[int, int]] = []  # pid and tid by that number
        self._bringers = Bringers()
        self._flows = 0
        self._origin: int | None = None

    def of(self, event: Mapping[str, Any]) -> Iterator[Slice]:
        """What stands for `event`."""
        if event["op"] == "lost":
            return
        if self._origin is None:
            self._origin = 0 if event["time_ns"] < _EXACT else event["time_ns"] - _HOUR
        event = {**event, "time_ns": max(0, event["time_ns"] - self._origin)}
        match event["op"]:
            case "evict":
                yield from self._left(event)
            case "fault" | "hit":
                yield from self._got(event)
            case _:
                yield from self._request(event)

    def _request(self, event: Mapping[str, Any]) -> Iterator[Slice]:
        start = event["time_ns"]
        track = yield from self._slice(event, start, max(1, event["wait_ns"]))
        if event["error"] or event["direct"]:
            return
        if event["op"] in ("read", "push"):
            self._bringers.bring(event["file"], _pages(event), start, self._numbers[track])
            yield from self._counter(event)
        elif event["op"] == "drop":
            yield from self._left(event)

    def _got(self, event: Mapping[str, Any]) -> Iterator[Slice]:
        """A page that was there already, or on its way."""
        start, wait = event["time_ns"], max(1, event["wait_ns"] or 1)
        pid, tid = yield from self._slice(event, start, wait)
        if event["class"] not in ("SHARED", "JOINED") or not event["by"]:
            return
        for page in _pages(event):
            found = self._bringers.who(event["file"], page)
            if found is None:
                continue
            brought, number = found
            by = self._tracks[number]
            ends = max(start, brought)
            if by[0] != event["by"]["pid"] or by == (pid, tid) or ends >= start + wait:
                continue  # nobody can tell which request it was
            self._flows += 1
            flow = {"name": event["class"], "cat": "flow", "id": self._flows}
            yield {"ph": "s", **flow, "pid": by[0], "tid": by[1], "ts": brought / 1000}
            yield {"ph": "f", "bp": "e", **flow, "pid": pid, "tid": tid, "ts": ends / 1000}

    def _left(self, event: Mapping[str, Any]) -> Iterator[Slice]:
        """Pages that are not in the page cache any more."""
        if event["op"] == "evict":
            pid, tid = event["pid"] or _MAPFS, event["tid"] or _MAPFS
            yield from self._named(event, (pid, tid), 0)
            where = {"pid": pid, "tid": tid, "ts": event["time_ns"] / 1000, "s": "t"}
            yield {"ph": "i", "name": _title(event), "cat": "evict", **where}
        if self._kernel:
            self._bringers.leave(event["file"], _pages(event))
            yield from self._counter(event)

    def _slice(self, event: Mapping[str, Any], start: int, length: int) -> Generator[Slice, None, tuple[int, int]]:
        """The slice, on the first track of its thread that is free; returns pid and tid of that track."""
        thread = (event["pid"] or _MAPFS, event["tid"] or _MAPFS)
        ends = self._ends.setdefault(thread, [])
        lane = next((number for number, end in enumerate(ends) if end <= start), len(ends))
        ends[lane : lane + 1] = [start + length]
        track = (thread[0], thread[1] + lane * _LANES)
        yield from self._named(event, track, lane)
        yield {
            "ph": "X",
            "name": _title(event),
            "cat": event["op"],
            "pid": track[0],
            "tid": track[1],
            "ts": start / 1000,
            "dur": length / 1000,
            "args": {key: event[key] for key in _ARGS if event[key] is not None},
        }
        return track

    def _named(self, event: Mapping[str, Any], track: tuple[int, int], lane: int) -> Iterator[Slice]:
        if track in self._numbers:
            return
        self._numbers[track] = len(self._tracks)
        self._tracks.append(track)
        name = event["command"] if event["pid"] else "nobody known"
        whole = f"{name}/{event['tid'] or 0}" + (f", at the same time {lane}" if lane else "")
        where = {"pid": track[0], "tid": track[1]}
        yield {"ph": "M", "name": "process_name", **where, "args": {"name": name}}
        yield {"ph": "M", "name": "thread_name", **where, "args": {"name": whole}}

    def _counter(self, event: Mapping[str, Any]) -> Iterator[Slice]:
        file, what = event["file"], "in the page cache" if self._kernel else "asked for"
        where = {"pid": _MAPFS, "tid": _MAPFS, "ts": (event["time_ns"] + (event["wait_ns"] or 0)) / 1000}
        yield {"ph": "C", "name": f"pages of {file} {what}", **where, "args": {"pages": self._bringers.count(file)}}


def _pages(event: Mapping[str, Any]) -> range:
    return range(event["page"], event["page"] + event["pages"])


def _title(event: Mapping[str, Any]) -> str:
    last = event["page"] + event["pages"] - 1
    which = f"page {event['page']}" if event["pages"] == 1 else f"pages {event['page']}-{last}"
    return f"{event['class'] or event['op']} {event['file']} {which}"
