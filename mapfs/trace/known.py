"""What the recorder was told: the facts that its events refer to by number."""

from mapfs.trace.events import Event
from mapfs.trace.evidence.names import FIRST_KEY
from mapfs.trace.facts import FileFact, HeldBackFact, ThreadFact
from mapfs.trace.journal import CLASSES, UNKNOWN, VIAS, Entry, Journal
from mapfs.trace.ring import DIRECT

_YOUNG = 1000  # threads that are known before their first event


class Known:
    """Files, threads and reasons, by their numbers. Of threads, those of the events that `journal` still has."""

    def __init__(self, journal: Journal) -> None:
        self.files: dict[int, FileFact] = {}
        self.threads: dict[int, ThreadFact] = {}
        self.reasons: dict[int, str] = {}
        self.held_back: dict[int, HeldBackFact] = {}  # of each file all that was told, added up
        self._journal = journal

    def thread(self, fact: ThreadFact) -> None:
        """Somebody found out who a thread is."""
        self.threads[fact.key] = fact
        if len(self.threads) > 4 * self._journal.slots:
            self._prune_threads()

    def held(self, fact: HeldBackFact) -> None:
        """Pushing was held back once more."""
        had = self.held_back.get(fact.file, HeldBackFact(fact.file, 0, 0, 0))
        self.held_back[fact.file] = HeldBackFact(
            fact.file, had.times + fact.times, had.pushed + fact.pushed, had.untouched + fact.untouched
        )

    def event(self, entry: Entry) -> Event:
        """The event of an entry of the journal."""
        return Event(
            serial=entry.serial,
            time_ns=entry.time_ns,
            wait_ns=entry.wait_ns if entry.wait_ns != UNKNOWN else None,
            op=entry.op,
            cls=CLASSES[entry.cls],
            file=self.files.get(entry.file) or FileFact(entry.file, 0, "?", "?", 0, 0),
            offset=entry.offset,
            size=entry.size,
            thread=self.threads.get(entry.thread),
            thread_key=entry.thread,
            tid=entry.tid,
            errno=entry.errno,
            reason=self.reasons.get(entry.reason) if entry.reason else None,
            refaults=entry.refaults,
            direct=bool(entry.flags & DIRECT),
            unique=entry.unique,
            via=VIAS[entry.via],
            demanded=entry.demanded if entry.demanded != UNKNOWN else None,
            total_ns=entry.total_ns if entry.total_ns != UNKNOWN else None,
            by=self.threads.get(entry.by) if entry.by else None,
            by_key=entry.by,
        )

    def _prune_threads(self) -> None:
        journal = self._journal
        alive: set[int] = set()
        for position in range(journal.oldest, journal.count):
            entry = journal[position]
            alive |= {entry.thread, entry.by}
        for keys in (
            [key for key in self.threads if key < FIRST_KEY],
            [key for key in self.threads if key >= FIRST_KEY],
        ):
            for key in sorted(keys)[:-_YOUNG]:
                if key not in alive:
                    del self.threads[key]
