"""What leaves the page cache has to be asked for again, and what is mapped stays."""

from mapfs.lessons.lesson import Lesson, pages_of
from mapfs.lessons.stage import KERNEL, Stage

_READ, _MAPPED = (10, 11, 12, 13), 40


def run(stage: Stage) -> None:
    """Tells the kernel that nothing is needed any more, and comes back for it."""
    order = "read " + " ".join(map(str, _READ))
    stage.say(
        f"""
        A process called reader reads pages 10 to 13 of a file with read(2). One called keeper has page {_MAPPED} of it
        mapped, and touched. Then the reader tells the kernel that it needs nothing of the file any more
        (posix_fadvise, DONTNEED): the page cache may let go of it, as it would if memory were short.
        """
    )
    settle = stage.predict("How many of the five pages will still be in the page cache?")
    with stage.mount({"book": "pages:64p"}) as scene:
        reader, keeper = scene.client("reader", "book"), scene.client("keeper", "book")
        keeper.ask("map shared")
        keeper.ask(f"touch {_MAPPED}")
        reader.ask(order)
        before, events = scene.resident("book"), scene.news()
        reader.ask("forget")
        after, left = scene.resident("book"), scene.news()
        numbers = reader.ask(order)
        keeper.ask(f"touch {_MAPPED}")
        again = scene.news()
        stage.show(events, left, again, most=5)
    settle(after)
    stage.say(
        """
        What nobody has mapped and nobody has changed can go at once: the file still has it. The next touch asks for it
        again, which is a re-fault. A program whose pages are re-faulted all the time has a working set larger
        than its memory: it thrashes.
        """
    )
    cachestat = "cachestat(2) is there from Linux 6.5 on"
    both = None if before is None or after is None else [before, after]
    stage.claim("pages in the page cache, before and after", [5, 1], both, cachestat)
    evicted = sorted(pages_of([one for one in left if one["op"] == "evict"]))
    stage.claim("pages that were seen leaving it", list(_READ), *stage.needs(scene, KERNEL, evicted))
    refaulted = [one for one in again if one["class"] == "REFAULT"]
    stage.claim("pages asked for again, as a REFAULT", list(_READ), pages_of(refaulted))
    stage.claim("the page that was mapped had to be asked for again", False, _MAPPED in pages_of(refaulted))
    stage.claim("numbers found, the second time", list(_READ), numbers)


LESSON = Lesson("eviction", "a page may leave the page cache; the next touch fetches it again", run)
