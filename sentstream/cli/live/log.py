"""Lines of ``name=value`` for a log."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from sentstream.cli.live.watch import RunInfo, Watch, names
from sentstream.cli.terminal.messages import harmless_line

if TYPE_CHECKING:
    from sentstream.kafka.clients.api import Partition
    from sentstream.kafka.watch.events import Committed, Rebalance


class LogView(Watch):
    """A ``name=value`` line at regular intervals, and one for every rebalance and abort.

    ``rate`` and the labels' shares are since the previous line (``-`` if nothing was scored), counts since
    the start. The loop's reports drive it, so it needs no thread.

    Args:
        run_info: The run.
        every: Seconds between lines.
        stream: Where to write; by default standard error.
        clock: A monotonic time in s.
        wall: The time in s since 1970 (UTC).
        drift: Gives the drift of the texts from ``run_info.drift_from``.
    """

    def __init__(
        self,
        run_info: RunInfo,
        *,
        every: float = 30.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        drift: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        super().__init__(run_info, clock, drift)
        self._every, self._wall = every, wall
        self._stream = stream or sys.stderr
        self._before, self._records, self._labels = clock(), 0, Counter[str]()

    def __enter__(self) -> Self:
        self._write("started", vars(self.run_info).items())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._report("stopped")

    def committed(self, done: Committed) -> None:
        super().committed(done)
        self._tick()

    def aborted(self, reason: str) -> None:
        super().aborted(reason)
        self._write("aborted", [("reason", reason)])

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        super().rebalanced(kind, partitions, owned)
        self._write(kind, [("partitions", names(partitions)), ("owned", len(owned))])

    def lags(self, lag: Mapping[Partition, int]) -> None:
        super().lags(lag)
        self._tick()

    def _tick(self) -> None:
        if self._clock() - self._before >= self._every:
            self._report("")

    def _report(self, event: str) -> None:
        now, totals = self._clock(), self.totals
        rate = (totals.records - self._records) / max(now - self._before, 1e-9)
        self._write(event, self._figures(rate, totals.labels - self._labels))
        self._before, self._records, self._labels = now, totals.records, totals.labels.copy()

    def _figures(self, rate: float, fresh: Counter[str]) -> list[tuple[str, object]]:
        """Fields of a line: rate and label shares since the previous line, counts since the start."""
        totals, scored, age = self.totals, fresh.total(), self._commit_age()
        return [
            ("rate", f"{rate:.1f}/s"),
            ("records", totals.records),
            ("scored", totals.scored),
            *((label, f"{fresh[label] / scored:.1%}" if scored else "-") for label in totals.labels),
            ("unlabeled", totals.unlabeled),
            ("tombstones", totals.tombstones),
            ("truncated", totals.truncated),
            ("dead_letters", totals.dead.total()),
            *((f"dead_letters.{error}", count) for error, count in totals.dead.items()),
            ("lag", sum(self.lag.values())),
            ("lag_max", max(self.lag.values(), default=0)),
            ("partitions", len(self.owned)),
            ("aborts", totals.aborts),
            ("rebalances", totals.rebalances),
            ("commit_age", "-" if age is None else f"{age:.1f}s"),
            *((f"psi.{name}", f"{distance:.3f}") for name, distance in self._drift().items()),
        ]

    def _write(self, event: str, fields: Iterable[tuple[str, object]]) -> None:
        words = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._wall())), "sentstream consume"]
        words += [event] if event else []
        words += [f"{_NOT_A_NAME.sub('_', name)}={_logfmt(str(value))}" for name, value in fields]
        self._print(" ".join(words))

    def _print(self, line: str) -> None:
        if self._stream is None:  # standard error was closed
            return
        with contextlib.suppress(OSError, ValueError):  # the reader has gone: no reason to stop the loop
            print(line, file=self._stream, flush=True)


_NOT_A_NAME = re.compile(r"[^\w.-]")


def _logfmt(value: str) -> str:
    """A value, in double quotes if it contains characters that would end or hide it."""
    value = harmless_line(value)
    return value if re.fullmatch(r'[^\s"=\\]+', value) else json.dumps(value, ensure_ascii=False)
