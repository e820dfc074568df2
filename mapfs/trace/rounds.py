"""A round: what the recorder took out of the rings at one time, as bytes, and the facts that it may refer to.

To take is quick, to make events of it is not. So a round can wait, in memory or in a file (`spool`), and what would be
found out too late by then is in it: when it was taken, what had been lost, whether the mount was about to end.
"""

import msgspec

from mapfs.trace.facts import FileFact, HeldBackFact, ReasonFact, ThreadFact, WatchedFact

RoundFact = FileFact | ThreadFact | ReasonFact | WatchedFact | HeldBackFact


class Round(msgspec.Struct, array_like=True):
    """Times in ns of CLOCK_MONOTONIC."""

    #: When it began to be taken: what is younger may be in one ring and not in another.
    moment: int
    #: The serial number behind the last record in it, or in a round before it.
    until: int
    #: Records that were overwritten before they could be taken: those before the ones that are here.
    lost: int = 0
    #: As `ring.records_of` reads them.
    records: bytes = b""
    #: What each ring of evidence held, with its role.
    samples: list[tuple[str, bytes]] = []
    #: Samples for which the kernel had no room, if it was before the moment `missed`.
    lost_samples: int = 0
    #: Whether evictions are missing, too.
    blind: bool = False
    #: 0: no sample is missing.
    missed: int = 0
    #: The mount is not in the name space any more.
    ending: bool = False
    #: Why evidence ended with this round, of which requests alone are there; empty: it did not.
    failed: str = ""
    #: In the order in which the daemon sent them.
    facts: list[RoundFact] = []

    @property
    def size(self) -> int:
        """Bytes that it takes, roughly."""
        return len(self.records) + sum(len(data) for _, data in self.samples) + 200 * (1 + len(self.facts))

    @property
    def empty(self) -> bool:
        """Whether nothing was there: it tells of the moment alone."""
        return not (self.records or self.samples or self.facts or self.lost or self.missed or self.failed)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Round).decode
