"""What the data plane hands to the control plane."""

from typing import Protocol

from mapfs.fuse.demand import Demand


class Outlet(Protocol):
    """Where a pager hands what is not its own. Called from pager threads; must not wait."""

    def prompt(self, message: memoryview, opcode: int) -> tuple[bytes, int] | None:
        """The body of the reply to a request for names, and its errno, where both are at hand. None: forward it."""

    def forward(self, message: memoryview, opcode: int, unique: int) -> None:
        """A request for libfuse."""

    def relays(self, unique: int) -> bool:
        """Whether libfuse has that request."""

    def control(self, unique: int, handle: int, offset: int, size: int, data: bytes | None) -> None:
        """A read of a handle that is no page file's, or a write of `data` to it."""

    def cancel_control(self, unique: int) -> None:
        """The reader of a control file was interrupted."""

    def interrupted(self, demand: Demand) -> None:
        """A signal came for a thread that waits, but did not kill it (yet)."""

    def failed(self, error: BaseException | None) -> None:
        """The device ended (None), or a pager thread failed."""
