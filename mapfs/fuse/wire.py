"""The layouts of the FUSE protocol that mapfs reads and writes itself, from linux/fuse.h. Pure: no I/O.

A request is a header and a body; a reply is a header and a body; both are in the byte order of the machine.
mapfs answers READ, and INTERRUPT of its own READs; everything else goes to libfuse as it is, and comes back
as it is, but for the reply to INIT, where mapfs says how far the kernel may read ahead.
"""

import struct
from typing import NamedTuple

FORGET = 2
READ = 15
INIT = 26
INTERRUPT = 36
BATCH_FORGET = 42
#: Requests that nobody answers.
UNANSWERED = frozenset({FORGET, INTERRUPT, BATCH_FORGET})

REQUEST = struct.Struct("=IIQQIIII")  # len opcode unique nodeid uid gid pid padding
READ_IN = struct.Struct("=QQIIQI")  # fh offset size read_flags lock_owner flags
READ_REQUEST = struct.Struct("=IIQQIIIIQQIIQI")  # both, so that one call takes a READ apart
INTERRUPT_IN = struct.Struct("=Q")  # unique of the request that is not wanted any more
REPLY = struct.Struct("=IiQ")  # len -errno unique
INIT_OUT = struct.Struct("=IIIIHHIIHHIIH")
#: The kernel fills a buffer of this size with as many FORGETs as fit; an unprivileged socket takes 416 KiB.
LARGEST_REQUEST = (1 << 18) + 4096
LARGEST_REPLY = (1 << 20) + 4096
_MAX_WRITE = 1 << 18  # a READ of the device needs a buffer for the largest WRITE (fs/fuse/dev.c, fuse_dev_do_read)
_MAX_PAGES = 64  # of the reply to one READDIR, where the socket takes no 1 MiB


class Request(NamedTuple):
    """The header of a request. `pid` is the thread that waits, 0 where the kernel itself asks."""

    length: int
    opcode: int
    unique: int
    nodeid: int
    uid: int
    gid: int
    pid: int


class Init(NamedTuple):
    """What the reply to INIT settles; sizes in bytes."""

    major: int
    minor: int
    max_readahead: int
    flags: int
    max_background: int
    congestion_threshold: int
    max_write: int
    time_gran: int
    max_pages: int
    map_alignment: int
    flags2: int
    max_stack_depth: int
    request_timeout: int


class WireError(ValueError):
    """A message that is not what the protocol says."""


def parse_request(message: bytes | bytearray | memoryview) -> Request:
    """The header of `message`. Raises WireError where it is cut short or longer than it says."""
    if len(message) < REQUEST.size:
        raise WireError(f"a request of {len(message)} bytes has no header")
    fields = Request._make(REQUEST.unpack_from(message)[:7])
    if fields.length != len(message):
        raise WireError(f"a request of {len(message)} bytes says that it has {fields.length}")
    return fields


def reply_header(unique: int, size: int, errno: int = 0) -> bytes:
    """The header of a reply with a body of `size` bytes, or of an error."""
    return REPLY.pack(REPLY.size + size, -errno, unique)


def parse_init_reply(reply: bytes | bytearray) -> Init:
    """What a reply to INIT settles. Raises WireError where it is an error or cut short."""
    if len(reply) < REPLY.size + 24:
        raise WireError(f"a reply of {len(reply)} bytes cannot be one to INIT")
    length, error, _ = REPLY.unpack_from(reply)
    if error or length != len(reply):
        raise WireError(f"the reply to INIT is an error ({-error}) or cut short")
    body = bytes(reply[REPLY.size : REPLY.size + INIT_OUT.size]).ljust(INIT_OUT.size, b"\0")
    return Init._make(INIT_OUT.unpack(body))


def correct_init_reply(reply: bytearray, readahead: int, *, small: bool = False) -> Init:
    """Writes into libfuse's reply to INIT how many bytes the kernel may read ahead; returns what holds then.

    Bounds what has to cross the link, too: the largest WRITE always, and all replies where the socket is `small`.

    The kernel offered a maximum, which libfuse repeats in the reply; more than that it does not do
    (fs/fuse/inode.c, process_init_reply). With 0, each page fault is one READ of one page.
    """
    offered = parse_init_reply(reply)
    struct.pack_into("=I", reply, REPLY.size + 8, min(readahead, offered.max_readahead))
    struct.pack_into("=I", reply, REPLY.size + 20, min(offered.max_write, _MAX_WRITE))
    if small and offered.max_pages > _MAX_PAGES:
        struct.pack_into("=H", reply, REPLY.size + 28, _MAX_PAGES)
    return parse_init_reply(reply)
