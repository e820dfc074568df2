"""membarrier(2): what readers of shared memory run so that its writers need not."""

import ctypes
import platform
from typing import ClassVar


class Barrier:
    """membarrier(2), where the machine needs it or has it."""

    _GLOBAL_EXPEDITED, _REGISTER_GLOBAL_EXPEDITED = 1 << 1, 1 << 2
    _NUMBERS: ClassVar = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "ppc64le": 365, "s390x": 356}

    def __init__(self) -> None:
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._number = self._NUMBERS.get(platform.machine())
        self.works = self._number is not None and self._do(self._REGISTER_GLOBAL_EXPEDITED) == 0

    def _do(self, command: int) -> int:
        return int(
            self._call(ctypes.c_long(self._number or 0), ctypes.c_int(command), ctypes.c_int(0), ctypes.c_int(0))
        )

    def register(self) -> None:
        """This process takes part in the barriers of others: to be called after a fork."""
        if self.works:
            self._do(self._REGISTER_GLOBAL_EXPEDITED)

    def run(self) -> None:
        """A full barrier on every running thread of the processes that registered."""
        if self.works:
            self._do(self._GLOBAL_EXPEDITED)
