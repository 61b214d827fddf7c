"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sentstream.scorer.tally import Tally

if TYPE_CHECKING:
    from sentstream.dataset.jobs import Job
    from sentstream.dataset.plan import Plan


@dataclass(frozen=True)
class Skipped:
    """An input that is not sound.

    Attributes:
        job: What was to be read and written.
        reason: What is the matter with it.
    """

    job: Job
    reason: str


@dataclass(frozen=True)
class NodeShare:
    """What one machine of several did.

    Attributes:
        node: Its address.
        rows: Rows that were scored there.
        workers: Processes that scored there.
        seconds: What they took, all together.
    """

    node: str
    rows: int
    workers: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """How fast one of its workers is."""
        return self.rows / max(self.seconds, 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "node": self.node,
            "rows": self.rows,
            "workers": self.workers,
            "worker_seconds": round(self.seconds, 3),
            "rows_per_second_and_worker": round(self.rows_per_second, 1),
        }


@dataclass(frozen=True)
class Report:
    """What a run came to.

    Attributes:
        tally: What became of the rows, those with them that were done before.
        before: What became of the rows that were done before, by runs that this one went on with.
        seconds: From the first read to the last file's name; loading the model is not in it.
        plan: What was done.
        skipped: Inputs that are not sound.
        pending: Files that other shards have still to end.
        left_out: Rows that were read, or whose row groups were left out, for they are not what was asked for.
        profile: What the time went into, if that was asked for: ``Profile.to_dict``.
        nodes: What each machine of a cluster did; empty where this process did it all.
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
        """How fast the rows of this run went through."""
        return (self.tally.rows - self.before.rows) / max(self.seconds, 1e-9)

    def to_dict(self, *, streamed: bool = False) -> dict[str, Any]:
        """All of it, ready for JSON.

        Args:
            streamed: Whether ``outputs`` is an iterator, of what may be millions.
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
        """What a notebook shows: how many rows got which label, and where they are."""
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
