"""The layouts of the FUSE protocol that mapfs reads and writes itself, from linux/fuse.h. Pure: no I/O.

A request is a header and a body; a reply is a header and a body; both are in the byte order of the machine.
mapfs answers what concerns the bytes of files (READ, WRITE, FALLOCATE, LSEEK, and INTERRUPT of these), and REFUSED;
everything else goes to libfuse as it is, and comes back as it is, but for the reply to INIT, where mapfs says
what the kernel may do by itself, and that to OPEN of a file whose pages the kernel is to take from its backing.
Notifications are messages of mapfs that nobody asked for: a header with unique 0 and the code in place of an
error.
"""

import errno
import struct
from typing import NamedTuple

from mapfs.sources.base import Buffer

LOOKUP = 1
FORGET = 2
GETATTR = 3
READLINK = 5
OPEN = 14
READ = 15
WRITE = 16
RELEASE = 18
FLUSH = 25
INIT = 26
OPENDIR = 27
RELEASEDIR = 29
CREATE = 35
INTERRUPT = 36
IOCTL = 39
BATCH_FORGET = 42
FALLOCATE = 43
LSEEK = 46
#: Requests that mapfs answers itself, besides INTERRUPT of one of them.
OF_BYTES = frozenset({READ, WRITE, FALLOCATE, LSEEK})
NOTIFY_INVALIDATE = 2
NOTIFY_INVALIDATE_ENTRY = 3
NOTIFY_STORE = 4
#: What is answered at once, with an errno: what is written is stored when it comes, so close(2) has nothing to ask for,
#: and the kernel need not come again for any file (ENOSYS); there are no ioctls, but programs ask each file that they
#: open whether it is a terminal.
REFUSED = {FLUSH: errno.ENOSYS, IOCTL: errno.ENOTTY}
#: Requests that nobody answers.
UNANSWERED = frozenset({FORGET, INTERRUPT, BATCH_FORGET})

REQUEST = struct.Struct("=IIQQIIII")  # len opcode unique nodeid uid gid pid padding
READ_IN = struct.Struct("=QQIIQI")  # fh offset size read_flags lock_owner flags
READ_REQUEST = struct.Struct("=IIQQIIIIQQIIQI")  # both
DEMAND = struct.Struct("=4xIQ16xI4xQQI12xI")  # of them what a pager needs: opcode unique tid handle offset size flags
HANDLE = struct.Struct("=Q")  # what the body of each of them begins with
# WRITE: as READ, with write_flags for read_flags; FALLOCATE: fh offset length mode; LSEEK: fh offset whence
WRITE_REQUEST_SIZE = REQUEST.size + 40  # its data follows
FALLOCATE_IN = struct.Struct("=QQQII")
LSEEK_IN = struct.Struct("=QQII")
WRITE_OUT = struct.Struct("=II")  # size padding
LSEEK_OUT = struct.Struct("=Q")
INVALIDATE_OUT = struct.Struct("=Qqq")  # nodeid offset length; a negative offset: the attributes alone
INVALIDATE_ENTRY_OUT = struct.Struct("=QII")  # parent, length of the name, flags; the name and a NUL follow
STORE_OUT = struct.Struct("=QQII")  # nodeid offset size padding; the data follows
OPEN_IN = struct.Struct("=II")  # flags open_flags
OPEN_OUT = struct.Struct("=QIi")  # fh open_flags backing_id
TIMEOUTS = struct.Struct("=QQQQII")  # fuse_entry_out: nodeid generation entry_valid attr_valid, and both their ns
ATTR_TIMEOUT = struct.Struct("=QII")  # fuse_attr_out: attr_valid, its ns, dummy
# ino size blocks atime mtime ctime, their ns, mode nlink uid gid rdev blksize flags; behind one of the two before
ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
WRITE_CACHE = 1 << 0  # write_flags: written back from the page cache, by the kernel; pid names nobody
_AUTO_INVAL_DATA, _EXPLICIT_INVAL_DATA, _INIT_EXT = 1 << 12, 1 << 25, 1 << 30  # flags of INIT
_PASSTHROUGH = 1 << 5  # of flags2: bit 37 of all
OPEN_KEEP_CACHE, OPEN_CACHE_DIR, _OPEN_PASSTHROUGH = 1 << 1, 1 << 3, 1 << 7
INTERRUPT_IN = struct.Struct("=Q")  # unique of the request that is not wanted any more
REPLY = struct.Struct("=IiQ")  # len -errno unique
INIT_OUT = struct.Struct("=IIIIHHIIHHIIH")
#: The kernel fills a buffer of this size with as many FORGETs as fit; an unprivileged socket takes 416 KiB.
LARGEST_REQUEST = (1 << 18) + 4096
LARGEST_REPLY = (1 << 20) + 4096
_MOST_BACKGROUND = 0xFFFF  # fuse_init_out.max_background, 16 bits
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


def correct_init_reply(reply: bytearray, readahead: int, *, small: bool = False, passthrough: bool = False) -> Init:
    """Writes into libfuse's reply to INIT how many bytes the kernel may read ahead; returns what holds then.

    Bounds what has to cross the link, too: the largest WRITE always, and all replies where the socket is `small`.

    The kernel offered a maximum, which libfuse repeats in the reply; more than that it does not do
    (fs/fuse/inode.c, process_init_reply). With 0, each page fault is one READ of one page. The kernel shall drop no
    pages by itself because a file has a new mtime (FUSE_EXPLICIT_INVAL_DATA): mapfs knows which writes were its own,
    and says what to drop. `passthrough` lets it take a file's pages from a backing file, where mapfs says so.

    Reads of read(2) and of reading ahead are background requests, of which the kernel hands out 12 at once where nobody
    says otherwise; the others wait, and the demands of all files behind them: one source that hangs would hang all.
    So as many are allowed as can be said; a plain user gets as many as the memory allows (fuse, max_user_bgreq).
    """
    offered = parse_init_reply(reply)
    flags = offered.flags & ~_AUTO_INVAL_DATA | _EXPLICIT_INVAL_DATA
    if passthrough:
        flags |= _INIT_EXT
        struct.pack_into("=I", reply, REPLY.size + 32, offered.flags2 | _PASSTHROUGH)
        struct.pack_into("=I", reply, REPLY.size + 36, 1)  # max_stack_depth
    struct.pack_into("=II", reply, REPLY.size + 8, min(readahead, offered.max_readahead), flags)
    struct.pack_into("=HH", reply, REPLY.size + 16, _MOST_BACKGROUND, _MOST_BACKGROUND)  # and when it is congested
    struct.pack_into("=I", reply, REPLY.size + 20, min(offered.max_write, _MAX_WRITE))
    if small and offered.max_pages > _MAX_PAGES:
        struct.pack_into("=H", reply, REPLY.size + 28, _MAX_PAGES)
    return parse_init_reply(reply)


def correct_open_reply(reply: memoryview, backing_id: int, *, at: int) -> None:
    """Has the kernel take the pages of an opened file from the backing file that it calls `backing_id`.

    `at` is where fuse_open_out begins in the body. From include/uapi/linux/fuse.h: FOPEN_PASSTHROUGH.
    """
    handle, flags, _ = OPEN_OUT.unpack_from(reply, REPLY.size + at)
    OPEN_OUT.pack_into(reply, REPLY.size + at, handle, flags & ~OPEN_KEEP_CACHE | _OPEN_PASSTHROUGH, backing_id)


def notification(code: int, *parts: Buffer) -> tuple[Buffer, ...]:
    """The buffers of a notification, to be written in one call."""
    return REPLY.pack(REPLY.size + sum(map(len, parts)), code, 0), *parts
