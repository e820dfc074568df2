"""What events add up to: the sums that `mapfs summary` asks a trace for, and those of what needed no request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Counts:
    """Sums over events: bytes and ns. The names are those of views.summary; then, in pages, what processes got from
    the page cache without a request of their own (`shared`, `joined`, `ahead`, `unknown`: nobody knows who brought
    them), and what left it without mapfs's doing. `waited_ns` is how long threads waited for mapfs: for requests that
    no thread waits for (`asked_ahead`), nobody did.
    """

    demands: int = 0
    pages: int = 0
    refaults: int = 0
    bytes: int = 0
    errors: int = 0
    direct: int = 0
    wait_ns: int = 0
    written: int = 0
    pushed: int = 0
    dropped: int = 0
    shared: int = 0
    joined: int = 0
    ahead: int = 0
    asked_ahead: int = 0
    unknown: int = 0
    evicted: int = 0
    waited_ns: int = 0

    def add(self, event: Mapping[str, Any]) -> None:
        """Counts one event that is not `lost`."""
        op, pages = event["op"], event["pages"]
        if event["error"]:
            self.errors += 1
        if event["direct"]:
            self.direct += 1
        if op == "read":
            if event["class"] != "AHEAD":
                self.wait_ns += event["wait_ns"]
                self.waited_ns += event["wait_ns"]
            if not event["error"]:
                self.bytes += event["size"]
                if not event["direct"]:
                    self.demands += event["class"] != "AHEAD"
                    self.asked_ahead += event["class"] == "AHEAD"
                    self.pages += pages - event["refaults"]
                    self.refaults += event["refaults"]
        elif op in ("fault", "hit"):
            self._got(event["class"], pages)
            self.waited_ns += event["wait_ns"] or 0
        elif op == "evict":
            self.evicted += pages
        elif op == "push":
            self.pushed += pages
        elif op == "drop":
            self.dropped += pages
        elif op == "write" and not event["error"]:
            self.written += event["size"]

    def _got(self, cls: str | None, pages: int) -> None:
        if cls == "SHARED":
            self.shared += pages
        elif cls == "JOINED":
            self.joined += pages
        elif cls == "AHEAD":
            self.ahead += pages
        else:
            self.unknown += pages

    def merge(self, other: "Counts") -> None:
        """Adds what `other` counted."""
        for name in Counts.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
