"""The same bytes by read(2) and by a mapping: one page cache, two ways out of it."""

from mapfs.lessons.lesson import Lesson, reads
from mapfs.lessons.stage import KERNEL, Stage
from mapfs.units import PAGE_SIZE

_OLD, _NEW = ord("A"), ord("B")
_PAGES = 8
_BOTH, _MAP, _NEITHER = "both hold B", "the mapping holds B, the buffer A", "both hold A"


def run(stage: Stage) -> None:
    """One process reads, another maps, a third stores."""
    backing = stage.work / "letters"
    backing.write_bytes(bytes([_OLD]) * _PAGES * PAGE_SIZE)
    pages = " ".join(map(str, range(_PAGES)))
    stage.say(
        f"""
        A file of {_PAGES} pages holds the letter A. A process called copier reads all of it with read(2), a page a
        call, into a buffer of its own. One called mapper maps it and touches every page. Then a third stores the
        letter B into page 0, through the same mount.
        """
    )
    settle = stage.predict("Afterwards, what do buffer and mapping hold?", _BOTH, _MAP, _NEITHER)
    with stage.mount({"letters": f"file:{backing},rw"}) as scene:
        copier, mapper, writer = (scene.client(name, "letters") for name in ("copier", "mapper", "writer"))
        copied = copier.ask(f"read {pages}")
        by_read = scene.news()
        mapper.ask("map shared")
        touched = mapper.ask(f"touch {pages}")
        by_map = scene.news()
        stage.show(by_read, by_map)
        writer.ask("map write")
        writer.ask(f"store 0 {_NEW}")
        after = {"mapping": chr(mapper.ask("touch 0")[0]), "buffer": chr(copier.ask("kept 0")[0])}
    settle({("B", "B"): _BOTH, ("B", "A"): _MAP, ("A", "A"): _NEITHER}.get((after["mapping"], after["buffer"])))
    stage.say(
        """
        Both go through the page cache, so the second asked for nothing. But read(2) copies the bytes out, into memory
        of the process's own: a snapshot, twice in memory. A mapping has no copy. It is the page of the page cache, so
        whatever anybody stores is there at once.
        """
    )
    via = [sorted({one["via"] for one in events}) for events in (by_read, by_map)]
    stage.claim("both got the same bytes", copied, touched)
    stage.claim("requests by read(2)", _PAGES, len(reads(by_read)))
    stage.claim("requests by the mapping, afterwards", 0, len(reads(by_map)))
    stage.claim("how each came to its pages", [["read"], ["fault"]], *stage.needs(scene, KERNEL, via))
    stage.claim("what page 0 is after the store", {"mapping": "B", "buffer": "A"}, after)


LESSON = Lesson("mmap-vs-read", "read(2) copies the page cache, a mapping looks into it", run)
