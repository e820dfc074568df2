"""What another interpreter does for `parts`: scans a range of the trace, and writes what it found to its output."""

import pickle
import signal
import sys

import msgspec

from mapfs.trace.reader import open_trace
from mapfs.views.summary.part import Layout
from mapfs.views.summary.scan import scan


def main(text: str) -> None:
    """`text` is what `parts` wants, as JSON."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started it says what there is to say
    wanted = msgspec.json.decode(text)
    reading = open_trace(wanted["path"])
    part = scan(reading.connection, Layout(**wanted["layout"]), wanted["first"], wanted["end"])
    pickle.dump(part, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
