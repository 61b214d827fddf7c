"""The plan of a run: the files that passed all checks, and the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from sentstream.dataset.formats.api import Layout, Piece
from sentstream.dataset.formats.parquet.settings import DEFAULTS, ParquetSettings
from sentstream.dataset.jobs import Job
from sentstream.dataset.manifest.ledger import Ledger
from sentstream.dataset.manifest.shards import WHOLE, Shard
from sentstream.dataset.partitions import Partitions
from sentstream.dataset.small_files import is_small
from sentstream.dataset.where import RowFilter
from sentstream.model import Model
from sentstream.packed import pickled_by_fields
from sentstream.scorer import Scorer
from sentstream.scorer.tally import Tally
from sentstream.storage.held import HeldFiles

#: Called with (rows done, total rows); the total is None if only known after reading to the end.
Progress: TypeAlias = Callable[[int, int | None], None]
#: Called with (name, number from 1, number of files) when a file is started.
OnFile: TypeAlias = Callable[[str, int, int], None]
#: What to do with an invalid input: end the run, or skip the input.
OnError: TypeAlias = Literal["fail", "skip"]


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that passed all checks, or was done by an earlier run.

    Attributes:
        job: Its input and output.
        rows: Number of rows, all or of this shard; None if only known after reading to the end.
        schema: The schema of the output; None if it is already done.
        layout: The layout of the output.
        todo: The pieces that this run has left to score.
        pieces: All pieces of the file.
        rows_before: Number of rows that earlier runs did, written or excluded by ``where``.
        where: The row filter; None to score all rows.
        folders: Columns from the file's folder names, added to the output.
        partitions: The partitioning of the output; None if it is not partitioned.
    """

    job: Job
    rows: int | None
    schema: pa.Schema | None
    layout: Layout
    todo: tuple[Piece, ...]
    pieces: tuple[Piece, ...]
    rows_before: int = 0
    where: RowFilter | None = None
    folders: Mapping[str, pa.Scalar] = field(default_factory=dict)
    partitions: Partitions | None = None

    @property
    def shown_output(self) -> str:
        """The name of the output, or of all of them, in messages."""
        if self.partitions is None:
            return self.job.shown_target
        return self.job.storage.join(self.partitions.root, self.partitions.name(self.partitions.any))

    @property
    def size(self) -> int:
        """Number of bytes left to read."""
        return sum(piece.size for piece in self.todo)

    @property
    def is_done(self) -> bool:
        """Whether the output is complete."""
        return self.schema is None

    @property
    def is_small(self) -> bool:
        """Whether it is small enough to be scored together with others."""
        return is_small(self.job.source.size, self.rows, self.pieces)


@dataclass(frozen=True)
class Skipped:
    """An input that is not valid.

    Attributes:
        job: Its input and output.
        reason: What is wrong with it.
    """

    job: Job
    reason: str


@dataclass(frozen=True)
class Totals:
    """Totals of all files of a plan.

    Attributes:
        rows: Number of rows, all or of this shard; None if only known after reading to the end.
        before: Counts of the rows that earlier runs did.
        left_out_before: Number of rows that earlier runs excluded by ``where``.
        size: Number of bytes left to read.
    """

    rows: int | None
    before: Tally
    left_out_before: int
    size: int


@dataclass(frozen=True)
class Plan:
    """Checked files and the model for them.

    Attributes:
        files: The files, in scoring order.
        todo: The indices of those that are not done, ascending.
        totals: Totals of all files.
        model: The model.
        scorer: Its scorer.
        batch_rows: Maximum rows per batch.
        overwrite: Whether outputs may be replaced.
        on_error: What to do with an invalid input.
        shard: The part of the data set that this run does.
        ledger: The manifest; None if there is none.
        keep: Whether the manifest is kept at the end.
        resume: Whether to continue earlier work.
        skipped: Inputs already found to be invalid.
        where: SQL condition that selects the rows to score; None for all.
        outputs: For a shard, the outputs of all shards, relative to the output directory.
        parquet: How Parquet is written.
        partition_by: Columns that name the output folders.
        snapshots: The snapshot read of each table, by table id.
        replaced: Outputs of earlier runs, removed before the first output is written.
        folders: Existing partition folders, where killed runs may have left drafts.
        provider: The provider that runs the model, here or in the workers of a cluster.
        held: Contents of small files, kept from their inspection.
    """

    files: Sequence[PlannedFile]
    todo: Sequence[int]
    totals: Totals
    model: Model
    scorer: Scorer
    batch_rows: int
    overwrite: bool
    on_error: OnError = "fail"
    shard: Shard = WHOLE
    ledger: Ledger | None = None
    keep: bool = False
    resume: bool = False
    skipped: list[Skipped] = field(default_factory=list)
    outputs: Sequence[str] = ()
    where: str | None = None
    parquet: ParquetSettings = DEFAULTS
    partition_by: Sequence[str] = ()
    snapshots: Mapping[str, int] = field(default_factory=dict)
    replaced: Sequence[str] = ()
    folders: Sequence[str] = ()
    provider: Literal["cpu", "cuda"] = "cpu"
    held: HeldFiles = field(default_factory=HeldFiles)

    def unfinished(self) -> Iterator[tuple[int, PlannedFile]]:
        """Yield the files that are not done, each with its number, from 1.

        Of millions that are done, none is unpacked.
        """
        for index in self.todo:
            yield index + 1, self.files[index]

    @property
    def rows(self) -> int | None:
        """Number of rows, all or of this shard; None if only known after reading to the end."""
        return self.totals.rows

    @property
    def before(self) -> Tally:
        """Counts of the rows that earlier runs did."""
        return self.totals.before

    def to_dict(self, *, streamed: bool = False) -> dict[str, Any]:
        """Return the model, provider, placement, threads, abstention and files as JSON-serializable data.

        Args:
            streamed: Whether ``outputs`` is an iterator, since there may be millions.
        """
        model = self.model
        outputs = map(_about, self.files)
        return {
            "model": {"name": model.name, "version": model.version, "digest": model.digest},
            "provider": self.provider,
            "fallback": model.fallback,
            "placement": None if model.placement is None else model.placement.to_dict(),
            "threads": model.threads,
            "abstain": self.scorer.abstain,
            **({} if self.where is None else {"where": self.where}),
            **({"snapshots": dict(self.snapshots)} if self.snapshots else {}),
            **({"partition_by": [*self.partition_by]} if self.partition_by else {}),
            "shard": None if self.shard == WHOLE else f"{self.shard.number}/{self.shard.count}",
            "outputs": outputs if streamed else list(outputs),
        }


def _about(file: PlannedFile) -> dict[str, Any]:
    """Return a file as JSON-serializable data."""
    return {
        "input": file.job.name,
        "output": file.shown_output,
        "rows": file.rows,
        **({"done_before": True} if file.is_done else {}),
    }
