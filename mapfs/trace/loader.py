"""The events of a running mount as a trace in memory: their JSON form turned back into rows.

So that every view is a query on the tables of docs/TRACE.md, whatever it looks at.
"""

import errno
from collections.abc import Iterable
from typing import Any

from mapfs.trace.events import OPS, Event, Lost
from mapfs.trace.facts import FileFact, HeldBackFact, MountFact, ThreadFact
from mapfs.trace.labels.book import served
from mapfs.trace.store import Store

_NUMBERS = {name: number for number, name in OPS.items()}


class Loader:
    """Writes into `store` what the mount at `mount` tells; `stats` is what its `.mapfs/stats` said."""

    def __init__(self, store: Store, mount: str, stats: dict[str, Any]) -> None:
        self._store = store
        self._mount = mount
        self._stats = stats
        self._files: dict[str, FileFact] = {}
        self._threads: dict[tuple[int, int | None, str | None], ThreadFact] = {}
        names = ("mountpoint", "version", "link", "page_size", "readahead", "evidence")
        store.fact(
            MountFact(**{name: stats[name] for name in names}, pid=stats["daemon"]["pid"], monotonic_ns=0, wall_ns=0)
        )

    def load(self, events: Iterable[dict[str, Any]]) -> int:
        """Loads all; returns how many events of mapfs were lost."""
        batch, serial = [], 0
        for event in events:
            serial += event["count"] if event["op"] == "lost" and not event["samples"] else 1
            batch.append(self._event(event, serial))
        self._store.events(batch)
        for held in self._stats["held_back"]:
            file = self._file(held["file"]).id
            self._store.fact(HeldBackFact(file, held["times"], held["pushed"], held["untouched"]))
        return sum(event.count for event in batch if isinstance(event, Lost) and not event.samples)

    def _event(self, event: dict[str, Any], serial: int) -> Event | Lost:
        if event["op"] == "lost":
            return Lost(event["count"], samples=event["samples"])
        thread, by = self._thread(event), self._by(event["by"])
        return Event(
            serial=serial,
            time_ns=event["wall_ns"],
            wait_ns=event["wait_ns"],
            op=_NUMBERS[event["op"]],
            cls=event["class"],
            file=self._file(event["file"]),
            offset=event["offset"],
            size=event["size"],
            thread=thread,
            thread_key=thread.key if thread else 0,
            tid=event["tid"] or 0,
            errno=getattr(errno, event["error"] or "", 0),
            reason=event["reason"],
            refaults=event["refaults"],
            direct=event["direct"],
            unique=0,
            via=event["via"] if event["via"] != "?" else None,
            demanded=event["demanded"],
            total_ns=event["total_ns"],
            by=by,
            by_key=by.key if by else 0,
        )

    def _file(self, path: str) -> FileFact:
        fact = self._files.get(path)
        if fact is None:
            spec, size = served(self._mount, path)
            fact = self._files[path] = FileFact(len(self._files) + 1, 0, path, spec, size, 1)
            self._store.fact(fact)
        return fact

    def _thread(self, event: dict[str, Any]) -> ThreadFact | None:
        if event["pid"] is None:
            return None
        return self._known(event["tid"], event["pid"], event["command"], event["container"])

    def _by(self, by: dict[str, Any] | None) -> ThreadFact | None:
        return self._known(by["tid"], by["pid"], by["command"], None) if by else None

    def _known(self, tid: int, pid: int, command: str, container: str | None) -> ThreadFact:
        fact = self._threads.get((tid, pid, command))
        if fact is None or (container and not fact.container):
            number = fact.key if fact else len(self._threads) + 1
            fact = ThreadFact(number, tid, command, pid, 0, command, "", container, 0)
            self._threads[tid, pid, command] = fact
            self._store.fact(fact)
        return fact
