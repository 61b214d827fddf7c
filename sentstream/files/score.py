"""Data set in, data set out: all that can be checked first, then file after file."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa

from sentstream.errors import OutputWriteError, UsageError, naming
from sentstream.files.commit import remove_stale, whole_file
from sentstream.files.jobs import Job, find_jobs
from sentstream.files.reader import Piece, Source, open_source, read_piece
from sentstream.files.writer import Writer, leaf_paths
from sentstream.model import BATCH_ROWS, Model
from sentstream.profile import OTHER, WRITE, Profile
from sentstream.scorer import PREFIX, TEXT_COLUMN, Scored, Scorer, Tally, check_abstain
from sentstream.session import Provider

#: Called with (rows done, rows in all).
Progress: TypeAlias = Callable[[int, int], None]
#: Called with (name, number from 1, how many there are) when a file begins.
OnFile: TypeAlias = Callable[[str, int, int], None]
_FEW_ROWS = 2048  # smaller batches slow the graph down


@dataclass(frozen=True)
class PlannedFile:
    """A file that passed all checks.

    Attributes:
        job: What is read and what is written.
        rows: How many there are.
        schema: The schema of the output.
    """

    job: Job
    rows: int
    schema: pa.Schema


@dataclass(frozen=True)
class Report:
    """What a run came to.

    Attributes:
        tally: What became of the rows.
        seconds: From the first read to the last file's name; loading the model is not in it.
        plan: What was done.
        profile: What the time went into, if that was asked for: ``Profile.to_dict``.
    """

    tally: Tally
    seconds: float
    plan: Plan
    profile: dict[str, Any] | None = None

    @property
    def rows_per_second(self) -> float:
        """How fast the rows went through."""
        return self.tally.rows / max(self.seconds, 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "rows": self.tally.rows,
            "labels": self.tally.labels,
            "unlabeled": self.tally.unlabeled,
            "truncated": self.tally.truncated,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rows_per_second, 1),
            **self.plan.to_dict(),
            **({} if self.profile is None else {"profile": self.profile}),
        }


@dataclass(frozen=True)
class Plan:
    """Checked files and the model for them.

    Attributes:
        files: The files, in the order of their scoring.
        model: The model.
        scorer: Its scorer.
        batch_rows: Rows a batch, at most.
        overwrite: Whether outputs may be replaced.
    """

    files: list[PlannedFile]
    model: Model
    scorer: Scorer
    batch_rows: int
    overwrite: bool

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Model, provider, what ran where, threads, abstention and files, ready for JSON."""
        model = self.model
        return {
            "model": {"name": model.name, "version": model.version, "digest": model.digest},
            "provider": model.provider,
            "fallback": model.fallback,
            "placement": None if model.placement is None else model.placement.to_dict(),
            "threads": model.threads,
            "abstain": self.scorer.abstain,
            "outputs": [
                {"input": file.job.name, "output": file.job.shown_target, "rows": file.rows}
                for file in self.files
            ],
        }

    def score(
        self, progress: Progress | None = None, *, on_file: OnFile | None = None, profile: bool = False
    ) -> Report:
        """Score every file; each output gets its name when it is whole.

        Args:
            progress: Called as the rows are done.
            on_file: Called when a file begins.
            profile: Whether to tell what the time went into.

        Raises:
            InputError: A file is corrupt. Outputs of the files before it stay.
            OutputError: An output cannot be written.
        """
        watch = Profile() if profile else None
        start = time.perf_counter()
        remove_stale(file.job.target for file in self.files if file.job.target and not file.job.is_stream)
        tally = Tally(0, dict.fromkeys(self.scorer.labels, 0), 0, 0)

        def count(part: Tally) -> None:
            nonlocal tally
            tally += part
            if progress:
                progress(tally.rows, self.rows)

        if progress:
            progress(0, self.rows)
        for number, file in enumerate(self.files, start=1):
            if on_file:
                on_file(file.job.name, number, len(self.files))
            self._score(file.job, count, watch)
        seconds = time.perf_counter() - start
        if not watch:
            return Report(tally, seconds, self)
        watch.stop()
        return Report(tally, seconds, self, watch.to_dict(tally.rows))

    def _score(self, job: Job, count: Callable[[Tally], None], watch: Profile | None) -> None:
        clock = watch.clock() if watch else None
        source = open_source(job.source, job.name)
        schema = output_schema(self.scorer, source)
        pieces = source.pieces()
        plain = {field.name for field in self.scorer.added_fields()[1:]}
        with _opened(job, self.overwrite) as out, Writer(out, schema, plain) as writer:
            for piece in pieces:
                stream = score_piece(
                    self.scorer,
                    piece,
                    threads=self.model.threads,
                    batch_rows=self.batch_rows,
                    profile=watch,
                )
                with contextlib.closing(stream):
                    for scored in stream:
                        if clock:
                            clock.enter(WRITE)
                        writer.write(scored.batch)
                        if clock:
                            clock.enter(OTHER)
                        count(scored.tally)
                if clock:
                    clock.enter(WRITE)  # to the file's name
                if len(pieces) > 1:
                    writer.end_group()
        if clock:
            clock.enter(OTHER)


