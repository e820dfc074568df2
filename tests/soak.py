"""Many clients, files, mounts and dropped pages for a time; memory, descriptors, threads and lost events watched.

The first third of the samples is warming up. The verdict compares the highest of the second third with the highest of
the last: what grows beyond the bounds below, or any lost event, wrong page or dead part, is exit code 1.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from mapfs.client import ask
from mapfs.trace import spool
from mapfs.trace.reader import mount_stats, open_trace
from tests.support import Daemon, mapfs

FILES, PAGES = 8, 512
GROWTH = {"memory": 4 << 20, "descriptors": 4, "threads": 2}  # bytes; numbers: beyond the middle third's highest
LAGS = 4096  # requests from which on a recorder is behind by more than it joins at once, and keeps rounds in memory
# touches files at random until its input ends; says how many pages it saw, and how many were wrong
CLIENT = """
import mmap, os, random, select, sys
paths, rng = sys.argv[2:], random.Random(int(sys.argv[1]))
seen = wrong = 0
while not select.select([0], [], [], 0)[0]:
    fd = os.open(rng.choice(paths), os.O_RDONLY); m = mmap.mmap(fd, 0, prot=mmap.PROT_READ); os.close(fd)
    for _ in range(64):
        page = rng.randrange(len(m) // 4096); seen += 1
        wrong += int.from_bytes(m[page * 4096:page * 4096 + 8], "little") != page
    m.close()
print(seen, wrong)
"""


@dataclass(frozen=True)
class Sample:
    """Of all daemons and recorders together; memory in bytes, resident and not shared with files."""

    memory: int
    descriptors: int
    threads: int
    behind: int = 0  # requests, of the recorder that has most to do


def sampled(pids: list[int], mounts: list[str]) -> Sample:
    """What the processes of the mounts hold now. Raises OSError where one of them has ended."""
    memory = descriptors = threads = 0
    for pid in pids:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        memory += int(fields["RssAnon"].split()[0]) << 10
        threads += int(fields["Threads"])
        descriptors += len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(memory, descriptors, threads, max(int(mount_stats(path, now=True)["behind"]) for path in mounts))


def grown(samples: list[Sample]) -> list[str]:
    """What grew from the middle third to the last, a sentence each."""
    third = len(samples) // 3
    found = []
    lagged = any(sample.behind > LAGS for sample in samples)
    for name, bound in (GROWTH | ({"memory": GROWTH["memory"] + spool.MEMORY} if lagged else {})).items():
        middle = max(getattr(sample, name) for sample in samples[third : 2 * third])
        last = max(getattr(sample, name) for sample in samples[2 * third :])
        if last > middle + bound:
            found.append(f"{name} grew from {middle:,} to {last:,}")
    return found


def soak(seconds: float, mounts: int, clients: int, seed: int, home: Path, progress: bool) -> dict[str, object]:
    """Runs the load; the figures and the verdict."""
    rng, files = random.Random(seed), [f"f{number}" for number in range(FILES)]
    daemons: list[Daemon] = []
    running: list[subprocess.Popen[str]] = []
    samples: list[Sample] = []
    wrong, drops, seen, faults = 0, 0, 0, list[str]()
    try:
        for number in range(mounts):
            specs = [f"{name}=pages:{PAGES}p" for name in files]
            daemons.append(Daemon(home / f"m{number}", *specs, "-q", "--trace", str(home / f"{number}.db")))
        for daemon in daemons:
            daemon.wait_mounted()
        stats = [daemon.stats() for daemon in daemons]
        pids = [pid for one in stats for pid in (one["daemon"]["pid"], one["recorder_pid"])]
        paths = [daemon.file(name) for daemon in daemons for name in files]
        for number in range(clients):
            command = [sys.executable, "-c", CLIENT, str(seed + number), *paths]
            running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        begun = time.monotonic()
        told = begun
        while (now := time.monotonic()) < begun + seconds:
            ask(rng.choice(daemons).path, "drop", file=rng.choice(files))
            drops += 1
            if now >= begun + seconds * len(samples) / 60:
                samples.append(sampled(pids, [daemon.path for daemon in daemons]))
            if progress and now >= told + 10:
                told = now
                one = samples[-1]
                print(
                    f"{now - begun:6.0f} s  {drops:,} drops  {one.memory >> 20} MiB  {one.descriptors} descriptors  "
                    f"{one.threads} threads",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
        for one_client in running:
            out, _ = one_client.communicate("\n", timeout=30)
            if one_client.returncode:
                faults.append(f"a client ended with {one_client.returncode}")
                continue
            numbers = out.split()
            seen, wrong = seen + int(numbers[0]), wrong + int(numbers[1])
        for daemon in daemons:
            mapfs("umount", daemon.path)
            if code := daemon.wait_end():
                faults.append(f"{daemon.path}: the mount ended with {code}")
    finally:
        for one_client in running:
            one_client.kill()
            one_client.wait()
        for daemon in daemons:
            daemon.destroy()
    lost = requests = 0
    for number in range(mounts):
        trace = open_trace(str(home / f"{number}.db")).connection
        lost += trace.execute("SELECT coalesce(sum(count), 0) FROM losses WHERE what = 'events'").fetchone()[0]
        requests += trace.execute("SELECT count(*) FROM requests").fetchone()[0]
        trace.close()
    faults += grown(samples)
    faults += [f"{lost:,} events lost"] * bool(lost) + [f"{wrong:,} pages wrong"] * bool(wrong)
    return {
        "seconds": seconds, "mounts": mounts, "clients": clients, "seed": seed, "pages_seen": seen, "drops": drops,
        "requests": requests, "lost": lost, "wrong": wrong, "first": asdict(samples[0]), "last": asdict(samples[-1]),
        "faults": faults, "ok": not faults,
    }  # fmt: skip


def main() -> int:
    """The exit code: 0 where nothing grew, was lost or was wrong."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=10)
    parser.add_argument("--mounts", type=int, default=3)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mapfs-soak-", dir="/var/tmp") as home:
        told = soak(chosen.minutes * 60, chosen.mounts, chosen.clients, chosen.seed, Path(home), not chosen.json)
    if chosen.json:
        print(json.dumps(told))
    else:
        print("\n".join(f"{name}: {value}" for name, value in told.items()))
    return 0 if told["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
