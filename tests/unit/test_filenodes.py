"""What is known of a file of the mount, when several threads look at it at once."""

from mapfs.sources.base import Entry
from mapfs.sources.coherency import Coherency, Terms
from mapfs.testing import FakeSource
from mapfs.tree.filenodes import FixedFile
from mapfs.tree.tree import Tree


def test_who_looked_first_and_was_slower_does_not_bring_back_what_was() -> None:
    """Replies to READ end where the file does: an older size would make the kernel cut the file off."""
    node = FixedFile(2, Tree().root, b"f", "fake:", FakeSource(bytes(8192)), Terms(Coherency.OPEN))

    def slow() -> tuple[Entry, int]:
        assert node.looked_at(lambda: (Entry(0o100644, 6000), 2)).size == 6000
        return Entry(0o100644, 0), 1

    assert node.looked_at(slow).size == 0, "its own answer is as old as its look"
    assert (node.size, node.version) == (6000, 2)
    node.looked_at(lambda: (Entry(0o100644, 7000), 3))
    assert (node.size, node.version) == (7000, 3)
    node.looked_at(lambda: (Entry(0o100644, 0), 1), unopened=True)
    assert (node.size, node.version) == (7000, 3), "it was opened in between"
