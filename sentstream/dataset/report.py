"""The result of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sentstream.dataset.plan import Plan, Skipped
from sentstream.scorer.tally import Tally


@dataclass(frozen=True)
class NodeShare:
    """The share of the work that one machine of a cluster did.

    Attributes:
        node: Its address.
        rows: Number of rows scored there.
        workers: Number of worker processes there.
        seconds: Their total time in seconds.
    """

    node: str
    rows: int
    workers: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """Rows per second of one worker."""
        return self.rows / max(self.seconds, 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """Return the share as JSON-serializable data."""
        return {
            "node": self.node,
            "rows": self.rows,
            "workers": self.workers,
            "worker_seconds": round(self.seconds, 3),
            "rows_per_second_and_worker": round(self.rows_per_second, 1),
        }


@dataclass(frozen=True)
class Report:
    """The result of a run.

    Attributes:
        tally: Counts of all rows, including those that earlier runs did.
        before: Counts of the rows that earlier runs did, which this one continued.
        seconds: Time from the first read to the last completed file, in seconds; without loading the model.
        plan: The work that was done.
        skipped: Inputs that are not valid and were skipped.
        pending: Number of files that other shards have not finished.
        left_out: Number of rows that ``where`` excluded, whether they were read or their row groups skipped.
        profile: Time of each stage, if requested: ``Profile.to_dict``.
        nodes: The share of each machine of a cluster; empty if this process did all the work.
    """

    tally: Tally
    before: Tally
    seconds: float
    plan: Plan
    skipped: list[Skipped] = field(default_factory=list)
    pending: int = 0
    left_out: int = 0
    profile: dict[str, Any] | None = None
    nodes: list[NodeShare] = field(default_factory=list)

    @property
    def rows_per_second(self) -> float:
        """Rows per second of this run."""
        return (self.tally.rows - self.before.rows) / max(self.seconds, 1e-9)

    def to_dict(self, *, streamed: bool = False) -> dict[str, Any]:
        """Return the result as JSON-serializable data.

        Args:
            streamed: Whether ``outputs`` is an iterator, since there may be millions.
        """
        return {
            **self.tally.to_dict(),
            "rows_before": self.before.rows,
            **({} if self.plan.where is None else {"left_out": self.left_out}),
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rows_per_second, 1),
            "skipped": [{"input": item.job.name, "reason": item.reason} for item in self.skipped],
            "pending": self.pending,
            **self.plan.to_dict(streamed=streamed),
            **({} if self.profile is None else {"profile": self.profile}),
            **({"nodes": [node.to_dict() for node in self.nodes]} if self.nodes else {}),
        }

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the number of rows per label, and facts about the run."""
        from sentstream.notebook import facts, shares, show

        rows = [
            ("rows", f"{self.tally.rows:,}"),
            ("done before", f"{self.before.rows:,}"),
            ("left out", f"{self.left_out:,}"),
            ("inputs skipped", f"{len(self.skipped):,}"),
            ("files pending", f"{self.pending:,}"),
            ("time", f"{self.seconds:.1f} s, {self.rows_per_second:,.0f} rows/s"),
        ]
        kept = [(name, value) for name, value in rows if value != "0"]
        return show(shares("labels", self.tally.all_labels), facts("run", kept))
