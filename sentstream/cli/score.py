"""``sentstream score``: label the tweets in files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sentstream.cli.options.columns import names_from, parse_columns
from sentstream.cli.options.common import (
    INPUTS_HELP,
    Abstention,
    Device,
    GpuMemory,
    Json,
    MaxChars,
    ModelChoice,
    ProviderChoice,
    StorageOptions,
    parse_gpu_memory,
    parse_storage_options,
)
from sentstream.cli.terminal.messages import counted_rows, warn
from sentstream.cli.terminal.row_bar import row_bar
from sentstream.cli.terminal.stage_table import show_stages
from sentstream.cli.terminal.streams import is_terminal, print_data, print_json, print_message
from sentstream.errors import SkippedInputsError, UsageError, counted

if TYPE_CHECKING:
    from sentstream.dataset import Plan, Report
    from sentstream.dataset.plan import PlannedFile
    from sentstream.dataset.planner import Inspect
    from sentstream.dataset.report import NodeShare
    from sentstream.dataset.run import Drive
    from sentstream.scorer.tally import Tally

#: As in ``dataset.formats.api``, which loads pyarrow.
Format = Literal["parquet", "csv", "tsv", "jsonl", "arrow", "arrow-stream", "orc"]

#: The panels of ``--help``. Environment variables are explained once, not for each option.
_read = partial(typer.Option, show_envvar=False, rich_help_panel="Input")
_model = partial(typer.Option, show_envvar=False, rich_help_panel="Model")
_large = partial(typer.Option, show_envvar=False, rich_help_panel="Large jobs")
_written = partial(typer.Option, show_envvar=False, rich_help_panel="Output")

_MOST_NODES = 8  # with a line of their own in the summary
_BAR = 32  # columns of a bar of 100 %

EXAMPLES = """[bold]Examples[/bold]

sentstream score tweets.parquet

sentstream score 'logs/2026-*.parquet' --output scored/ --columns id,text

sentstream score logs/ --where 'lang = "en" and day >= "2026-09-01"'

sentstream score bucket/ --output scored/ --resume

sentstream score tweets.parquet --output scored/ --partition-by sentiment

sentstream score tweets.csv.gz --output tweets.scored.parquet

sentstream score s3://bucket/tweets/ --output s3://bucket/scored/ --on ray

