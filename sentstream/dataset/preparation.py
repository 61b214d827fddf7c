"""Everything that can be checked before the first row is scored."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import sentstream
from sentstream.dataset.formats.api import TITLES, Format
from sentstream.dataset.formats.parquet.settings import DEFAULTS, parquet_settings
from sentstream.dataset.jobs import STANDARD, Jobs, find_jobs
from sentstream.dataset.manifest.ledger import DIRECTORY, Ledger, header_of
from sentstream.dataset.manifest.records import Header
from sentstream.dataset.manifest.shards import WHOLE, Shard, parse_shard
from sentstream.dataset.partitions import check_columns
from sentstream.dataset.plan import OnError, Plan, PlannedFile, Progress
from sentstream.dataset.planner import Inspect, Inspector, Planner, inspect_locally
from sentstream.dataset.report import Report
from sentstream.dataset.run import score_plan
from sentstream.dataset.tables.api import Kind, TableOptions
from sentstream.dataset.where import Selection
from sentstream.errors import UsageError
from sentstream.model import Model
from sentstream.packed import Packed
from sentstream.scorer.added_columns import TEXT_COLUMN, check_abstain
from sentstream.session import Provider
from sentstream.storage.api import Storage
from sentstream.storage.names import is_uri, scored_directory, without_file_scheme
from sentstream.storage.open import open_storage

_FEW_ROWS = 2048  # smaller batches slow the graph down


@contextlib.contextmanager
def prepare(
    inputs: Sequence[str],
    *,
    output: str | None = None,
    format: Format | None = None,
    output_format: Format | None = None,
    model: str | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
    batch_rows: int | None = None,
    max_chars: int | None = None,
    text_column: str | Sequence[str] = TEXT_COLUMN,
    columns: list[str] | None = None,
    prefix: str | Sequence[str] | None = None,
    abstain: float | None = None,
    value: bool = False,
    where: str | None = None,
    row_group_rows: int | None = None,
    compression: str | None = None,
    partition_by: Sequence[str] = (),
    overwrite: bool = False,
    resume: bool = False,
    shard: str | None = None,
    on_error: OnError = "fail",
    same_schema: bool = False,
    table: Kind | None = None,
    snapshot: int | None = None,
    device: int | None = None,
    gpu_memory: int | None = None,
    storage_options: Mapping[str, str] | None = None,
    workers: Literal["cpu", "cuda"] | None = None,
    inspect: Inspect = inspect_locally,
    warn: Callable[[str], None] = lambda line: None,
    from_list: bool = False,
) -> Iterator[Plan]:
    """Check everything that can be checked before the first row is scored.

    Args:
        inputs: Files, globs, directories or URIs; or only ``-`` for standard input.
        output: A file, a directory, a URI, or ``-`` for standard output; by default next to the inputs.
        format: The format of the inputs; None detects it for each.
        output_format: The format of the outputs; None uses the file name's suffix, or the input's format.
        model: The name of a model that ships, or the path of a bundle.
        provider: ``"cpu"``, ``"cuda"``, or ``"auto"``.
        threads: Number of scoring threads; by default one per CPU available to this process.
        batch_rows: Maximum rows per record batch; by default enough to keep all threads busy.
        max_chars: Number of characters to read of each text, instead of the model's own limit.
        text_column: The text column, or the path of a struct field such as ``data.text``; or several of them,
            each of which gets its own added columns.
        columns: Input columns to keep, in this order; None keeps all. Partition columns from folders such as
            ``lang=en/`` can be included.
        prefix: Name of the label column and prefix of the other added columns; one per text column. By
            default ``sentiment``; with several text columns, ``title_sentiment`` and so on.
        abstain: Rows with a score below this value get the label ``uncertain``.
        value: Whether to add P(positive) − P(negative).
        where: SQL condition that selects the rows to score, such as ``lang = "en" and day >= "2026-09-01"``;
            by default all rows. Folders such as ``lang=en/`` are columns, and files in folders that do not
            match are not opened.
        row_group_rows: Maximum rows per Parquet row group; by default 131,072.
        compression: Parquet compression: zstd, snappy, gzip, brotli, lz4 or none, optionally with a level,
            such as ``zstd:9``; by default ``zstd:1``.
        partition_by: Columns, outermost first: each row goes to the folder named by its values, such as
            ``lang=en/day=2026-09-01/``, and these columns are not in the files. Columns that scoring adds can
            be used.
        overwrite: Replace existing outputs.
        resume: Continue an earlier run with the same settings; work that is recorded as done is not repeated.
        shard: ``"2/3"`` does the second of three parts of the work.
        on_error: For inputs that are not valid, ``"fail"`` ends the run and ``"skip"`` skips them.
        same_schema: Reject inputs whose schemas differ.
        table: The type of all inputs: ``"delta"``, ``"iceberg"``, or ``"none"`` to read the files as they
            are. By default a directory that contains a table's log is read as a table.
        snapshot: The version of the table; by default the one that ``resume`` or ``shard`` continues with,
            otherwise the latest.
        device: The CUDA device number; 0 by default.
        gpu_memory: Maximum size in bytes of ONNX Runtime's arena in GPU memory.
        storage_options: Settings of object stores.
        workers: The provider in the workers of a cluster, which do all the work; None if this process does
            it.
        inspect: Inspects the inputs; by default in this process.
        warn: Called with one line about files in the directories that are not read.
        from_list: Whether the inputs come from a list, so that even a single one gets an output directory.

    Raises:
        SentstreamError: Any error that can be detected before the run starts.
    """
    if batch_rows is not None and batch_rows < 1:
        raise UsageError(f"batch_rows must be a positive integer, not {batch_rows}")
    check_abstain(abstain)
    part = WHOLE if shard is None else parse_shard(shard)
    if overwrite and (resume or part != WHOLE):
        option = "--resume" if resume else "--shard"
        raise UsageError(f"{option} and --overwrite cannot be combined", hint="leave one of them out")
    selection = Selection(where)
    parquet = parquet_settings(row_group_rows, compression)
    check_columns(partition_by)
    if partition_by and output is not None and output != STANDARD and not output.endswith(("/", os.sep)):
        output = f"{output}/"
    pinned = {} if overwrite or snapshot is not None else _pinned(inputs, output, storage_options)
    with find_jobs(
        inputs,
        output,
        overwrite=True,
        format=format,
        output_format=output_format,
        options=storage_options,
        warn=warn,
        keep=selection.keep,
        tables=TableOptions(table, snapshot, pinned),
        from_list=from_list,
        is_file=lambda target: not overwrite and _begun_as_file(target, storage_options),
    ) as jobs:
        if partition_by and jobs.directory is None:
            raise UsageError("--partition-by needs a directory", hint="give --output DIRECTORY/")
        in_process = workers is None
        loaded = Model.load(
            model,
            provider=provider if in_process else "cpu",
            threads=threads if in_process else 1,
            max_chars=max_chars,
            device=device,
            gpu_memory=gpu_memory if in_process else None,
        )
        if workers is not None:
            loaded = loaded.for_workers(workers, gpu_memory)
        scorer = loaded.scorer(
            text_column=text_column, prefix=prefix, columns=columns, abstain=abstain, value=value
        )
        if columns is not None and partition_by:
            names = {*columns, *(one.name for one in scorer.added_fields())}
            kept = [*columns, *(name for name in partition_by if name not in names)]
            scorer = loaded.scorer(
                text_column=text_column, prefix=prefix, columns=kept, abstain=abstain, value=value
            )
        header = Header(
            sentstream.__version__,
            {"name": loaded.name, "version": loaded.version, "digest": loaded.digest},
            {
                "--provider": workers or loaded.provider,
                "--text-column": [*scorer.text_columns],
                "--max-chars": max_chars,
                "--columns": columns,
                "--prefix": [*scorer.prefixes],
                "--where": where,
                "--format": format,
                "--output-format": output_format,
                "--abstain": abstain,
                **({"--value": value} if value else {}),
                "--row-group-rows": row_group_rows,
                "--compression": compression,
                "--partition-by": [*partition_by] or None,
                "--table": table,
                "--snapshot": dict(jobs.snapshots) or None,
            },
        )
        needs = "--resume" if resume else "--shard" if part != WHOLE else None if in_process else "--on"
        ledger = _ledger(jobs, header, part, fresh=overwrite, needed_by=needs)
        keep = ledger is not None and (jobs.directory is not None or resume)
        if ledger is not None and not overwrite:
            ledger.check()
        inspector = Inspector(
            scorer, selection, tuple(partition_by), jobs.directory, alone=ledger is None, far=jobs.are_far
        )
        planner = Planner(inspector, inspect, ledger, part, overwrite, resume, on_error, same_schema)
        files, skipped = planner.plan(jobs)
        if in_process and ledger is not None and not keep and len(files) == 1 and len(files[0].pieces) == 1:
            ledger = None  # a single piece leaves nothing to resume
        if parquet != DEFAULTS:
            _check_parquet(files[index] for index in planner.todo)
        rows = batch_rows or _batch_rows(planner.most_rows, loaded)
        # Only a shard has to know the outputs of others.
        shared = part != WHOLE and ledger is not None
        outputs = Packed(ledger.below(job.shown_target) for job in jobs) if shared and ledger else ()
        yield Plan(
            files,
            planner.todo,
            planner.totals,
            loaded,
            scorer,
            rows,
            overwrite,
            on_error,
            part,
            ledger,
            keep,
            resume,
            skipped,
            outputs,
            where,
            parquet,
            partition_by,
            jobs.snapshots,
            planner.replaced,
            planner.folders,
            workers or loaded.provider,
            inspector.held,
        )


def score_files(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Score files as ``sentstream score`` does.

    Everything that can be checked is checked first. An output gets its final name when it is complete.

    Args:
        inputs: A file, a glob, a directory, or a list of them.
        output: A file or a directory; by default next to the inputs, as ``<name>.scored.parquet``,
            ``<name>.scored.csv.gz`` and so on.
        progress: Called with the number of rows done and the total, as rows are scored.
        options: The other options of ``sentstream score``, by their Python names: ``model``, ``provider``,
            ``threads``, ``text_column``, ``columns``, ``prefix``, ``abstain``, ``overwrite``, ``resume`` …

    Returns:
        The number of rows per label, the time it took, and the files that were written.

    Raises:
        SentstreamError: A file, a column, the model or the output is not valid; the message says which.
    """
    several = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    target = None if output is None else os.fspath(output)
    options.setdefault("from_list", several is inputs)
    with prepare([os.fspath(one) for one in several], output=target, **options) as plan:
        return score_plan(plan, progress)


