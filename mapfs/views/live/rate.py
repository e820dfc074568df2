"""How much happened lately: counts in buckets of time, a fixed number of them."""

from array import array

BUCKET_NS = 250_000_000
_WINDOW = 4  # full buckets that a rate is of: a second


class Rate:
    """Counts of the last `buckets` quarters of a second, by the times of the events."""

    __slots__ = ("_buckets", "_newest")

    def __init__(self, buckets: int = 8) -> None:
        self._buckets = array("Q", bytes(8 * buckets))
        self._newest = 0

    def add(self, time_ns: int, count: int = 1) -> None:
        """`count` more at `time_ns`; what is older than all buckets is of no interest."""
        bucket = time_ns // BUCKET_NS
        if bucket > self._newest:
            self._advance(bucket)
        elif self._newest - bucket >= len(self._buckets):
            return
        self._buckets[bucket % len(self._buckets)] += count

    def _advance(self, bucket: int) -> None:
        size = len(self._buckets)
        for one in range(max(self._newest + 1, bucket - size + 1), bucket + 1):
            self._buckets[one % size] = 0
        self._newest = bucket

    def history(self, now_ns: int, count: int) -> list[int]:
        """The `count` buckets before the one of `now_ns`, which is not full yet; oldest first."""
        now = now_ns // BUCKET_NS
        size = len(self._buckets)
        return [
            self._buckets[one % size] if 0 <= one <= self._newest and self._newest - one < size else 0
            for one in range(now - count, now)
        ]

    def a_second(self, now_ns: int) -> int:
        """How many in the second that ended with the last full bucket before `now_ns`."""
        return sum(self.history(now_ns, _WINDOW))
