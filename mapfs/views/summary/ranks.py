"""Percentiles by nearest rank, of one sorted list or of many sorted runs that need not be merged."""

from bisect import bisect_right
from collections.abc import Sequence


def nearest_rank(values: Sequence[int], percent: int) -> int:
    """The smallest of the sorted `values` that `percent` percent of them do not exceed."""
    return values[max(0, -(-len(values) * percent // 100) - 1)]


def rank_of_runs(runs: Sequence[Sequence[int]], percent: int) -> int:
    """nearest_rank of all values in the sorted `runs`, 0 of none. Halves the range of values: some 30 looks at each."""
    runs = [run for run in runs if run]
    if not runs:
        return 0
    before = max(0, -(-sum(map(len, runs)) * percent // 100) - 1)
    low, high = min(run[0] for run in runs), max(run[-1] for run in runs)
    while low < high:
        middle = (low + high) // 2
        if sum([bisect_right(run, middle) for run in runs]) > before:
            high = middle
        else:
            low = middle + 1
    return low
