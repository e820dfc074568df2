"""`memfd:SIZE`: new anonymous memory (memfd_create(2)), zeroes at first, writable, gone with the mount."""

import dataclasses
import os

from mapfs.errors import SourceError, errno_of
from mapfs.sources.backing import DescriptorSource
from mapfs.sources.base import Entry, Source
from mapfs.sources.spec import Spec
from mapfs.units import parse_size

_MODE = 0o600


class NamelessSource(DescriptorSource):
    """A file that may have no name on its own filesystem, and has one in the mount: a link count of 0 would tell the
    kernel that the file is deleted there too.
    """

    def entry(self) -> Entry:
        entry = super().entry()
        return entry if entry.nlink else dataclasses.replace(entry, nlink=1)


def open_memfd(spec: Spec) -> Source:
    """SIZE bytes, which take memory only where they are written. Raises SourceError where that cannot be had."""
    size = parse_size(spec.arg)
    try:
        fd = os.memfd_create("mapfs", os.MFD_CLOEXEC)
    except OSError as error:
        raise SourceError(f"no anonymous memory can be had: {error.strerror}", errno_of(error)) from error
    try:
        os.fchmod(fd, _MODE)  # it is made with 0777, and no program lies in it
        os.ftruncate(fd, size)
    except OSError as error:
        os.close(fd)
        raise SourceError(
            f"anonymous memory of {size} bytes cannot be had: {error.strerror}", errno_of(error)
        ) from error
    return NamelessSource(fd, "anonymous memory", writable=True)
