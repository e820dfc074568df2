"""A file ends where it likes, a page does not: internal fragmentation."""

from mapfs.lessons.lesson import Lesson, reads
from mapfs.lessons.stage import Stage
from mapfs.units import PAGE_SIZE, format_size, page_count, tail_waste

_TAIL = 904  # with pages of 4096 bytes a file of 5,000 bytes


def run(stage: Stage) -> None:
    """Maps a file that ends a little behind the first page."""
    size = PAGE_SIZE + _TAIL
    backing = stage.work / "note"
    backing.write_bytes(b"x" * size)
    stage.say(
        f"""
        A file of {size:,} bytes is mapped, and all of it is touched. Memory is handed out in pages of
        {PAGE_SIZE:,} bytes, and in nothing smaller.
        """
    )
    settle = stage.predict("How many bytes of the page cache will this file take?")
    with stage.mount({"note": f"file:{backing}"}) as scene:
        reader = scene.client("reader", "note")
        reader.ask("map private")
        reader.ask("touch 0 1")
        events = scene.news()
        resident = scene.resident("note")
        (zeroes,) = reader.ask(f"zeroes {size}")
        stage.show(events)
    settle(None if resident is None else resident * PAGE_SIZE)
    waste = tail_waste(size)
    stage.say(
        f"""
        The second page holds {_TAIL} bytes of the file. The rest of it is zeroes that the kernel puts there, and that
        no other file can use: internal fragmentation. Here that is {waste / (2 * PAGE_SIZE):.0%} of the memory; for a
        file of a gigabyte it would be nothing to speak of. Larger pages waste more of it.
        """
    )
    answered = [one["size"] for one in reads(events)]
    stage.claim("bytes that the requests were answered with", [PAGE_SIZE, _TAIL], answered)
    stage.claim("pages in the page cache", page_count(size), resident, "cachestat(2) is there from Linux 6.5 on")
    stage.claim(f"bytes of the second page that hold nothing ({format_size(waste)})", waste, zeroes)


LESSON = Lesson("fragmentation", "memory comes in pages, and a file's last one is seldom full", run)
