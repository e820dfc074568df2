"""scripts/soak: a short run of it, and its verdict on what grows."""

import json
import subprocess
import sys

from mapfs.trace import spool
from tests.soak import Sample, grown
from tests.support import ROOT


def test_a_short_soak_loses_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "0.2", "--mounts", "2", "--clients", "3", "--json"],
        capture_output=True, text=True, timeout=110, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] and told["lost"] == told["wrong"] == 0
    assert told["drops"] > 10 and told["requests"] > 1000


def test_what_grows_is_found_and_what_warms_up_is_not() -> None:
    flat = [Sample(1 << 20, 10, 5)] * 10 + [Sample(9 << 20, 30, 9)] * 20
    assert grown(flat) == []
    assert grown([*flat[:-1], Sample(9 << 20, 35, 9)]) == ["descriptors grew from 30 to 35"]
    assert grown([*flat[:-1], Sample(14 << 20, 30, 12)]) == [
        f"memory grew from {9 << 20:,} to {14 << 20:,}",
        "threads grew from 9 to 12",
    ]
    waiting = Sample(14 << 20, 30, 9, behind=100_000)
    assert grown([*flat[:-1], waiting]) == [], "a recorder that lags keeps what waits in memory, up to a bound"
    assert grown([*flat[:-1], Sample((14 << 20) + spool.MEMORY, 30, 9, behind=100_000)])
