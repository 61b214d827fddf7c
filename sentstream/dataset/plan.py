"""What a run is to do: files that passed all checks, and the model for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from sentstream.dataset import run
from sentstream.dataset.formats.api import Layout, Piece
from sentstream.dataset.formats.parquet.settings import DEFAULTS, ParquetSettings
from sentstream.dataset.jobs import Job
from sentstream.dataset.manifest.ledger import Ledger
from sentstream.dataset.manifest.records import Entry
from sentstream.dataset.manifest.shards import WHOLE, Shard
from sentstream.dataset.meter import OnBytes
from sentstream.dataset.partitions import Partitions
from sentstream.dataset.report import Report, Skipped
from sentstream.dataset.small_files import is_small
from sentstream.dataset.where import RowFilter
from sentstream.model import Model
from sentstream.packed import pickled_by_fields
from sentstream.scorer import Scorer
from sentstream.scorer.tally import Tally
from sentstream.storage.held import HeldFiles

#: Called with (rows done, rows in all); None if only known after reading to the end.
Progress: TypeAlias = Callable[[int, int | None], None]
#: Called with (name, number from 1, how many there are) when a file begins.
OnFile: TypeAlias = Callable[[str, int, int], None]
#: What becomes of an input that is not sound: it ends the run, or is left out.
OnError: TypeAlias = Literal["fail", "skip"]


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that passed all checks, or was done before.

    Attributes:
        job: What is read and what is written.
        rows: How many rows this run accounts for: in all, or of its shard; None where only reading to the end
            tells.
        schema: The schema of the output; None if it was done before.
        layout: The layout of the output.
        todo: The pieces that are still to be scored by this run.
        pieces: All pieces of the file.
        before: What earlier runs wrote of it: the whole, or parts.
        where: The row filter; None to score all rows.
        folders: Columns from the file's folder names, added to the output.
        partitions: Where rows are partitioned to; None if the output is not partitioned.
    """

    job: Job
    rows: int | None
    schema: pa.Schema | None
    layout: Layout
    todo: tuple[Piece, ...]
    pieces: tuple[Piece, ...]
    before: tuple[Entry, ...] = ()
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
        """Bytes that are still to be read."""
        return sum(piece.size for piece in self.todo)

    @property
    def is_done(self) -> bool:
        """Whether the output is whole."""
        return any(entry.state == "done" for entry in self.before)

    @property
    def is_small(self) -> bool:
        """Whether it is better scored together with others: alone, it would cost more than its rows."""
        return is_small(self.job.source.size, self.rows, self.pieces)


@dataclass(frozen=True)
class Totals:
    """What all files of a plan come to.

    Attributes:
        rows: Rows of all files, or of this shard; None if only known after reading to the end.
        before: What became of the rows that were done before.
        left_out_before: Rows that were read before and are not what was asked for.
        size: Bytes that are still to be read.
    """

    rows: int | None
    before: Tally
    left_out_before: int
    size: int


@dataclass(frozen=True)
class Plan:
    """Checked files and the model for them.

    Attributes:
        files: The files, in the order of their scoring.
        model: The model.
        scorer: Its scorer.
        batch_rows: Maximum rows per batch.
        overwrite: Whether outputs may be replaced.
        on_error: What becomes of an input that is not sound.
        shard: Which part of the data set this run does.
        ledger: The manifest; None if there is none.
        keep: Whether the manifest stays when all is done.
        resume: Whether to go on with what is there.
        skipped: Inputs that are known not to be sound.
        where: Which rows are scored, in SQL; None for all.
        outputs: Of a shard, all outputs, those of others with them, by their names below the directory of
            outputs.
        parquet: How Parquet is written.
        partition_by: Columns that the outputs' folders are named after.
        snapshots: Of tables that are read, by their ids, which snapshot.
        replaced: Outputs of earlier runs that go before the first one is written.
        folders: Folders that are there and that columns are in, where killed runs may have left something.
        provider: What runs the model: here, or in the workers of a cluster.
        held: Bytes of small files that were kept when they were looked into.
    """

    files: Sequence[PlannedFile]
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

    @cached_property
    def totals(self) -> Totals:
        """What the files come to; going through millions of them takes seconds, and is done once."""
        rows: int | None = 0
        before, left_out, size = self.scorer.no_rows(), 0, 0
        for file in self.files:
            rows = None if rows is None or file.rows is None else rows + file.rows
            size += file.size
            for entry in file.before:
                before += Tally.from_dict(entry.tally)
                left_out += entry.left_out
        return Totals(rows, before, left_out, size)

    @property
    def rows(self) -> int | None:
        """Rows of all files, or of this shard; None if only known after reading to the end."""
        return self.totals.rows

    @property
    def before(self) -> Tally:
        """What became of the rows that were done before."""
        return self.totals.before

    def to_dict(self, *, streamed: bool = False) -> dict[str, Any]:
        """Model, provider, what ran where, threads, abstention and files, ready for JSON.

        Args:
            streamed: Whether ``outputs`` is an iterator, of what may be millions.
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

    def score(
        self,
        progress: Progress | None = None,
        *,
        on_file: OnFile | None = None,
        on_bytes: OnBytes | None = None,
        profile: bool = False,
        drive: run.Drive | None = None,
    ) -> Report:
        """Score every file that is not done; each output gets its name when it is whole.

        Args:
            progress: Called as rows are scored.
            on_file: Called when a file is started.
            on_bytes: Called as bytes of the inputs are processed.
            profile: Whether to report how long each stage takes.
            drive: Has the work done elsewhere; by default this process does it.

        Raises:
            InputError: A file is corrupt. Outputs of the files before it stay.
            OutputError: An output cannot be written, or another run writes there.
        """
        return run.score(self, progress, on_file, on_bytes, profile=profile, drive=drive)


def _about(file: PlannedFile) -> dict[str, Any]:
    """A file, ready for JSON."""
    return {
        "input": file.job.name,
        "output": file.shown_output,
        "rows": file.rows,
        **({"done_before": True} if file.is_done else {}),
    }
