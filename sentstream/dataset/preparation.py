"""All that can be checked before the first row is scored."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import sentstream
from sentstream.dataset.formats.api import TITLES, Format
from sentstream.dataset.formats.parquet.settings import DEFAULTS, parquet_settings
from sentstream.dataset.jobs import STANDARD, STANDARD_INPUT, Jobs, find_jobs
from sentstream.dataset.manifest.ledger import DIRECTORY, Ledger, header_of
from sentstream.dataset.manifest.records import Header
from sentstream.dataset.manifest.shards import WHOLE, Shard, parse_shard
from sentstream.dataset.partitions import check_columns
from sentstream.dataset.plan import OnError, Plan, PlannedFile, Progress
from sentstream.dataset.planner import Look, LookAt, Planner, look_here
from sentstream.dataset.report import Report
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
    look_at: LookAt = look_here,
    warn: Callable[[str], None] = lambda line: None,
    listed: bool = False,
) -> Iterator[Plan]:
    """Check everything that can be checked before the first row is scored.

    Args:
        inputs: Files, globs, directories, URIs; or ``-``, standard input, alone.
        output: A file, a directory, a URI, or ``-`` for standard output; by default beside the inputs.
        format: The format of the inputs; None finds it out for each.
        output_format: The format of the outputs; None for what the name of each says, or that of its input.
        model: The name of a model that ships, or the path of a bundle.
        provider: ``"cpu"``, ``"cuda"``, or ``"auto"``.
        threads: Threads that score; by default one for each CPU of this process.
        batch_rows: Rows a batch, at most; by default as many as keep all threads busy.
        max_chars: Characters of a text that are read, instead of the model's own limit.
        text_column: The column that holds the tweets, or a field in structs, as ``data.text``; or several of
            them, each of which gets columns of its own.
        columns: Columns of the input to keep, in this order; None keeps all. Those that the folders stand
            for, ``lang=en/``, may be among them.
        prefix: What the names of the added columns begin with; of several text columns one each. By default
            ``sentiment``, of several ``title_sentiment`` …
        abstain: Rows whose score is below this get the label ``uncertain``.
        value: Whether to add P(positive) − P(negative).
        where: Which rows are scored, in SQL, as ``lang = "en" and day >= "2026-09-01"``; folders such as
            ``lang=en/`` are columns, and files in those that it rules out are not opened. By default all.
        row_group_rows: Rows of a row group of Parquet, at most; by default 131,072.
        compression: Of Parquet: zstd, snappy, gzip, brotli, lz4 or none, and a level perhaps, as ``zstd:9``;
            by default ``zstd:1``.
        partition_by: Columns, outermost first: each row goes to the folder that its values name, as
            ``lang=en/day=2026-09-01/``, and these columns are not in the files. Columns that scoring adds may
            be among them.
        overwrite: Replace outputs that are there.
        resume: Go on with what an earlier run of the same kind has done; nothing that is proved done is done
            again.
        shard: ``"2/3"``: of three processes, do the work of the second.
        on_error: What becomes of an input that is not sound: ``"fail"`` ends the run, ``"skip"`` leaves it
            out.
        same_schema: Refuse inputs whose schemas differ.
        table: What all inputs are: ``"delta"`` or ``"iceberg"``, or ``"none"`` for whatever files lie there.
            By default a directory with the log of a table is one.
        snapshot: The version of the table; by default the one that ``resume`` or ``shard`` goes on with, or
            else the latest.
        device: The number of the CUDA device, 0 by default.
        gpu_memory: The most bytes that ONNX Runtime's arena takes of the GPU's memory.
        storage_options: Settings of object stores.
        workers: What runs the model in the workers of a cluster, which do all the work; None where this
            process does it.
        look_at: Looks into the inputs; by default this process does.
        warn: Is given lines about files that lie in the directories and are not read.
        listed: Whether the inputs are a list, so that even a single one has a directory for its output.

    Raises:
        SentstreamError: Whatever would keep the run from its end and can be known now.
    """
    if batch_rows is not None and batch_rows < 1:
        raise UsageError(f"batch_rows must be a positive integer, not {batch_rows}")
    check_abstain(abstain)
    part = WHOLE if shard is None else parse_shard(shard)
    if overwrite and (resume or part != WHOLE):
        what = "--resume" if resume else "--shard"
        raise UsageError(f"{what} and --overwrite cannot be combined", hint="leave one of them out")
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
        listed=listed,
        is_file=lambda target: not overwrite and _begun_as_file(target, storage_options),
    ) as jobs:
        if partition_by and jobs.directory is None:
            raise UsageError("--partition-by needs a directory", hint="give --output DIRECTORY/")
        here = workers is None
        loaded = Model.load(
            model,
            provider=provider if here else "cpu",
            threads=threads if here else 1,
            max_chars=max_chars,
            device=device,
            gpu_memory=gpu_memory if here else None,
        )
        if workers is not None:
            loaded = loaded.for_workers(workers, gpu_memory)
        scorer = loaded.scorer(
            text_column=text_column, prefix=prefix, columns=columns, abstain=abstain, value=value
        )
        if columns is not None and partition_by:
            given = {*columns, *(one.name for one in scorer.added_fields())}
            kept = [*columns, *(name for name in partition_by if name not in given)]
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
        needs = "--resume" if resume else "--shard" if part != WHOLE else None if here else "--on"
        ledger = _ledger(jobs, header, part, anew=overwrite, needed_by=needs)
        keep = ledger is not None and (jobs.directory is not None or resume)
        if ledger is not None and not overwrite:
            ledger.check()
        look = Look(
            scorer, selection, tuple(partition_by), jobs.directory, alone=ledger is None, far=jobs.are_far
        )
        planner = Planner(look, look_at, ledger, part, overwrite, resume, on_error, same_schema)
        files, skipped = planner.plan(jobs)
        if here and ledger is not None and not keep and len(files) == 1 and len(files[0].pieces) == 1:
            ledger = None  # nothing that could be gone on with
        if parquet != DEFAULTS:
            _check_parquet(files)
        most = batch_rows or _batch_rows(planner.most_rows, loaded)
        # What others have to do, too, only a shard has to know.
        shared = part != WHOLE and ledger is not None
        outputs = Packed(ledger.below(job.shown_target) for job in jobs) if shared and ledger else ()
        yield Plan(
            files,
            loaded,
            scorer,
            most,
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
            look.held,
        )


def score_files(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Score files, as ``sentstream score`` does.

    All that can be checked is checked first; each output gets its name when it is whole.

    Args:
        inputs: A file, a glob, a directory, or a list of them.
        output: A file or a directory; by default beside the inputs, as ``<name>.scored.parquet``,
            ``<name>.scored.csv.gz`` …
        progress: Called with the rows done and the rows in all, as rows are done.
        options: As of ``prepare``: ``model``, ``provider``, ``threads``, ``text_column``, ``columns``,
            ``prefix``, ``abstain``, ``overwrite``, ``resume`` …

    Returns:
        How many rows got which label, how long it took, and which files were written.

    Raises:
        SentstreamError: A file, a column, the model or the output is not as it must be; it says which.
    """
    several = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    target = None if output is None else os.fspath(output)
    options.setdefault("listed", several is inputs)
    with prepare([os.fspath(one) for one in several], output=target, **options) as plan:
        return plan.score(progress)


