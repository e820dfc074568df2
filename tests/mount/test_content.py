"""Described and composed content in a mount: the right bytes, by exactly the demands of the pages touched."""

from mapfs.units import PAGE_SIZE
from tests.conftest import Mounter
from tests.contract.places import DISK
from tests.support import client

NUMBERED = "(u64le:n %1p)*64M"  # pages that begin with their number, as those of `pages:`
PAGES = 64 << 20


def test_content_of_any_size_is_mapped_page_by_page(mount: Mounter) -> None:
    daemon = mount(f"data=data:{NUMBERED}", f"parts=sparse:1T|512G=concat:pages:4p||data:{NUMBERED}")
    wanted = [0, 3, PAGES // 2, PAGES - 1]
    assert client("touch", daemon.file("data"), *map(str, wanted))["numbers"] == wanted
    assert daemon.demands("data") == [("COLD", page) for page in wanted]
    first = (512 << 30) // PAGE_SIZE
    wanted = [first + 3, first + 4, first + 4 + 1000, 5, first + 4 + PAGES - 1, 2 * first - 1]
    found = client("touch", daemon.file("parts"), *map(str, wanted))["numbers"]
    assert found == [3, 0, 1000, 0, PAGES - 1, 0]
    assert daemon.demands("parts") == [("COLD", page) for page in wanted]


def test_what_a_callable_returns_is_served(mount: Mounter) -> None:
    daemon = mount("made=python:tests.contract.places_content:fake,size=100001")
    assert client("read", daemon.file("made"), "99990", "100")["data"] == DISK[99_990:100_001].hex()
    assert [page for _, page in daemon.demands("made")] == [99_990 // PAGE_SIZE]
