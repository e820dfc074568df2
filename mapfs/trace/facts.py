"""Rare facts, which travel on a socket beside the ring: who a thread is, what a file is called.

A fact is sent before the first event that refers to it is put into the ring, so a recorder that looks at
the ring first and at the socket second has it. The socket keeps messages whole (SOCK_SEQPACKET), keeps what a
killed daemon sent, and never makes the daemon wait: what a recorder that was stopped cannot take is sent later,
in order, once it goes on.
"""

import contextlib
import errno
import os
import socket
import threading
from collections import deque
from collections.abc import Callable

import msgspec

from mapfs.trace.sockets import enlarge


class MountFact(msgspec.Struct, frozen=True, tag="mount"):
    """The mount that is about to serve. Times anchor CLOCK_MONOTONIC to the wall clock, both in ns."""

    mountpoint: str
    version: str
    link: str
    page_size: int
    readahead: int
    pid: int
    monotonic_ns: int
    wall_ns: int
    evidence: str = "requests"  # the tier: requests, faults or kernel

    @property
    def wall_offset(self) -> int:
        """Unix time minus CLOCK_MONOTONIC, ns."""
        return self.wall_ns - self.monotonic_ns


class FileFact(msgspec.Struct, frozen=True, tag="file"):
    """A file that was opened. A change of its content or size makes a new fact with a new `id`; `found_ns` is when that
    was noticed, CLOCK_MONOTONIC. `version` is that of its content (`plan.version_text`).
    """

    id: int
    inode: int
    path: str
    spec: str
    size: int
    generation: int
    found_ns: int = 0
    version: str | None = None


class ThreadFact(msgspec.Struct, frozen=True, tag="thread"):
    """A thread that waited for a page, and its process. `started` is in clock ticks since boot (proc(5)), `found_ns`
    when this was found out, CLOCK_MONOTONIC.
    """

    key: int
    tid: int
    name: str
    pid: int
    started: int
    command: str
    cmdline: str
    container: str | None
    uid: int
    found_ns: int = 0


class WatchedFact(msgspec.Struct, frozen=True, tag="watched"):
    """From `time_ns` on, CLOCK_MONOTONIC, the page faults of this process are seen (tier faults): as long as somebody
    keeps the descriptors that come with it.
    """

    pid: int
    started: int
    time_ns: int


class RingsFact(msgspec.Struct, frozen=True, tag="rings"):
    """Rings of samples that the kernel writes; a descriptor for each comes with it.

    `device` is the st_dev of the mount, `roles` says what each ring holds, `sizes` how much, bytes.
    """

    device: int
    roles: list[str]
    sizes: list[int]


class ReasonFact(msgspec.Struct, frozen=True, tag="reason"):
    """Why requests failed, in words."""

    id: int
    text: str


class EventsWanted(msgspec.Struct, frozen=True, tag="events"):
    """Somebody opened `.mapfs/events`; a pipe comes with it. `follow`: past the newest event, until closed."""

    follow: bool


#: What the daemon itself has to say of the mount.
DaemonValues = dict[str, int | str | float | None]


class StatsWanted(msgspec.Struct, frozen=True, tag="stats"):
    """Somebody opened `.mapfs/stats`; a pipe comes with it, and what the daemon itself has to say. `now`: what the
    recorder has by now will do.
    """

    daemon: DaemonValues
    now: bool = False


class MetricsWanted(msgspec.Struct, frozen=True, tag="metrics"):
    """The same of `.mapfs/metrics`."""

    daemon: DaemonValues
    now: bool = False


class DaemonFact(msgspec.Struct, frozen=True, tag="daemon"):
    """What the daemon has to say, because the recorder asked (`FactSender.heard`)."""

    values: DaemonValues


