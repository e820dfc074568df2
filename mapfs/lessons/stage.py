"""Where a lesson is played: mounts of its own, processes of its own, and what was seen of them.

A `Stage` is what a lesson is handed. `stage.mount(...)` gives a `Scene`: one mount, its clients and its events. All of
it ends with the block, clients first, so that the mount is idle when it goes.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapfs.errors import MapfsError
from mapfs.lessons.client import Client
from mapfs.lessons.lesson import Outcome, Prediction, weigh
from mapfs.lessons.teller import Teller
from mapfs.mounting import Mounted, mounted
from mapfs.trace.evidence import tiers
from mapfs.trace.residency import residency
from mapfs.trace.users import users_of
from mapfs.units import PAGE_SIZE

FAULTS, KERNEL = tiers.FAULTS, tiers.KERNEL  # what a lesson may need to see


@dataclass(frozen=True, slots=True)
class Settings:
    """What every mount of a lesson is given. `readahead` in bytes; None: what the lesson itself wants."""

    evidence: str = tiers.AUTO
    readahead: int | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process's mapping of a file takes of physical memory (smaps, proc_pid_smaps(5)), in pages."""

    resident: int
    proportional: float  # each page divided by how many map it
    private: int  # mapped by this process alone


class Scene:
    """One mount of a lesson."""

    def __init__(self, mount: Mounted, stack: contextlib.ExitStack) -> None:
        self.path = mount.path
        self.evidence: str = mount.stats()["evidence"]
        self._mount = mount
        self._stack = stack
        self._told = 0

    def client(self, name: str, file: str) -> Client:
        """A process called `name` that uses `file`; it ends with the scene at the latest."""
        client = Client(name, str(self._mount / file))
        self._stack.callback(client.close)
        return client

    def news(self) -> list[dict[str, Any]]:
        """What happened since this was asked last. Raises MapfsError where events are missing: nothing can be
        concluded from the others then.
        """
        events = self._mount.events()
        if any(event["op"] == "lost" for event in events):
            raise MapfsError("events of this lesson were lost, so nothing can be concluded; give it again")
        told, self._told = self._told, len(events)
        return events[told:]

    def sees(self, tier: str) -> bool:
        """Whether the evidence reaches as far as that of `tier`."""
        return tiers.TIERS.index(self.evidence) >= tiers.TIERS.index(tier)

    def resident(self, file: str) -> int | None:
        """Pages of `file` in the page cache; None where this kernel cannot tell."""
        fd = os.open(self._mount / file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = residency(fd)
        finally:
            os.close(fd)
        return None if found is None else found.resident

    def memory(self, client: Client) -> Memory | None:
        """What `client` maps of this mount; None where it cannot be looked into."""
        users = users_of(os.stat(self._mount.path).st_dev).users
        maps = [one for user in users if user.pid == client.pid for one in user.mappings]
        if not maps:
            return None
        return Memory(
            sum(one.rss for one in maps) // PAGE_SIZE,
            sum(one.pss for one in maps) / PAGE_SIZE,
            sum(one.private_bytes for one in maps) // PAGE_SIZE,
        )


class Stage:
    """`work` is a directory for files of the lesson's own."""

    def __init__(self, outcome: Outcome, teller: Teller, work: Path, settings: Settings) -> None:
        self.work = work
        self._outcome = outcome
        self._teller = teller
        self._settings = settings

    @contextlib.contextmanager
    def mount(self, files: Mapping[str, str], readahead: int = 0) -> Iterator[Scene]:
        """Serves `files` while the block runs. Raises MapfsError where that cannot be done."""
        wanted = self._settings.readahead if self._settings.readahead is not None else readahead
        with (
            mounted(dict(files), evidence=self._settings.evidence, readahead=wanted) as mount,
            contextlib.ExitStack() as stack,
        ):
            scene = Scene(mount, stack)
            self._outcome.evidence = scene.evidence
            yield scene

    def say(self, text: str) -> None:
        """Tells the learner; paragraphs stand apart by an empty line."""
        self._teller.paragraphs(text)

    def predict(self, question: str, *choices: str) -> Callable[[str | int | None], None]:
        """Asks for one of `choices`, or for a number where there are none. What is returned takes what was measured
        instead: the text of a choice, a number, or None where nobody can tell.
        """
        prediction = Prediction(question, choices)
        self._outcome.predictions.append(prediction)
        prediction.said = self._teller.ask(question, choices)

        def settle(measured: str | int | None) -> None:
            prediction.measured = measured
            self._teller.settle(prediction)

        return settle

    def show(self, *groups: Sequence[dict[str, Any]], most: int = 4) -> None:
        """The lines of the log that prove it, the first `most` of each group."""
        for events in groups:
            self._outcome.events += events
        self._teller.lines(groups, most)

    def claim(self, text: str, expected: Any, measured: Any, why: str | None = None) -> None:
        """Holds `expected` against `measured`, None where that cannot be seen, for `why`; a range is any number in
        it.
        """
        self._outcome.claims.append(weigh(text, expected, measured, why))

    def needs(self, scene: Scene, tier: str, measured: Any) -> tuple[Any, str | None]:
        """`measured` and no excuse where the evidence reaches `tier`, else None and why."""
        if scene.sees(tier):
            return measured, None
        return None, f"needs the evidence {tier}, and this is {scene.evidence}; mapfs doctor says why"
