"""`fd:N`: a descriptor that the command inherited, as in `mapfs mount /mnt/x data=fd:3 3<data.bin`."""

import os
import stat

from mapfs.errors import SourceError, SpecError
from mapfs.sources.backing import DescriptorSource
from mapfs.sources.base import Source
from mapfs.sources.device import DeviceSource
from mapfs.sources.spec import Spec


def open_fd(spec: Spec) -> Source:
    """Descriptor N, duplicated. Raises SourceError where it is not open for reading, or has no pages."""
    if not (spec.arg.isascii() and spec.arg.isdigit()) or len(spec.arg) > 9:
        raise SpecError(f"{spec.arg!r} is not the number of a descriptor; write fd:3 and start mapfs with 3<FILE")
    what = f"descriptor {int(spec.arg)}"
    try:
        fd = os.dup(int(spec.arg))
    except OSError as error:
        raise SourceError(f"{what} is not open; start mapfs with {int(spec.arg)}<FILE") from error
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise SourceError(f"{what} is neither a file nor a block device, so it has no pages to map")
        os.pread(fd, 0, 0)
    except OSError as error:
        os.close(fd)
        raise SourceError(f"{what} cannot be read: it was opened for writing only") from error
    except BaseException:
        os.close(fd)
        raise
    return DeviceSource(fd, what) if stat.S_ISBLK(mode) else DescriptorSource(fd, what)
