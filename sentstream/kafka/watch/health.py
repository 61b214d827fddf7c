"""Health of the consume loop by partition, for ``/healthz`` and ``/readyz``."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from sentstream.errors import one_line
from sentstream.kafka.clients.api import Partition
from sentstream.kafka.watch.events import Committed, Observer, Rebalance


class Health(Observer):
    """Checks that each of our partitions makes progress or has nothing to do.

    Progress is a committed offset past the previous one. Nothing to do is a committed offset at the
    partition's last stable offset: open transactions and control records leave nothing more to read. An
    aborted transaction is neither, nor is a partition that was revoked and assigned again. An instance
    without partitions cannot be stuck.

    Before its first report the loop counts as healthy, however long that takes: joining a group waits for the
    other members, and killing a process that waits makes them wait again.

    Args:
        limit: Seconds without either after which a partition is stuck, or without a report, the loop.
        hold: Additional seconds that results may wait for their commit, such as rows in a Parquet file.
        clock: Returns a monotonic time in seconds.
        wall: Returns the time in seconds since 1970 (UTC).
    """

    def __init__(
        self,
        limit: float = 300.0,
        *,
        hold: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._limit, self._patience, self._clock, self._wall = limit, limit + hold, clock, wall
        self._reported: float | None = None
        self._joined = False
        self._owned: frozenset[Partition] = frozenset()
        self._well: dict[Partition, float] = {}  # when each last made progress; also of revoked ones
        self._left: dict[Partition, float] = {}
        self._reached: dict[Partition, int] = {}
        self._lag: Mapping[Partition, int] = {}
        self._abort: str | None = None  # why the last transaction was aborted; None after a commit

    def reason(self) -> str | None:
        """Return why the loop is not healthy, in one line that names the partitions; None if it is."""
        if self._reported is None:
            return None
        now, owned = self._clock(), self._owned
        if now - self._reported > self._limit:
            names = ", ".join(map(_name, sorted(owned))) or "none"
            return f"the consume loop has not reported {self._since(self._reported)}; its partitions: {names}"
        stuck = [one for one in sorted(owned) if now - self._well.get(one, now) > self._patience]
        if not stuck:
            return None
        descriptions = [
            f"{_name(one)} has made no progress {self._since(self._well[one])}, {self._left_over(one)}"
            for one in stuck
        ]
        if self._abort is not None:
            descriptions.append(f"the last transaction was aborted: {self._abort}")
        return "; ".join(descriptions)

    def waiting(self) -> str | None:
        """Return why no message can be read yet, in one line; None if it is ready."""
        return None if self._joined else "has not joined the consumer group yet"

    def committed(self, done: Committed) -> None:
        self._reported = now = self._clock()
        self._abort = None
        for one, offset in done.offsets.items():
            if offset > self._reached.get(one, -1):
                self._reached[one] = offset
                self._well[one] = now

    def aborted(self, reason: str) -> None:
        self._abort = one_line(reason)

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        now = self._clock()
        self._reported, self._joined = now, True
        for one in partitions:
            if kind != "assigned":
                self._left[one] = now
            elif one not in self._left or now - self._left.pop(one) > self._patience:
                self._well[one] = now
                self._reached.pop(one, None)
        self._owned = frozenset(owned)

    def lags(self, lag: Mapping[Partition, int]) -> None:
        self._reported = now = self._clock()
        self._lag = lag
        for one, records in lag.items():
            if records == 0:
                self._well[one] = now

    def _since(self, then: float) -> str:
        seconds = self._clock() - then
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._wall() - seconds))
        return f"for {seconds:.0f} s, since {moment}"

    def _left_over(self, one: Partition) -> str:
        records = self._lag.get(one)
        return "and its lag is unknown" if records is None else f"and is {records} records behind the end"


def _name(partition: Partition) -> str:
    return f"{partition.topic}-{partition.partition}"
