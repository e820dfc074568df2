"""The kernel asks for more than was touched, in the hope that it will be."""

from mapfs.lessons.lesson import Lesson, pages_of, reads
from mapfs.lessons.stage import FAULTS, Stage
from mapfs.units import PAGE_SIZE

SIZE = 128 << 10
_PAGES = SIZE // PAGE_SIZE
_TOUCHED, _FILE_PAGES = 100, 512


def run(stage: Stage) -> None:
    """One touch with read-ahead on; then a look at a neighbour."""
    stage.say(
        f"""
        Up to here each request was for one page, since mapfs switches read-ahead off. Now the kernel may read 128 KiB
        ahead, as it does on most filesystems. A process maps a file of {_FILE_PAGES} pages and touches page
        {_TOUCHED}, nothing else.
        """
    )
    settle = stage.predict("How many pages will be asked for?")
    with stage.mount({"book": f"pages:{_FILE_PAGES}p"}, readahead=SIZE) as scene:
        reader = scene.client("reader", "book")
        reader.ask("map shared")
        reader.ask(f"touch {_TOUCHED}")
        at_touch = scene.news()
        requests = reads(at_touch)
        brought = pages_of(requests)
        settle(len(brought))
        first = min(brought, default=_TOUCHED)
        neighbour = reader.ask(f"touch {first}")
        at_neighbour = scene.news()
        stage.show(at_touch, at_neighbour)
        ahead = {page for one in at_touch + at_neighbour if one["class"] == "AHEAD" for page in pages_of([one])}
    stage.say(
        f"""
        For a mapping the kernel reads around the page that was touched, before it and behind it: one request, one
        wait, many pages. Page {first} was touched next, and was there already. A program that goes anywhere else has
        them all read for nothing. That is the bet, and a program that knows better says so: madvise(2), MADV_RANDOM.
        """
    )
    stage.claim("requests made by one touch", 1, len(requests))
    stage.claim("pages that they brought", _PAGES, len(brought))
    stage.claim(f"page {_TOUCHED} is among them", True, _TOUCHED in brought)
    stage.claim("requests made by touching a neighbour next", 0, len(reads(at_neighbour)))
    stage.claim("its content is right", [first % 256], neighbour)
    stage.claim(
        f"page {first} counts as AHEAD: read ahead, used later", True, *stage.needs(scene, FAULTS, first in ahead)
    )


LESSON = Lesson("read-ahead", "the kernel fetches more than was touched: a bet", run)
