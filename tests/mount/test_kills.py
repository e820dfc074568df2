"""A daemon that is killed by -9 at random moments under load, again and again on one mount point.

MAPFS_KILLS is how often (10), MAPFS_SEED makes the moments the same again; docs/RELIABILITY.md has a longer run.
"""

import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mapfs.fuse.device import mounted_at
from mapfs.trace.reader import has_ended, open_trace, trace_events
from tests.conftest import Mounter
from tests.support import ROOT, WITHIN, mapfs, wait_until

KILLS = int(os.environ.get("MAPFS_KILLS", "10"))
SEED = int(os.environ.get("MAPFS_SEED", "1"))
PAGES = 65536
# each page that was seen is noted in shared memory, which outlives the SIGBUS
LOAD = """
import mmap, os, random, sys
path, notes, seed, pages = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
fd = os.open(path, os.O_RDONLY); m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
p = os.open(notes, os.O_RDWR | os.O_CREAT); os.ftruncate(p, pages); n = mmap.mmap(p, pages)
order = list(range(pages)); random.Random(seed).shuffle(order)
for page in order:
    n[page] = 1 if int.from_bytes(m[page * 4096:page * 4096 + 8], "little") == page else 2
"""


def _seen(notes: Path) -> bytes:
    return notes.read_bytes() if notes.exists() else b""


@pytest.mark.timeout(120 + 10 * KILLS)
def test_killed_at_random_moments_nothing_answered_is_lost_and_a_restart_works(mount: Mounter, tmp_path: Path) -> None:
    print(f"{KILLS} kills, seed {SEED}")
    moments = random.Random(SEED)
    for number in range(KILLS):
        trace = tmp_path / f"{number}.db"
        daemon = mount("p=pages:65536p", "-q", "--trace", str(trace), wait=False).wait_mounted()
        recorder = os.pidfd_open(daemon.stats()["recorder_pid"])
        notes = [tmp_path / f"{number}.{which}" for which in range(2)]
        clients = [
            subprocess.Popen(
                [sys.executable, "-c", LOAD, daemon.file("p"), str(note), str(number * 2 + which), str(PAGES)], cwd=ROOT
            )
            for which, note in enumerate(notes)
        ]
        moment = moments.randrange(1, 3000)  # pages seen
        wait_until(lambda: all(1 in _seen(note) for note in notes), "both clients")  # noqa: B023
        wait_until(lambda: sum(_seen(note).count(1) for note in notes) >= moment, f"{moment} pages")  # noqa: B023
        daemon.process.kill()
        assert [each.wait(WITHIN) for each in clients] == [-signal.SIGBUS] * 2, f"round {number}"
        assert select.select([recorder], [], [], WITHIN)[0], "the recorder ends too"
        os.close(recorder)
        assert daemon.wait_end() == -signal.SIGKILL
        reading = open_trace(str(trace)).connection
        assert reading.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert has_ended(reading), "the recorder saw the end and noted it"
        events = list(trace_events(reading))
        reading.close()
        assert not [event for event in events if event["op"] == "lost" and not event["samples"]]
        demanded = {event["page"] for event in events if event["op"] == "read"}
        for note in notes:
            seen = _seen(note)
            assert 2 not in seen, "wrong content"
            assert {page for page, what in enumerate(seen) if what} <= demanded, f"round {number}: seen, not recorded"
            note.unlink()
        mapfs("umount", daemon.path)
        assert mounted_at(daemon.path) is None
        trace.unlink()
