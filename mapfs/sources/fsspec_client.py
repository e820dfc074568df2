"""Calls of an fsspec filesystem: bounded, tried again, their errors as sentences.

Few filesystems are safe on several threads, and what blocks cannot be interrupted. So one that is not asynchronous is
used by a thread of its own, and both are made anew after a failure (fsspec mends no broken connection).
"""

import contextlib
import errno
import inspect
import threading
from collections.abc import Mapping
from typing import Any

from mapfs.errors import SourceError, SpecError, reason_of
from mapfs.sources.bounded import Worker, on_loop
from mapfs.sources.patience import Again, Patience, Turn, needed, unanswered
from mapfs.sources.redact import shown_url, without_users

#: What no retry mends: it is not there, may not be read, or the call makes no sense.
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError, ValueError,
            TypeError, LookupError)  # fmt: skip


class _Filesystem:
    """One filesystem and what runs its calls. Raises whatever its constructor raises, and TimeoutError."""

    def __init__(self, url: str, options: Mapping[str, object], seconds: float) -> None:
        import fsspec.core  # type: ignore[import-untyped] # it ships no types

        def make() -> tuple[Any, str]:
            fs, path = fsspec.core.url_to_fs(url, skip_instance_cache=True, **options)
            return fs, fs._strip_protocol(path)

        self._worker: Worker | None = Worker()
        try:
            self._fs, self.path = self._worker.call(make, seconds)
        except BaseException:
            self._worker.close()
            raise
        if self._fs.async_impl:
            self._worker.close()
            self._worker = None

    @property
    def asynchronous(self) -> bool:
        return self._worker is None

    def call(self, name: str, seconds: float, args: tuple[object, ...], options: Mapping[str, object]) -> Any:
        """What the method `name` returns. Raises what it raises, and TimeoutError."""
        if self._worker is None:
            self._fs.invalidate_cache()  # of listings, which are kept for ever by some
            return on_loop(self._fs.loop, getattr(self._fs, f"_{name}")(*args, **options), seconds)

        def make() -> Any:
            self._fs.invalidate_cache()
            return getattr(self._fs, name)(*args, **options)

        return self._worker.call(make, seconds)

    def close(self) -> None:
        if self._worker is None:
            return
        if not self._worker.stuck:
            with contextlib.suppress(Exception):  # whatever a filesystem may raise that is broken already
                self._worker.call(getattr(self._fs, "close", lambda: None), 1.0)
        self._worker.close()


class Files:
    """The filesystem of `url`, its first path in `path`. Thread-safe. Raises SpecError and SourceError."""

    def __init__(self, url: str, options: Mapping[str, object], patience: Patience) -> None:
        self.what = shown_url(url)
        self._url = url
        self._options = {**_time_out(url, patience), **options}
        self._patience = patience
        self._lock = threading.Lock()
        self._current: _Filesystem | None = None
        self.path = patience.insist(self._connected).path

    def call(self, name: str, *args: object, **options: object) -> Any:
        """What the method `name` returns in the end. Raises SourceError."""

        def attempt(turn: Turn) -> Any:
            filesystem = self._connected(turn)
            seconds = turn.left if filesystem.asynchronous else min(turn.stall, turn.left)
            try:
                return filesystem.call(name, seconds, args, options)
            except Exception as error:
                raised = self._trouble(error)
                if isinstance(raised, Again) and not filesystem.asynchronous:
                    self._drop(filesystem)
                raise raised from error

        return self._patience.insist(attempt)

    def close(self) -> None:
        """Ends its thread and lets go of its connections."""
        if self._current is not None:
            self._drop(self._current)

    def _connected(self, turn: Turn) -> _Filesystem:
        if not self._lock.acquire(timeout=turn.left):  # another thread has been connecting all the time
            raise Again(unanswered(self.what))
        try:
            if self._current is None:
                self._current = _Filesystem(self._url, self._options, min(turn.stall, turn.left))
            return self._current
        except Exception as error:
            raise self._trouble(error) from error
        finally:
            self._lock.release()

    def _drop(self, filesystem: _Filesystem) -> None:
        with self._lock:
            if self._current is not filesystem:
                return
            self._current = None
        filesystem.close()

    def _trouble(self, error: Exception) -> Exception:
        """`error` of any filesystem as what it is to be raised as."""
        if isinstance(error, TimeoutError):
            return Again(unanswered(self.what))
        if isinstance(error, FileNotFoundError):
            return SourceError(f"{self.what} is not there; check the URL", errno.ENOENT)
        if isinstance(error, PermissionError):
            return SourceError(f"{self.what} may not be read; check the credentials", errno.EACCES)
        if isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
            return SpecError(f"{self.what}: its filesystem has no such option: {reason_of(error)}")
        if isinstance(error, ImportError):
            return SourceError(f"{self.what} needs another package: {reason_of(error)}")
        failed = SourceError(f"{self.what} cannot be read: {without_users(reason_of(error))}")
        return failed if isinstance(error, _LASTING) else Again(failed)


def check_protocols(url: str) -> None:
    """Raises SpecError where fsspec does not know a protocol of `url`, SourceError where a package is missing."""
    try:
        import fsspec
    except ImportError as error:
        raise needed("remote", "fsspec") from error
    for part in url.split("::"):
        protocol = part.partition("://")[0]
        try:
            fsspec.get_filesystem_class(protocol)
        except ValueError as error:
            raise SpecError(f"fsspec knows no URL that begins with {protocol}://; it is misspelt, or a path") from error
        except ImportError as error:
            raise SourceError(f"{protocol}:// needs another package: {reason_of(error)}") from error


def _time_out(url: str, patience: Patience) -> dict[str, object]:
    """`timeout=` for a filesystem that takes it too."""
    import fsspec

    if "::" in url:
        return {}
    parameters = inspect.signature(fsspec.get_filesystem_class(url.partition("://")[0])).parameters
    return {"timeout": patience.timeout} if "timeout" in parameters else {}
