"""A mount from its beginning to its end: `Mount(options, ...).run()` returns when it is over.

The order matters. The recorder is forked while this process has one thread. Then sources are opened, since most
errors are theirs, and only then does the recorder make its trace. Then the mount is made, and trio serves until it
is unmounted, a signal comes, or a thread fails. What was made is unmade in the reverse order, on every way out.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence

import pyfuse3
import trio

from mapfs.errors import MountError, first, reason_of
from mapfs.fuse import device, eventloop, mountpoint
from mapfs.fuse.ahead import Ahead
from mapfs.fuse.bridge import Bridge
from mapfs.fuse.control import Control
from mapfs.fuse.demand import Answers
from mapfs.fuse.files import Files
from mapfs.fuse.link import Link
from mapfs.fuse.live import Watcher
from mapfs.fuse.naming import TASKS
from mapfs.fuse.notifier import Notifier
from mapfs.fuse.operations import Operations
from mapfs.fuse.options import MountOptions
from mapfs.fuse.pager import Pagers
from mapfs.fuse.passthrough import Passthrough
from mapfs.fuse.prompt import Prompt
from mapfs.fuse.sessions import RecorderSessions
from mapfs.fuse.settling import Settling
from mapfs.fuse.shortage import Shortage
from mapfs.fuse.system import abort, extend_readahead, keep_descriptors, prepare_interpreter, raise_descriptor_limit
from mapfs.fuse.turn import Turn
from mapfs.fuse.warm import warming
from mapfs.fuse.watching import Watching
from mapfs.trace.evidence import tiers
from mapfs.trace.facts import DaemonValues
from mapfs.trace.processes import Threads
from mapfs.trace.recorder import SinkMaker
from mapfs.trace.ring import Ring
from mapfs.trace.spawn import RecorderProcess
from mapfs.tree.build import build
from mapfs.tree.control import Opener, add_control
from mapfs.tree.filenodes import FileNode
from mapfs.tree.tree import Tree

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_READY_WITHIN = 10.0
_FLUSH_EVERY = 1.0  # seconds


class Mount:
    """One mount. `ready` is called once it answers, `stopping` once it begins to end, `warn` with sentences."""

    def __init__(
        self,
        options: MountOptions,
        sinks: Sequence[SinkMaker] = (),
        *,
        ready: Callable[[Tree], None] = lambda _: None,
        stopping: Callable[[], None] = lambda: None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.options = options
        self.complete = True  # whether log and trace have every event
        self._sinks = sinks
        self._ready = ready
        self._tell_stopping, self._warn = stopping, warn
        self._shortage = Shortage(warn)
        self._path = options.mountpoint
        self._started = time.monotonic()
        self._failure: BaseException | None = None
        self._own = options.link == "own"
        self._mounted = self._answered = self._session = self._stopping = False
        self._st_dev = -1
        self._pagers: Pagers | None = None
        self._link: Link | None = None
        self._passthrough: Passthrough | None = None

    def run(self) -> None:
        """Makes the mount, serves until its end, and cleans up. Raises MapfsError."""
        raise_descriptor_limit()
        with contextlib.ExitStack() as stack:
            # until trio watches them: a signal must not end this process between mounting and serving
            stack.callback(
                signal.pthread_sigmask, signal.SIG_SETMASK, signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            )
            self._path, made = mountpoint.prepare(self.options.mountpoint, self._warn, nonempty=self.options.nonempty)
            if made:
                stack.callback(mountpoint.remove, self._path)
            ring = Ring()
            recorder = RecorderProcess(
                ring, self.options.trace, self._sinks, replace=self.options.replace_trace, detach=self.options.detach,
                metrics=self.options.metrics,
            )  # fmt: skip
            stack.callback(self._finish, recorder)
            tree = build(dict(self.options.files), self._path)
            stack.callback(tree.close)
            recorder.start()
            ring.filling = recorder.hurry
            prepare_interpreter()
            turn = Turn()
            self._assemble(tree, ring, recorder, turn, stack)
            try:
                eventloop.run(self._serve, [turn])
            finally:
                turn.end()
        if self._failure is not None:
            raise MountError(f"the mount ended by an error of mapfs: {reason_of(self._failure)}") from self._failure

    def _finish(self, recorder: RecorderProcess) -> None:
        self.complete = recorder.finish(served=self._answered)

    # putting the parts together

    def _assemble(
        self, tree: Tree, ring: Ring, recorder: RecorderProcess, turn: Turn, stack: contextlib.ExitStack
    ) -> None:
        self._tree, self._recorder, self._facts, self._hurry = tree, recorder, recorder.facts, recorder.hurry
        self._threads = Threads(recorder.facts.send, self._shortage.met)
        stack.callback(self._threads.close)
        wanted = self.options.evidence if self._own else tiers.REQUESTS_ALONE
        self._watching = Watching(wanted, recorder.facts, self._threads)
        stack.callback(self._watching.close)
        self._files = Files(recorder.facts.send)
        answers = Answers(ring, self._threads, recorder.facts)
        self._notifier = Notifier(ring)
        self._ahead = ahead = Ahead(self._notifier, self.options.prefetch, recorder.facts.send)
        self._sessions = sessions = RecorderSessions(recorder.facts, self._statistics, recorder.hurry, ahead.passed)
        self._settling = Settling(self._path, self._notifier, answers)
        self._watcher = Watcher(self._notifier, self._path, self._warn)
        stack.callback(self._watcher.close)
        hurry: Callable[[], int] = lambda: self._pagers.hurry() if self._pagers else 0  # noqa: E731
        self._control = Control(tree, self._files, self._notifier, self._path, hurry)
        openers: dict[str, Opener] = {"events": sessions.events, "stats": sessions.stats, "metrics": sessions.metrics}
        add_control(tree, openers | {"ctl": self._control.open}, writable=frozenset({"ctl"}))
        self._operations = Operations(
            tree, self._files, self._threads, answers, ring, self._notifier, self._watcher, self._watching.opening,
            self._opened, self._released, self._shortage,
        )  # fmt: skip
        prompt = Prompt(turn, tree, self._files, self._operations, self._watching.seen)
        self._bridge = Bridge(self._operations.sessions, prompt, self._ended)
        recorder.facts.send(self.options.fact(self._path, self._watching.tier))
        stack.callback(self._unmount)
        if self._own:
            self._mount_own(ring, answers)
        else:
            self._start_session(self._path, set(self.options.for_fuse()))
            self._find_device()
        self._control.hide(self._st_dev)
        os.umask(0)  # a client's own umask was taken off by the kernel already

    def _mount_own(self, ring: Ring, answers: Answers) -> None:
        descriptor = device.mount(self._path, self.options.for_fuse())
        self._find_device()
        self._watching.start(self._st_dev)
        self._notifier.open(descriptor)
        if os.geteuid() == 0:
            self._passthrough = Passthrough(descriptor, self._files, self._warn)
        self._link = Link(descriptor, self.options.readahead, self._bridge.failed, self._passthrough)
        self._start_session(self._link.hand_over(), {"fsname=mapfs"})
        self._pagers = Pagers(descriptor, self._files, answers, ring, self._bridge, self.options, self._shortage)

    def _start_session(self, path: str, options: set[str]) -> None:
        try:
            pyfuse3.init(self._operations, path, options)
        except RuntimeError as error:
            raise MountError(f"cannot mount on {self._path}: {error}; mapfs doctor tells what is missing") from error
        self._session = True

    def _find_device(self) -> None:
        self._mounted = True
        here = device.mounted_at(self._path)
        self._st_dev = here.device if here else -1

    def _opened(self, node: FileNode) -> None:
        """A handle of `node` was made, and nobody has it yet."""
        self._watcher.opened(node)
        self._ahead.opened(node)
        if self._passthrough is not None:
            self._passthrough.opened(node)

    def _released(self, node: FileNode) -> None:
        """A handle of `node` went."""
        self._watcher.released(node)
        self._ahead.released(node)
        if self._passthrough is not None:
            self._passthrough.released(node)

    def _statistics(self) -> DaemonValues:
        pagers, init = self._pagers, self._link.init if self._link else None
        return {
            "pid": os.getpid(),
            "protocol": f"{init.major}.{init.minor}" if init else None,
            "readahead": init.max_readahead if init else None,
            "uptime_s": round(time.monotonic() - self._started, 3),
            "pager_threads": pagers.count if pagers else 0,
            "waiting_demands": pagers.waiting if pagers else 0,
            "open_handles": len(self._files.handles),
            "control_reads": self._bridge.reads,
            "names_at_hand": self._bridge.at_hand,
            "relayed": self._bridge.relayed,
            "watched_files": self._watcher.count,
            "warm_planned": self._control.warmer.planned,
            "warm_pushed": self._control.warmer.pushed,
        }

    # serving

    async def _serve(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._control.start(nursery)
                for task in (self._watch_signals, self._announce, self._flush_facts, self._attend_recorder):
                    nursery.start_soon(task)
                nursery.start_soon(self._watching.attend, self._hurry)
                if self._link is not None and self._pagers is not None:
                    self._bridge.open(self._link, self._pagers, nursery)
                    self._link.start()
                    self._pagers.start()
                try:
                    await pyfuse3.main(max_tasks=TASKS)
                except Exception as error:
                    self._failure = self._failure or first(error)
                self._bridge.close()
                nursery.cancel_scope.cancel()
        finally:
            self._begin_end()
            if self._pagers is not None:
                self._pagers.close("the mount ended")

    async def _announce(self) -> None:
        with trio.move_on_after(_READY_WITHIN) as scope:
            try:
                await trio.to_thread.run_sync(os.stat, self._path, abandon_on_cancel=True)
            except OSError as error:
                self._ended(MountError(f"{self._path} ended before it answered: {error.strerror}"))
                return
        if scope.cancelled_caught:
            self._ended(MountError(f"{self._path} does not answer within {_READY_WITHIN:.0f} s"))
            return
        keep_descriptors()
        self._answered = True
        if self._link is not None and self._link.init is not None:
            extend_readahead(self._st_dev, self.options.readahead, self._link.init.max_readahead, self._warn)
        async with warming(self.options, self._control.warmer, self._path, self._warn):
            self._ready(self._tree)

    async def _flush_facts(self) -> None:
        """For a recorder that was stopped and goes on."""
        while self._facts.alive:
            self._facts.flush()
            await trio.sleep(_FLUSH_EVERY)

    async def _attend_recorder(self) -> None:
        await self._sessions.attend()
        if (name := self._recorder.killed_by()) is not None:
            self._warn(f"the recorder was killed ({name}): log and trace end here; the mount goes on without them")

    async def _watch_signals(self) -> None:
        with trio.open_signal_receiver(*_SIGNALS) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            async for _ in signals:
                if self._stopping:
                    self._warn("stopped at once; what programs still demand fails, and what they stored may be lost")
                    abort(self._st_dev, self._path)  # a thread of this process may wait for the mount, and never end
                    pyfuse3.terminate()
                    return
                self._begin_end()
                self._nursery.start_soon(self._stop)

    async def _stop(self) -> None:
        """Unmounts; a mount that is still used is detached, and what is demanded of it from then on fails."""
        if self._pagers is not None:
            self._pagers.close("the mount is ending")
        if not await self._settling.settle(self._files.opened()):
            self._warn("what programs stored and their sources did not take is lost")
            abort(self._st_dev, self._path)  # or whoever waits for that, a thread of this process too, waits for ever
        if self._link is None:
            pyfuse3.terminate()
            self._nursery.cancel_scope.cancel()  # nothing that waits may hold up the end
            return
        try:
            await trio.to_thread.run_sync(device.unmount, self._path, abandon_on_cancel=True)
        except MountError as error:
            pyfuse3.terminate()
            if not isinstance(error.__cause__, OSError):
                if device.mounted_at(self._path) is not None:
                    self._warn(str(error))
            else:
                self._warn(f"{self._path} is still used; detached: what programs demand of it once it ended fails")

    def _unmount(self) -> None:
        """Ends link and mount in whatever state they are; the mount is gone from the name space afterwards.

        The device is closed by the end of the process: a pager may still be about to use its number.
        """
        if not self._mounted:
            return
        if not self._own:
            pyfuse3.close(unmount=True)
            return
        here = device.mounted_at(self._path)
        if here is not None and here.device == self._st_dev:
            device.take_away(self._path)
        abort(self._st_dev)
        if self._link is not None:
            self._link.close()
        if self._session:  # libfuse crashes on one that never was
            with contextlib.suppress(Exception):
                pyfuse3.close(unmount=False)

    def _ended(self, error: BaseException | None) -> None:
        """The device ended (None), or a thread failed: the mount is over."""
        if error is not None and not self._stopping:
            self._failure = self._failure or error
        self._begin_end()
        pyfuse3.terminate()

    def _begin_end(self) -> None:
        if not self._stopping:
            self._stopping = True
            raise_descriptor_limit()
            self._tell_stopping()
