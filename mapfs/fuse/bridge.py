"""From the data plane's threads to the control plane: what a pager does not do itself is done here, by trio.

The threads call the methods of `Outlet`, which return at once; the rest runs on the trio thread.
"""

import contextlib
import errno
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import trio

from mapfs.errors import errno_of
from mapfs.fuse import wire
from mapfs.fuse.demand import Demand
from mapfs.fuse.link import Link
from mapfs.fuse.pager import Pagers
from mapfs.fuse.prompt import Prompt
from mapfs.tree.control import Session

_LOOK_AGAIN = 0.1  # seconds between two looks at a thread that a signal came for


class Bridge:
    """The outlet of the pagers of one mount. `ended` is told, on the trio thread, why the data plane ended."""

    def __init__(
        self, sessions: Mapping[int, Session], prompt: Prompt, ended: Callable[[BaseException | None], None]
    ) -> None:
        self._sessions = sessions
        self._prompt = prompt
        self._ended = ended
        self._reads: dict[int, trio.CancelScope] = {}
        self._link: Link | None = None
        self._closed = False
        self.at_hand = self.relayed = 0  # requests that were answered by `prompt`, and those that libfuse was given

    def open(self, link: Link, pagers: Pagers, nursery: trio.Nursery) -> None:
        """Called on the trio thread, before the threads of `link` and `pagers` start."""
        self._link = link
        self._pagers = pagers
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()

    def close(self) -> None:
        """Called on the trio thread when the nursery is about to close: starts no task any more."""
        self._closed = True

    @property
    def reads(self) -> int:
        """Reads of control files that wait for something to say."""
        return len(self._reads)

    # on the threads of the data plane

    def prompt(self, message: memoryview, opcode: int) -> tuple[bytes, int] | None:
        """The answer to a request for names that is at hand."""
        answer = self._prompt.answer(message, opcode)
        self.at_hand += answer is not None
        return answer

    def forward(self, message: memoryview, opcode: int, unique: int) -> None:
        """A request for libfuse."""
        assert self._link is not None
        self.relayed += 1
        self._link.forward(message, opcode, unique)

    def relays(self, unique: int) -> bool:
        """Whether libfuse has that request."""
        assert self._link is not None
        return self._link.relays(unique)

    def control(self, unique: int, handle: int, offset: int, size: int, data: bytes | None) -> None:
        """A read of a control file, or a write of `data` to it."""
        self._on_trio(self._start, unique, handle, offset, size, data)

    def cancel_control(self, unique: int) -> None:
        """The reader of a control file was interrupted."""
        self._on_trio(self._cancel_read, unique)

    def interrupted(self, demand: Demand) -> None:
        """A signal came for a thread that waits for a page."""
        self._on_trio(self._start_watch, demand)

    def failed(self, error: BaseException | None) -> None:
        """The device ended (None), or a thread of the data plane failed."""
        self._on_trio(self._ended, error)

    def _on_trio(self, call: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(call, *args)

    # on the trio thread

    def _start(self, unique: int, handle: int, offset: int, size: int, data: bytes | None) -> None:
        session = self._sessions.get(handle)
        if session is None or self._closed:
            self._pagers.reply(unique, b"", errno.EIO if self._closed else errno.EBADF)
            return
        # the scope is there before the task runs: the interruption may be the very next call
        self._reads[unique] = trio.CancelScope()
        if data is None:
            self._nursery.start_soon(self._answer, unique, partial(session.read, offset, size))
        else:
            self._nursery.start_soon(self._answer, unique, partial(_stored, session, data))

    def _cancel_read(self, unique: int) -> None:
        scope = self._reads.get(unique)
        if scope is not None:
            scope.cancel()

    async def _answer(self, unique: int, call: Callable[[], Awaitable[bytes]]) -> None:
        data, number = b"", errno.EINTR
        try:
            with self._reads[unique]:
                data = await call()
                number = 0
        except Exception as error:
            number = errno_of(error)
        finally:
            del self._reads[unique]
        self._pagers.reply(unique, data, number)

    def _start_watch(self, demand: Demand) -> None:
        if not self._closed:
            self._nursery.start_soon(self._watch, demand)

    async def _watch(self, demand: Demand) -> None:
        """The kernel says only once that a signal came; whether it, or a later one, kills has to be looked at."""
        while not self._pagers.abandon_if_killed(demand):
            await trio.sleep(_LOOK_AGAIN)


async def _stored(session: Session, data: bytes) -> bytes:
    """The body of the reply to a write to `session`."""
    return wire.WRITE_OUT.pack(await session.write(data), 0)
