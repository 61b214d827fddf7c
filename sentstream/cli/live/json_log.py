"""JSON log lines, for systems that collect and search logs."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sentstream.cli.live.log import LogView
from sentstream.cli.live.watch import MOST_PARTITIONS, RunInfo, Watch
from sentstream.cli.terminal.streams import Level, json_line

if TYPE_CHECKING:
    from sentstream.kafka.clients.api import Partition
    from sentstream.kafka.watch.events import Committed, Rebalance

_LEVELS: Mapping[str, Level] = {"aborted": "warning", "lost": "warning"}


class JsonLog(LogView):
    """The lines of ``LogView`` as JSON objects: ``time``, ``level``, ``message``, and figures as numbers.

    ``positions`` has the lag and, if known, the committed offset of the partitions that lag most.

    Args:
        run_info: The run.
        settings: As for ``LogView``.
    """

    def __init__(self, run_info: RunInfo, **settings: Any) -> None:
        super().__init__(run_info, **settings)
        self._offsets: dict[Partition, int] = {}

    def committed(self, done: Committed) -> None:
        self._offsets.update(done.offsets)
        super().committed(done)

    def rebalanced(
        self, kind: Rebalance, partitions: Collection[Partition], owned: Collection[Partition]
    ) -> None:
        Watch.rebalanced(self, kind, partitions, owned)
        self._offsets = {one: offset for one, offset in self._offsets.items() if one in self.owned}
        first = [_named(one) for one in sorted(partitions)[:MOST_PARTITIONS]]
        fields = [("partitions", first), ("changed", len(partitions)), ("owned", len(owned))]
        self._write(kind, fields)

    def _figures(self, rate: float, fresh: Counter[str]) -> list[tuple[str, object]]:
        totals, scored, age = self.totals, fresh.total(), self._commit_age()
        shares = {label: round(fresh[label] / scored, 4) if scored else None for label in totals.labels}
        return [
            ("rate", round(rate, 1)),
            ("records", totals.records),
            ("scored", totals.scored),
            ("labels", shares),
            ("unlabeled", totals.unlabeled),
            ("tombstones", totals.tombstones),
            ("truncated", totals.truncated),
            ("dead_letters", dict(totals.dead)),
            ("lag", sum(self.lag.values())),
            ("partitions", len(self.owned)),
            ("positions", self._positions()),
            ("aborts", totals.aborts),
            ("rebalances", totals.rebalances),
            ("commit_age", None if age is None else round(age, 1)),
            ("psi", {name: round(distance, 3) for name, distance in self._drift().items()}),
            ("psi_from", self.run_info.drift_from),
        ]

    def _positions(self) -> list[dict[str, Any]]:
        lag, offsets = self.lag, self._offsets
        worst = heapq.nsmallest(MOST_PARTITIONS, self.owned, key=lambda one: (-lag.get(one, 0), one))
        return [{**_named(one), "offset": offsets.get(one), "lag": lag.get(one)} for one in worst]

    def _write(self, event: str, fields: Iterable[tuple[str, object]]) -> None:
        level, message = _LEVELS.get(event, "info"), event or "running"
        self._print(json_line(level, message, dict(fields), stream=self._stream, wall=self._wall))


def _named(one: Partition) -> dict[str, Any]:
    return {"topic": one.topic, "partition": one.partition}
