"""Pages come when they are touched, and not before."""

from mapfs.lessons.lesson import Lesson, pages_of, reads
from mapfs.lessons.stage import Stage

PAGES, TOUCHED = 64, (3, 17, 40)


def run(stage: Stage) -> None:
    """Maps all, touches three."""
    stage.say(
        f"""
        A process called reader maps a file of {PAGES} pages, the whole of it, with one call of mmap(2). Then it loads
        a single byte from page 3, from page 17 and from page 40. After that it loads the same three bytes again.
        """
    )
    settle = stage.predict(f"How many of the {PAGES} pages will be asked for in all?")
    with stage.mount({"book": f"pages:{PAGES}p"}) as scene:
        reader = scene.client("reader", "book")
        reader.ask("map shared")
        at_map = scene.news()
        numbers = reader.ask("touch " + " ".join(map(str, TOUCHED)))
        at_touch = scene.news()
        resident = scene.resident("book")
        reader.ask("touch " + " ".join(map(str, TOUCHED)))
        again = scene.news()
        stage.show(at_map, at_touch, again)
    settle(len(pages_of(reads(at_map + at_touch + again))))
    stage.say(
        """
        mmap only writes down where the file would be. Each first touch finds no page there: a page fault. The kernel
        asks for that one page, puts it into the page cache and maps it; the program never notices more than a pause.
        """
    )
    stage.claim(f"requests made by mapping {PAGES} pages", 0, len(reads(at_map)))
    stage.claim("pages asked for by touching three", list(TOUCHED), pages_of(reads(at_touch)))
    stage.claim("numbers found in these pages, which carry their own", list(TOUCHED), numbers)
    stage.claim(
        f"pages of {PAGES} in the page cache afterwards", 3, resident, "cachestat(2) is there from Linux 6.5 on"
    )
    stage.claim("requests made by touching the same three again", 0, len(reads(again)))


LESSON = Lesson("demand-paging", "a page is fetched when it is touched, not when it is mapped", run)
