"""What was needed, in the order in which it was: a line a range, `OFFSET LENGTH FILE`, separated by tabs.

Pages that follow one another in the order of the demands are one range, each page stands once, and FILE, the last
field, has backslash escapes for what would break the line. Comments begin with `#`.
"""

from typing import TextIO

from mapfs.trace.classify import PageSet
from mapfs.views.export import Events
from mapfs.views.lines import visible


def write(events: Events, out: TextIO, _evidence: str = "") -> None:
    """Reads that succeeded; what was pushed, written or dropped is no demand."""
    out.write("# offset\tlength\tfile\n")
    seen: dict[str, PageSet] = {}
    file, start, end, ended = "", 0, 0, 0
    for event in events:
        if event["op"] != "read" or event["error"] or event["direct"] or not event["size"]:
            continue
        known = seen.setdefault(event["file"], PageSet())
        if not sum([known.add(page) for page in range(event["page"], event["page"] + event["pages"])]):
            continue
        first, last = event["offset"], event["offset"] + event["size"]
        if event["file"] == file and first == end:
            end = last
            continue
        if ended:
            out.write(f"{start}\t{end - start}\t{visible(file)}\n")
        file, start, end, ended = event["file"], first, last, 1
    if ended:
        out.write(f"{start}\t{end - start}\t{visible(file)}\n")