def _check_parquet(files: Iterable[PlannedFile]) -> None:
    """Check that all outputs are Parquet, since options for writing Parquet were given."""
    for file in files:
        if file.layout.format != "parquet":
            raise UsageError(
                f"{file.job.shown_target} is {TITLES[file.layout.format]}, but --row-group-rows and"
                " --compression apply only to Parquet",
                hint="leave them out, or give --output-format parquet",
            )


def _batch_rows(rows: int | None, model: Model) -> int:
    """Return a batch size that gives all threads work even for a small file."""
    if rows is None:
        return model.batch_rows
    return min(model.batch_rows, max(_FEW_ROWS, -(-rows // model.threads)))


def _ledger(jobs: Jobs, header: Header, shard: Shard, *, fresh: bool, needed_by: str | None) -> Ledger | None:
    """Return the manifest of the outputs, if they can have one; raise if an option needs it."""
    if not jobs.can_resume:
        if needed_by is not None:
            raise UsageError(
                f"{needed_by} needs inputs that can be read again and outputs that are kept",
                hint="give files, and --output DIRECTORY/",
            )
        return None
    storage = jobs.storage
    if jobs.directory is not None:
        directory = storage.join(jobs.directory, DIRECTORY)
        return Ledger(storage, directory, jobs.directory, header, shard=shard, fresh=fresh)
    outputs = Packed(job.output for job in jobs if job.output is not None)
    parent, directory = _manifest_of(storage, outputs)
    return Ledger(storage, directory, parent, header, outputs=outputs[0], shard=shard, fresh=fresh)


def _pinned(
    inputs: Sequence[str], output: str | None, options: Mapping[str, str] | None
) -> Mapping[str, int]:
    """Return the table snapshots that an earlier run of these outputs used, by table id."""
    if output is None and len(inputs) == 1:
        output = scored_directory(without_file_scheme(inputs[0]).rstrip("/" + os.sep))
    if output is None or output == STANDARD:
        return {}
    output = without_file_scheme(output)
    storage = open_storage(output, options)
    header = header_of(storage, storage.join(output, DIRECTORY))
    pinned: Mapping[str, int] | None = None if header is None else header.options.get("--snapshot")
    return pinned or {}


def _begun_as_file(output: str, options: Mapping[str, str] | None) -> bool:
    """Return whether there is a manifest for a single output file of that name."""
    storage = open_storage(output, options)
    resolved = output if is_uri(output) else os.path.realpath(output)
    _, directory = _manifest_of(storage, [resolved])
    return header_of(storage, directory) is not None


def _manifest_of(storage: Storage, outputs: Sequence[str]) -> tuple[str, str]:
    """Return the common parent of outputs without an output directory, and their manifest's directory."""
    parent = _shared_parent(outputs)
    name = outputs[0][len(parent) :].lstrip("/\\") if len(outputs) == 1 else "several"
    return parent, storage.join(parent, f"{DIRECTORY}/{name}")


def _shared_parent(outputs: Sequence[str]) -> str:
    if not is_uri(outputs[0]):
        return os.path.commonpath({os.path.dirname(output) for output in outputs})
    parts = [output.split("/")[:-1] for output in outputs]
    shared = [level[0] for level in zip(*parts, strict=False) if len(set(level)) == 1]
    return "/".join(shared)
