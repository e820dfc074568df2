"""The link: what goes between the kernel's device and libfuse, which believes that its socket is the device.

mapfs holds the device. Requests that it does not answer itself go through a socket pair to libfuse
(`forward`), replies come back through it (`run`, a thread) and are written to the device as they are, but for
the first, INIT, and those to OPEN of files that are passed through. The socket keeps messages whole; READ and
WRITE, whose size it could not take, never cross it.
"""

import contextlib
import errno
import os
import queue
import socket
import threading
from collections.abc import Callable

from mapfs.fuse import wire
from mapfs.fuse.passthrough import Passthrough
from mapfs.trace.sockets import enlarge

_OVER = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF)  # the session has ended
_OPENS = {wire.OPEN: 0, wire.CREATE: 128}  # in a reply to CREATE, fuse_entry_out (128 bytes) comes first


class Link:
    """One session with libfuse. `failed` is called, from the link's thread, with what ended it early."""

    def __init__(
        self,
        device: int,
        readahead: int,
        failed: Callable[[BaseException], None],
        passthrough: Passthrough | None = None,
    ) -> None:
        self.readahead = readahead
        self._passthrough = passthrough
        self._opening: dict[int, int] = {}  # unique of an OPEN or CREATE: where its reply tells of the open file
        self.init: wire.Init | None = None
        self._device = device
        self._failed = failed
        self._ours, self._libfuse = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._ours, self._libfuse):
            enlarge(end)
        self._relayed: set[int] = set()
        self._late: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._late_count = 0  # of messages that are queued or being sent: while there are any, others queue behind
        self._late_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._sender = threading.Thread(target=self._send_late, name="link-sender", daemon=True)

    def hand_over(self) -> str:
        """What libfuse is told to mount: its end of the socket, which it owns and closes from now on.

        libfuse takes /dev/fd/N for a device that is mounted already (libfuse, lib/mount.c).
        """
        return f"/dev/fd/{self._libfuse.detach()}"

    def start(self) -> None:
        """Starts relaying replies."""
        self._thread.start()
        self._sender.start()

    def forward(self, message: memoryview, opcode: int, unique: int) -> None:
        """Hands a request to libfuse, in order; does not wait for it."""
        if opcode not in wire.UNANSWERED:
            self._relayed.add(unique)
            if opcode in _OPENS and self._passthrough is not None:
                self._opening[unique] = _OPENS[opcode]
        if not self._late_count:
            try:
                self._ours.send(message, socket.MSG_DONTWAIT)
                return
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno in _OVER:
                    return  # the session is over, and so is the mount
                raise
        with self._late_lock:
            self._late_count += 1
        self._late.put(bytes(message))

    def relays(self, unique: int) -> bool:
        """Whether libfuse has this request and has not answered it yet."""
        return unique in self._relayed

    def close(self) -> None:
        """Ends both threads and libfuse's session."""
        self._late.put(None)
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)
        for thread in (self._thread, self._sender):
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(5)
        self._ours.close()

    def _send_late(self) -> None:
        """Sends what did not fit into the socket at once: only a flood of requests without answers gets here."""
        try:
            while (message := self._late.get()) is not None:
                self._ours.sendall(message)
                with self._late_lock:
                    self._late_count -= 1
        except BaseException as error:
            if not (isinstance(error, OSError) and error.errno in _OVER):
                self._failed(error)

    def _run(self) -> None:
        try:
            buffer = bytearray(wire.LARGEST_REPLY)
            view = memoryview(buffer)
            self._relay_init(buffer)
            while length := self._receive(view):
                unique = wire.REPLY.unpack_from(buffer)[2]
                self._relayed.discard(unique)
                if (at := self._opening.pop(unique, None)) is not None:
                    self._pass_through(view[:length], at)
                self._write(view[:length])
        except BaseException as error:
            self._failed(error)

    def _pass_through(self, reply: memoryview, at: int) -> None:
        """The reply to an OPEN: has the kernel map the backing itself, where the file is to be served so."""
        if len(reply) < wire.REPLY.size + at + wire.OPEN_OUT.size:
            return  # it failed
        handle = wire.OPEN_OUT.unpack_from(reply, wire.REPLY.size + at)[0]
        backing = self._passthrough.id_for(handle) if self._passthrough is not None else None
        if backing is not None:
            wire.correct_open_reply(reply, backing, at=at)

    def _receive(self, buffer: bytearray | memoryview) -> int:
        try:
            return self._ours.recv_into(buffer)
        except OSError:
            return 0

    def _relay_init(self, buffer: bytearray) -> None:
        length = self._receive(buffer)
        if length:
            reply = buffer[:length]
            small = self._ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 2 * wire.LARGEST_REPLY
            passthrough = self._passthrough is not None
            self.init = wire.correct_init_reply(reply, self.readahead, small=small, passthrough=passthrough)
            self._write(memoryview(reply))

    def _write(self, reply: memoryview) -> None:
        try:
            os.write(self._device, reply)
        except OSError as error:
            # ENOENT: nobody waits for this answer any more; ENODEV: nor for any other
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ECONNABORTED, errno.EBADF):
                raise
