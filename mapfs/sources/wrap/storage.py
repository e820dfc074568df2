"""Unnamed files in which wrappers keep bytes: they take space only where they were written, and go with the process."""

import os
import tempfile

from mapfs.errors import SourceError, errno_of, reason_of
from mapfs.sources.backing import DescriptorSource


def unnamed_file(what: str, directory: str | None) -> DescriptorSource:
    """A new unnamed file in `directory` (None: TMPDIR) for the wrapper `what`. Raises SourceError where none can be."""
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:  # O_TMPFILE, or named for a moment
            fd = os.dup(file.fileno())
    except OSError as error:
        where = repr(directory) if directory else "the directory of temporary files"
        raise SourceError(
            f"{what}= cannot make a file in {where}: {reason_of(error)}; name a directory that can be written",
            errno_of(error),
        ) from error
    return DescriptorSource(fd, f"the file of {what}=", writable=True)


def in_memory(what: str) -> DescriptorSource:
    """The same in anonymous memory (memfd_create(2))."""
    return DescriptorSource(os.memfd_create(f"mapfs-{what}", os.MFD_CLOEXEC), f"the memory of {what}=", writable=True)