class HeldBackFact(msgspec.Struct, frozen=True, tag="held"):
    """Pushing ahead was held back, `times`: of `pushed` pages of this file `untouched` were passed by, and touched by
    nobody.
    """

    file: int
    times: int
    pushed: int
    untouched: int


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The mount is over: `served` tells whether there ever was one."""

    served: bool


Fact = (
    MountFact
    | FileFact
    | ThreadFact
    | WatchedFact
    | RingsFact
    | ReasonFact
    | EventsWanted
    | StatsWanted
    | MetricsWanted
    | DaemonFact
    | HeldBackFact
    | Ended
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Fact] = msgspec.msgpack.Decoder(Fact)
LARGEST = 1 << 16
#: The recorder lags: there is no room for more messages, or for more descriptors on their way (unix(7)).
_LAGS = (errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS)
_LARGEST_SAID = 1 << 10  # bytes of what the recorder says
MOST_FDS = 253  # descriptors with one message (unix(7), SCM_MAX_FD)
ASK = b"?"  # what the recorder says: it wants a DaemonFact; anything else is a PassedBy


class PassedBy(msgspec.Struct, frozen=True, array_like=True):
    """Of `pushed` pages of a file, from the page `first` on, `untouched` had been touched by nobody when the thread was
    well past them.
    """

    inode: int
    tid: int
    first: int
    pushed: int
    untouched: int


encode_passed: Callable[[PassedBy], bytes] = _encoder.encode
_passed: msgspec.msgpack.Decoder[PassedBy] = msgspec.msgpack.Decoder(PassedBy)


def printable(text: bytes | str) -> str:
    """`text` as UTF-8; what is not, as backslash escapes, so that it can be stored, sent and shown anywhere."""
    return (os.fsencode(text) if isinstance(text, str) else text).decode("utf-8", "backslashreplace")


def decode(message: bytes) -> Fact:
    """The fact in `message`. Raises msgspec.ValidationError."""
    return _decoder.decode(message)


class FactSender:
    """The daemon's end. Callable from any thread; never waits and never raises."""

    def __init__(self, end: socket.socket) -> None:
        enlarge(end)
        end.setblocking(False)  # socket.send_fds drops its flags argument, MSG_DONTWAIT too
        self._socket = end
        self._lock = threading.Lock()
        self._late: deque[bytes] = deque()
        self.alive = True

    def send(self, fact: Fact, fds: tuple[int, ...] = ()) -> bool:
        """Sends `fact`, or keeps it for later where the recorder lags. False: it cannot be delivered now."""
        message = _encoder.encode(fact)
        with self._lock:
            if not self.alive:
                return False
            self._late.append(message)
            if self._flush(fds):
                return True
            if fds and self._late:  # a descriptor cannot be kept back: its owner is told instead
                self._late.pop()
            return False

    def _flush(self, fds: tuple[int, ...] = ()) -> bool:
        """Sends what is late, as far as the socket takes it; `fds` go with the last."""
        while self._late:
            try:
                socket.send_fds(self._socket, [self._late[0]], fds if len(self._late) == 1 else ())
            except OSError as error:
                if error.errno in _LAGS:
                    return False
                self.alive = False
                self._late.clear()
                return False
            self._late.popleft()
        return True

    def fileno(self) -> int:
        """Readable where the recorder asks something, or has ended."""
        return self._socket.fileno()

    def heard(self) -> bytes | PassedBy | None:
        """What the recorder said: ASK, which a DaemonFact answers, or what it saw; b"": nothing that means anything.
        None: it has ended, and says no more.
        """
        try:
            said = self._socket.recv(_LARGEST_SAID)
        except BlockingIOError:  # woken for nothing
            return b""
        except OSError:
            return None
        if said in (ASK, b""):
            return said or None
        try:
            return _passed.decode(said)
        except msgspec.MsgspecError:
            return b""

    def flush(self) -> bool:
        """Tries again to send what is late. True: nothing is."""
        with self._lock:
            return self._flush()

    def close(self, within: float = 0.0) -> bool:
        """Sends what is late, waiting for at most `within` seconds; the recorder then sees the end of the facts
        and finishes. False: some never reached it.
        """
        with self._lock, contextlib.suppress(OSError):
            if self._late:
                self._socket.settimeout(within)
                while self._late:
                    self._socket.send(self._late[0])
                    self._late.popleft()
        complete = self.alive and not self._late
        with contextlib.suppress(OSError):
            self._socket.close()
        return complete