def score_piece(
    scorer: Scorer,
    piece: Piece,
    *,
    threads: int = 1,
    batch_rows: int = BATCH_ROWS,
    profile: Profile | None = None,
) -> Generator[Scored, None, None]:
    """Score some row groups of a file: a generator of scored batches, in order.

    It needs no more than the file and the scorer, so that any engine may drive it. A profile is told
    what the time went into.

    Raises:
        InputError: The file is not sound, or lacks a column.
    """
    columns = None if scorer.columns is None else [*scorer.columns, scorer.text_column]
    yield from scorer.score_stream(read_piece(piece, columns, batch_rows, threads), threads, profile)


@contextlib.contextmanager
def prepare(
    inputs: Sequence[str],
    *,
    output: str | None = None,
    model: str | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
    batch_rows: int | None = None,
    max_chars: int | None = None,
    text_column: str = TEXT_COLUMN,
    columns: list[str] | None = None,
    prefix: str = PREFIX,
    abstain: float | None = None,
    overwrite: bool = False,
    device: int | None = None,
    gpu_memory: int | None = None,
    warn: Callable[[str], None] = lambda line: None,
) -> Iterator[Plan]:
    """Check everything that can be checked before the first row is scored.

    Args:
        inputs: Parquet files, globs, directories; or ``-``, standard input, alone.
        output: A file, a directory, or ``-`` for standard output; by default beside the inputs.
        model: The name of a model that ships, or the path of a bundle.
        provider: ``"cpu"``, ``"cuda"``, or ``"auto"``.
        threads: Threads that score; by default one for each CPU of this process.
        batch_rows: Rows a batch, at most; by default as many as keep all threads busy.
        max_chars: Characters of a text that are read, instead of the model's own limit.
        text_column: The column that holds the tweets, or a field in structs, as ``data.text``.
        columns: Columns of the input to keep, in this order; None keeps all.
        prefix: What the names of the added columns begin with.
        abstain: Rows whose score is below this get the label ``uncertain``.
        overwrite: Replace outputs that are there.
        device: The number of the CUDA device, 0 by default.
        gpu_memory: The most bytes that ONNX Runtime's arena takes of the GPU's memory.
        warn: Is given lines about files that lie in the directories and are not read.

    Raises:
        SentstreamError: Whatever would keep the run from its end and can be known now.
    """
    if batch_rows is not None and batch_rows < 1:
        raise UsageError(f"batch_rows is {batch_rows}, not a whole number from 1 up")
    check_abstain(abstain)
    with find_jobs(inputs, output, overwrite=overwrite, warn=warn) as jobs:
        sources = [open_source(job.source, job.name) for job in jobs]
        loaded = Model.load(
            model,
            provider=provider,
            threads=threads,
            max_chars=max_chars,
            device=device,
            gpu_memory=gpu_memory,
        )
        scorer = loaded.scorer(text_column=text_column, prefix=prefix, columns=columns, abstain=abstain)
        files = [
            PlannedFile(job, sum(source.rows), output_schema(scorer, source))
            for job, source in zip(jobs, sources, strict=True)
        ]
        most = batch_rows or _batch_rows(max(file.rows for file in files), loaded)
        yield Plan(files, loaded, scorer, most, overwrite)


def score_files(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Score Parquet files, as ``sentstream score`` does.

    All that can be checked is checked first; each output gets its name when it is whole.

    Args:
        inputs: A file, a glob, a directory, or several of them.
        output: A file or a directory; by default beside the inputs, as ``<name>.scored.parquet``.
        progress: Called with the rows done and the rows in all, as rows are done.
        options: As of ``prepare``: ``model``, ``provider``, ``threads``, ``text_column``, ``columns``,
            ``prefix``, ``abstain``, ``overwrite`` …

    Returns:
        How many rows got which label, how long it took, and which files were written.

    Raises:
        SentstreamError: A file, a column, the model or the output is not as it must be; it says which.
    """
    several = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    target = None if output is None else os.fspath(output)
    with prepare([os.fspath(one) for one in several], output=target, **options) as plan:
        return plan.score(progress)


def output_schema(scorer: Scorer, source: Source) -> pa.Schema:
    """The schema that a file's output will have; errors name the file.

    Raises:
        InputError: As ``Scorer.output_schema``.
        OutputWriteError: It holds a type that pyarrow can read but not write.
    """
    with naming(source.name):
        schema = scorer.output_schema(source.schema)
        leaf_paths(schema)
    return schema


def _batch_rows(rows: int, model: Model) -> int:
    """Enough batches for all threads even of a small file."""
    return min(model.batch_rows, max(_FEW_ROWS, -(-rows // model.threads)))


@contextlib.contextmanager
def _opened(job: Job, overwrite: bool) -> Iterator[BinaryIO]:
    if job.target is not None and not job.is_stream:
        with whole_file(job.target, overwrite=overwrite) as file:
            yield file
        return
    try:
        if job.target is None:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        else:
            with job.target.open("wb") as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputWriteError(f"{job.shown_target} cannot be written: {error.strerror or error}") from error