fetch-tweets | sentstream score - --text-column body > scored.jsonl
"""


def score(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help=INPUTS_HELP,
            show_default=False,
            show_envvar=False,
        ),
    ] = None,
    *,
    format: Annotated[
        Format | None,
        _read(
            "--format",
            metavar="FORMAT",
            help="Input format: parquet, csv, tsv, jsonl, arrow (also Feather V2), arrow-stream or orc.",
            show_default="detected from content and name",
        ),
    ] = None,
    files_from: Annotated[
        str | None,
        _read(
            metavar="FILE",
            help="File that lists more inputs, one per line; - reads the list from standard input.",
        ),
    ] = None,
    where: Annotated[
        str | None,
        _read(
            metavar="SQL",
            help='Score only the rows that match, e.g. \'lang = "en" and day >= "2026-09-01"\'. A directory'
            " such as lang=en/ is a column; directories that cannot match are not read.",
            show_default="all",
        ),
    ] = None,
    table: Annotated[
        Literal["delta", "iceberg", "none"] | None,
        _read(
            "--table",
            help="Table format of the inputs; none reads a table's directory as plain files.",
            show_default="detected",
        ),
    ] = None,
    snapshot: Annotated[
        int | None,
        _read(
            metavar="N",
            help="Version of the Delta table, or ID of the Iceberg snapshot.",
            show_default="the latest; with --resume, that of the first run",
        ),
    ] = None,
    text_column: Annotated[
        list[str],
        _read(
            metavar="NAME",
            help="Column that holds the tweets, or a nested field such as data.text. Repeatable.",
            default_factory=names_from("SENTSTREAM_SCORE_TEXT_COLUMN", "text"),
            allow_from_autoenv=False,
            show_default="text",
        ),
    ],
    max_chars: MaxChars = None,
    batch_rows: Annotated[
        int | None,
        _read(
            metavar="N",
            min=1,
            help="Maximum rows per batch; affects memory, not results.",
            show_default="up to 32768; 262144 with CUDA",
        ),
    ] = None,
    storage_option: StorageOptions = None,
    model: ModelChoice = "tweets",
    provider: ProviderChoice = "auto",
    device: Device = None,
    gpu_memory: GpuMemory = None,
    threads: Annotated[
        int | None,
        _model(
            metavar="N",
            min=1,
            help="Scoring threads; affects speed, not results.",
            show_default="one per CPU",
        ),
    ] = None,
    abstain: Abstention = None,
    output: Annotated[
        str | None,
        _written(
            "--output",
            "-o",
            metavar="PATH",
            help="File or URI to write, or a directory for several inputs; - writes to standard output.",
            show_default="NAME.scored.EXT next to each file, or DIRECTORY.scored/",
        ),
    ] = None,
    output_format: Annotated[
        Format | None,
        _written(
            "--output-format",
            metavar="FORMAT",
            help="Output format, as for --format. Text is compressed if --output ends in .gz, .zst or .bz2.",
            show_default="from the name of --output, else as the input",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        _written(metavar="NAMES", help="Input columns to keep, e.g. id,text.", show_default="all"),
    ] = None,
    prefix: Annotated[
        list[str],
        _written(
            metavar="NAME",
            help="Prefix of the added columns, one for each --text-column. Repeatable.",
            default_factory=names_from("SENTSTREAM_SCORE_PREFIX"),
            allow_from_autoenv=False,
            show_default="sentiment; TEXT_COLUMN_sentiment if there are several",
        ),
    ],
    value: Annotated[
        bool,
        _written("--value", help="Also add P(positive) − P(negative) as a column, for averages."),
    ] = False,
    row_group_rows: Annotated[
        int | None,
        _written(
            metavar="N",
            min=1,
            help="Maximum rows per Parquet row group.",
            show_default="131072, at most 32 MiB",
        ),
    ] = None,
    compression: Annotated[
        str | None,
        _written(
            metavar="CODEC[:LEVEL]",
            help="Parquet compression: zstd, snappy, gzip, brotli, lz4 or none.",
            show_default="zstd:1",
        ),
    ] = None,
    partition_by: Annotated[
        str | None,
        _written(
            metavar="NAMES",
            help="Write a directory per value of these columns: lang,day gives lang=en/day=2026-09-01/.",
            show_default="directories as in the input",
        ),
    ] = None,
    overwrite: Annotated[bool, _written("--overwrite", help="Replace existing output.")] = False,
    resume: Annotated[
        bool,
        _large("--resume", help="Resume an interrupted run and skip what it has finished."),
    ] = False,
    shard: Annotated[
        str | None,
        _large(metavar="I/N", help="Do only part I of N; start N processes, each with its own I."),
    ] = None,
    on: Annotated[
        str | None,
        _large(
            metavar="ENGINE",
            help="Run on a cluster: ray (at RAY_ADDRESS, else on this machine) or ray://HOST:PORT.",
            show_default="this process",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        _large(
            metavar="N",
            min=1,
            help="Cluster workers, one CPU each.",
            show_default="one per CPU of the cluster",
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        _large(metavar="F", min=0, help="GPUs per worker; 0.5 is half of one.", show_default="none"),
    ] = None,
    on_error: Annotated[
        Literal["fail", "skip"], _large(help="Fail at a bad input, or skip it and go on.")
    ] = "fail",
    same_schema: Annotated[
        bool, _large("--same-schema", help="Fail before any work if the inputs' columns differ.")
    ] = False,
    json: Json = False,
    profile: Annotated[
        bool, _written("--profile", help="Also print where the time went, by stage and thread.")
    ] = False,
    dry_run: Annotated[
        bool,
        _written("--dry-run", help="Check everything and print what would be written, but write nothing."),
    ] = False,
) -> None:
    """Label the tweets in files: add a sentiment column and probabilities, and keep every other column.

    Reads and writes Parquet, CSV, TSV, JSON Lines, Arrow IPC (file and stream) and ORC;
    text and streams can be compressed with gzip, zstd or bzip2. CSV fields and JSON
    lines are written back unchanged.

    Rows stay in order. Null, empty and whitespace-only texts get a null label. Texts
    longer than --max-chars are truncated and counted. Outputs appear only when complete.

    Every option is also an environment variable: SENTSTREAM_SCORE_TEXT_COLUMN sets
    --text-column.
    """
    from sentstream.dataset import prepare, score_plan
    from sentstream.dataset.input_list import read_list

    if not inputs and not files_from:
        raise UsageError("no input", hint="name files or directories; see sentstream score --help")
    if json and output == "-" and not dry_run:
        raise UsageError("--json and --output - both write to standard output", hint="give --output FILE")
    cluster = _ClusterOptions.of(on, workers, gpus_per_worker, provider, threads, device, profile)
    # Shown from the start: loading the model and inspecting many files can take seconds.
    with (
        row_bar("scoring", shown=not dry_run) as bar,
        _connected(cluster) as (inspect, drive),
        prepare(
            [*(inputs or ()), *(read_list(files_from) if files_from else ())],
            output=output,
            format=format,
            output_format=output_format,
            model=model,
            provider=provider,
            threads=threads,
            batch_rows=batch_rows,
            max_chars=max_chars,
            text_column=text_column,
            columns=parse_columns(columns),
            prefix=prefix or None,
            abstain=abstain,
            value=value,
            where=where,
            row_group_rows=row_group_rows,
            compression=compression,
            partition_by=parse_columns(partition_by, "--partition-by") or (),
            overwrite=overwrite,
            resume=resume,
            shard=shard,
            on_error=on_error,
            same_schema=same_schema,
            table=table,
            snapshot=snapshot,
            device=device,
            gpu_memory=parse_gpu_memory(gpu_memory),
            storage_options=parse_storage_options(storage_option),
            workers=None if cluster is None else cluster.provider,
            inspect=inspect,
            warn=warn,
            from_list=files_from is not None,
        ) as plan,
    ):
        if plan.model.fallback:
            warn(f"not using CUDA: {plan.model.fallback}")
        if dry_run:
            _show_plan(plan, as_json=json)
            return
        # Only the output of a single file can be standard output.
        if json and len(plan.files) == 1 and plan.files[0].job.output is None:
            raise UsageError(
                "--json and the scored rows both go to standard output", hint="give --output FILE"
            )
        report = score_plan(
            plan, bar, on_file=bar.begin_file, on_bytes=bar.count_bytes, profile=profile, drive=drive
        )
    if json:
        print_json(report.to_dict(streamed=True))
    else:
        _show_report(report)
        if report.profile is not None:
            show_stages(report.profile)
    if report.skipped:
        first = report.skipped[0]
        raise SkippedInputsError(
            f"{counted(len(report.skipped), 'input')} skipped, the first {first.reason}",
            hint="repair or remove those inputs, then continue with --resume",
        )


@dataclass(frozen=True)
class _ClusterOptions:
    """The cluster that ``--on``, ``--workers`` and ``--gpus-per-worker`` ask for."""

    engine: str
    workers: int | None
    gpus: float

    @classmethod
    def of(
        cls,
        engine: str | None,
        workers: int | None,
        gpus: float | None,
        provider: str,
        threads: int | None,
        device: int | None,
        profile: bool,
    ) -> _ClusterOptions | None:
        """The cluster of these options, or None.

        Raises:
            UsageError: Options that contradict each other.
        """
        if engine is None:
            if workers is not None or gpus is not None:
                option = "--workers" if workers is not None else "--gpus-per-worker"
                raise UsageError(f"{option} applies only to a cluster", hint="add --on ray")
            return None
        for option, value in {"--threads": threads, "--device": device, "--profile": profile or None}.items():
            if value is not None:
                raise UsageError(
                    f"{option} applies only to this machine, but --on {engine} runs on a cluster",
                    hint=f"leave out {option}; --workers sets the number of workers",
                )
        if (provider == "cuda") != bool(gpus) and provider != "auto":
            raise UsageError(
                f"--provider {provider} and --gpus-per-worker {gpus or 0:g} cannot be combined",
                hint="workers with a GPU use CUDA, workers without one use the CPU",
            )
        return cls(engine, workers, gpus or 0.0)

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """The execution provider of the workers."""
        return "cuda" if self.gpus else "cpu"


@contextmanager
def _connected(options: _ClusterOptions | None) -> Iterator[tuple[Inspect, Drive | None]]:
    """What inspects the inputs and what does the work; the latter is None for this process."""
    from sentstream.dataset.planner import inspect_locally

    if options is None:
        yield inspect_locally, None
        return
    from sentstream.engines.ray.cluster import connect
    from sentstream.engines.ray.drive import RayDrive
    from sentstream.engines.ray.inspection import RayInspector

    with connect(options.engine, workers=options.workers, gpus_per_worker=options.gpus) as cluster:
        yield RayInspector(cluster), RayDrive(cluster)


def _show_plan(plan: Plan, *, as_json: bool) -> None:
    """Print the plan on standard output."""
    if as_json:
        facts = plan.to_dict(streamed=True)
        facts["outputs"] = map(_with_schema, facts["outputs"], plan.files)
        print_json({"dry_run": True, "rows": plan.rows, **facts})
        return
    model = plan.model
    print_data(f"model {model.name} {model.version}, {plan.provider}, {counted(model.threads, 'thread')}")
    shown = None
    for file in plan.files:
        if file.schema is None:
            print_data(f"{file.job.name} → {file.shown_output}: {counted_rows(file.rows)}, already done")
            continue
        print_data(f"{file.job.name} → {file.shown_output}: {counted_rows(file.rows)}")
        if shown is None or not file.schema.equals(shown):
            shown = file.schema
            width = max(len(field.name) for field in shown)
            for field in shown:
                print_data(f"    {field.name:{width}}  {field.type}{'' if field.nullable else ' not null'}")
    print_data("dry run: nothing was written")


def _with_schema(output: dict[str, Any], file: PlannedFile) -> dict[str, Any]:
    """The description of an output, with its columns."""
    if file.schema is None:
        return output
    return {**output, "schema": {field.name: str(field.type) for field in file.schema}}


def _show_report(report: Report) -> None:
    """Print the final summary on standard error."""
    from sentstream.dataset.manifest.shards import WHOLE

    tally, model = report.tally, report.plan.model
    left_out = {"left out": f"{report.left_out:,} (by --where)"} if report.plan.where else {}
    lines = {
        "rows": f"{tally.rows:,}"
        + (f", {report.before.rows:,} of them in earlier runs" if report.before.rows else ""),
        **left_out,
        **{name: _labels(part) for name, part in (tally.columns or {"labels": tally}).items()},
        "unlabeled": f"{tally.unlabeled:,} (null, empty or white space)",
        "truncated": f"{tally.truncated:,}",
        "time": f"{report.seconds:.2f} s, {report.rows_per_second:,.0f} rows/s",
        **(_shares(report.nodes) if report.nodes else {"threads": f"{model.threads:,}"}),
        "model": f"{model.name} {model.version}, {model.digest[:19]}…, {report.plan.provider}",
        **({} if model.placement is None else {"nodes": str(model.placement)}),
        **({"shard": _shard(report)} if report.plan.shard != WHOLE else {}),
        "output": _outputs(report),
    }
    width = max(len(name) for name in (*tally.columns, *lines))
    for name, value in lines.items():
        print_message(f"{name:<{width}} {value}")
    if is_terminal(sys.stderr) and not tally.columns:
        for line in _bars(tally):
            print_message(line)


def _bars(tally: Tally) -> Iterator[str]:
    """The labels' shares as bars.

    >>> from sentstream.scorer.tally import Tally
    >>> list(_bars(Tally(4, {"negative": 1, "positive": 3}, 0, 0)))
    ['negative ████████', 'positive ████████████████████████']
    """
    total = max(1, sum(tally.labels.values()))
    width = max(map(len, tally.labels), default=0)
    for label, count in tally.labels.items():
        yield f"{label:<{width}} {'█' * round(_BAR * count / total)}".rstrip()


def _shares(nodes: list[NodeShare]) -> dict[str, str]:
    """The rows of each machine of a cluster; if there are many, of the slowest and the fastest."""
    workers = counted(sum(node.workers for node in nodes), "worker")
    lines = {"cluster": f"{workers} on {counted(len(nodes), 'machine')}"}
    shown = sorted(nodes, key=lambda node: node.rows_per_second)
    if len(shown) > _MOST_NODES:
        shown = [*shown[: _MOST_NODES // 2], *shown[-_MOST_NODES // 2 :]]
    for number, node in enumerate(shown, start=1):
        lines[f"machine {number}"] = (
            f"{node.node}: {counted_rows(node.rows)}, {node.rows_per_second:,.0f} rows/s per worker"
        )
    return lines


def _shard(report: Report) -> str:
    shard = report.plan.shard
    left = f"{counted(report.pending, 'file')} left to other shards" if report.pending else "last to finish"
    return f"{shard.number} of {shard.count}, {left}"


def _outputs(report: Report) -> str:
    files = report.plan.files
    if not files:
        return "none"
    last = files[-1].shown_output
    return last if len(files) == 1 else f"{counted(len(files), 'file')}, the last {last}"


def _labels(tally: Tally) -> str:
    return ", ".join(
        f"{label} {count:,} ({count / max(1, tally.rows):.1%})" for label, count in tally.labels.items()
    )
