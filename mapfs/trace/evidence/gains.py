"""Pages that processes got without a request of their own: whose they were."""

from mapfs.trace.events import AHEAD, SHARED
from mapfs.trace.evidence import pages as why
from mapfs.trace.evidence.item import Item, of_pages
from mapfs.trace.evidence.names import Names
from mapfs.trace.evidence.pages import Pages, Process
from mapfs.trace.evidence.sample import Sample
from mapfs.units import PAGE_SIZE


class Gains:
    """Tells each page once for each process, until it leaves the cache, or the process becomes another program."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._holds: dict[Process, set[Pages]] = {}  # the files of which a process has pages

    def of(self, one: Sample, pages: Pages, via: str) -> list[Item]:
        """The process of the sample has what the cache has of these pages: an event for each run of pages that it had
        not and did not ask for itself.
        """
        key = self._names.key(one.pid, one.tid, one.time_ns)
        process = self._names.process(key)
        new = pages.get(process, one.first, one.last)
        if not new or process is None:
            return []
        self._holds.setdefault(process, set()).add(pages)
        made: list[Item] = []
        end = -1
        for page in new:
            by, kind = pages.origin(page)
            owner = self._names.process(by)
            cls: str | None = SHARED
            if kind == why.PUSHED or (owner == process and kind == why.AHEAD):
                cls, by = AHEAD, 0
            elif owner is None or (owner == process and kind == why.UNTOLD):
                cls, by = None, 0
            elif owner == process:
                continue
            if page == end and (made[-1].cls, made[-1].by) == (cls, by):
                made[-1].size += PAGE_SIZE
            else:
                made.append(of_pages(one.time_ns, pages.file, page, page, key, one.tid, cls=cls, via=via, by=by))
            end = page + 1
        return made

    def executed(self, pid: int) -> None:
        """The process is another program."""
        for process in [process for process in self._holds if process[0] == pid]:
            self.gone(process)

    def gone(self, process: Process) -> None:
        """It ended."""
        for pages in self._holds.pop(process, ()):
            pages.gone(process)