def _check_parquet(files: Iterable[PlannedFile]) -> None:
    """Find out whether all outputs are Parquet, where it was said how that is to be written."""
    for file in files:
        if file.layout.format != "parquet":
            raise UsageError(
                f"{file.job.shown_target} is {TITLES[file.layout.format]}, but --row-group-rows and"
                " --compression apply only to Parquet",
                hint="leave them out, or give --output-format parquet",
            )


def _batch_rows(rows: int | None, model: Model) -> int:
    """Enough batches for all threads even of a small file."""
    if rows is None:
        return model.batch_rows
    return min(model.batch_rows, max(_FEW_ROWS, -(-rows // model.threads)))


def _ledger(jobs: Jobs, header: Header, shard: Shard, *, anew: bool, needed_by: str | None) -> Ledger | None:
    """The manifest of these outputs, if they can have one; where an option needs it, they must."""
    outputs: Packed[str] = Packed()
    once = False
    for job in jobs:
        once = once or job.name == STANDARD_INPUT
        if job.output is not None and not job.is_stream:
            outputs.append(job.output)
    of_one_kind = len({is_uri(output) for output in outputs}) == 1
    if len(outputs) < len(jobs) or not of_one_kind or once:
        if needed_by is not None:
            raise UsageError(
                f"{needed_by} needs inputs that can be read again and outputs that are kept",
                hint="give files, and --output DIRECTORY/",
            )
        return None
    storage = jobs.storage
    if jobs.directory is not None:
        directory = storage.join(jobs.directory, DIRECTORY)
        return Ledger(storage, directory, jobs.directory, header, shard=shard, anew=anew)
    parent, directory = _manifest_of(storage, outputs)
    return Ledger(storage, directory, parent, header, outputs=outputs[0], shard=shard, anew=anew)


def _pinned(
    inputs: Sequence[str], output: str | None, options: Mapping[str, str] | None
) -> Mapping[str, int]:
    """The snapshots of tables that a run of these outputs was begun with, by the tables' ids."""
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
    """Whether a run was begun that writes a single file of that name, and can be gone on with."""
    storage = open_storage(output, options)
    resolved = output if is_uri(output) else os.path.realpath(output)
    _, directory = _manifest_of(storage, [resolved])
    return header_of(storage, directory) is not None


def _manifest_of(storage: Storage, outputs: Sequence[str]) -> tuple[str, str]:
    """The directory above outputs that are not given by one, and that of their manifest."""
    parent = _shared_parent(outputs)
    name = outputs[0][len(parent) :].lstrip("/\\") if len(outputs) == 1 else "several"
    return parent, storage.join(parent, f"{DIRECTORY}/{name}")


def _shared_parent(outputs: Sequence[str]) -> str:
    if not is_uri(outputs[0]):
        return os.path.commonpath({os.path.dirname(output) for output in outputs})
    parts = [output.split("/")[:-1] for output in outputs]
    shared = [level[0] for level in zip(*parts, strict=False) if len(set(level)) == 1]
    return "/".join(shared)
