"""``sentstream score``: label the tweets of Parquet files."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from sentstream.cli.heap import keep_freed_memory
from sentstream.cli.options.columns import parse_columns
from sentstream.cli.options.common import (
    Abstention,
    Device,
    GpuMemory,
    Inputs,
    ModelChoice,
    ProviderChoice,
    parse_gpu_memory,
)
from sentstream.cli.terminal.messages import counted, warn
from sentstream.cli.terminal.row_bar import row_bar
from sentstream.cli.terminal.stage_table import show_stages
from sentstream.cli.terminal.streams import print_data, print_json, print_message
from sentstream.errors import UsageError

if TYPE_CHECKING:
    from sentstream.files import Plan, Report

#: The panels of ``--help``. Environment variables are named once, at its top, not at each option.
_read = partial(typer.Option, show_envvar=False, rich_help_panel="What is read")
_model = partial(typer.Option, show_envvar=False, rich_help_panel="What scores it")
_written = partial(typer.Option, show_envvar=False, rich_help_panel="What is written")

EXAMPLES = """[bold]Examples[/bold]

sentstream score tweets.parquet

sentstream score 'logs/2026-*.parquet' --output scored/ --columns id,text

fetch-tweets | sentstream score - --text-column body > scored.parquet
"""


def score(
    inputs: Inputs,
    text_column: Annotated[
        str, _read(metavar="NAME", help="Column that holds the tweets, or a field: data.text.")
    ] = "text",
    max_chars: Annotated[
        int | None,
        _read(
            metavar="N", min=1, help="Characters of a tweet that are read.", show_default="the model's: 1000"
        ),
    ] = None,
    batch_rows: Annotated[
        int | None,
        _read(
            metavar="N",
            min=1,
            help="Most rows a batch: memory, not results.",
            show_default="up to 32768; with CUDA 262144",
        ),
    ] = None,
    model: ModelChoice = "tweets",
    provider: ProviderChoice = "auto",
    device: Device = None,
    gpu_memory: GpuMemory = None,
    threads: Annotated[
        int | None,
        _model(metavar="N", min=1, help="Threads that score: speed, not results.", show_default="one a CPU"),
    ] = None,
    abstain: Abstention = None,
    output: Annotated[
        str | None,
        _written(
            "--output",
            "-o",
            metavar="PATH",
            help="A file, a directory (for several inputs), or - for standard output.",
            show_default="NAME.scored.parquet beside each file; DIRECTORY.scored/",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        _written(metavar="NAMES", help="Columns of the input to keep, e.g. id,text.", show_default="all"),
    ] = None,
    prefix: Annotated[
        str, _written(metavar="NAME", help="What the names of the added columns begin with.")
    ] = "sentiment",
    overwrite: Annotated[bool, _written("--overwrite", help="Replace outputs that are there.")] = False,
    json: Annotated[bool, _written("--json", help="Print the summary as one JSON object.")] = False,
    profile: Annotated[
        bool, _written("--profile", help="Also say what the time went into, by stage and by thread.")
    ] = False,
    dry_run: Annotated[
        bool, _written("--dry-run", help="Check everything, say what would be written, write nothing.")
    ] = False,
) -> None:
    """Label the tweets of Parquet files: every column stays, sentiment and its probabilities are added.

    Null, empty and white-space-only texts get a null label. A text longer than
    --max-chars is cut there, and counted. Rows keep their places. An output
    appears under its name when it is whole, or not at all.

    Each option is also an environment variable: SENTSTREAM_SCORE_TEXT_COLUMN
    is --text-column.
    """
    from sentstream.files import prepare

    keep_freed_memory()
    if json and output == "-" and not dry_run:
        raise UsageError("--json and --output - both want standard output", hint="give --output FILE")
    # From the start: loading the model and looking through many files takes seconds on a busy machine.
    with (
        row_bar("scoring", shown=not dry_run) as bar,
        prepare(
            inputs,
            output=output,
            model=model,
            provider=provider,
            threads=threads,
            batch_rows=batch_rows,
            max_chars=max_chars,
            text_column=text_column,
            columns=parse_columns(columns),
            prefix=prefix,
            abstain=abstain,
            overwrite=overwrite,
            device=device,
            gpu_memory=parse_gpu_memory(gpu_memory),
            warn=warn,
        ) as plan,
    ):
        if plan.model.fallback:
            warn(f"CUDA is not used: {plan.model.fallback}")
        if dry_run:
            _show_plan(plan, as_json=json)
            return
        if json and any(file.job.target is None for file in plan.files):
            raise UsageError(
                "--json and the scored rows both want standard output", hint="give --output FILE"
            )
        report = plan.score(bar, on_file=bar.begin_file, profile=profile)
    if json:
        print_json(report.to_dict())
    else:
        _show_report(report)
        if report.profile is not None:
            show_stages(report.profile)


def _show_plan(plan: Plan, *, as_json: bool) -> None:
    """What would be written, on standard output."""
    if as_json:
        about = plan.to_dict()
        for output, file in zip(about["outputs"], plan.files, strict=True):
            output["schema"] = {field.name: str(field.type) for field in file.schema}
        print_json({"dry_run": True, "rows": plan.rows, **about})
        return
    model = plan.model
    print_data(f"model {model.name} {model.version}, {model.provider}, {counted(model.threads, 'thread')}")
    shown = None
    for file in plan.files:
        print_data(f"{file.job.name} → {file.job.shown_target}: {counted(file.rows, 'row')}")
        if shown is None or not file.schema.equals(shown):
            shown = file.schema
            width = max(len(field.name) for field in shown)
            for field in shown:
                print_data(f"    {field.name:{width}}  {field.type}{'' if field.nullable else ' not null'}")
    print_data("dry run: nothing was written")


def _show_report(report: Report) -> None:
    """The closing summary, on standard error."""
    tally, model = report.tally, report.plan.model
    labels = [
        f"{label} {count:,} ({count / max(1, tally.rows):.1%})" for label, count in tally.labels.items()
    ]
    files = report.plan.files
    where = (
        files[0].job.shown_target
        if len(files) == 1
        else f"{len(files):,} files, the last {files[-1].job.shown_target}"
    )
    lines = {
        "rows": f"{tally.rows:,}",
        "labels": ", ".join(labels),
        "unlabeled": f"{tally.unlabeled:,} (null, empty or white space)",
        "truncated": f"{tally.truncated:,}",
        "time": f"{report.seconds:.2f} s, {report.rows_per_second:,.0f} rows/s",
        "threads": f"{model.threads:,}",
        "model": f"{model.name} {model.version}, {model.digest[:19]}…, {model.provider}",
        **({} if model.placement is None else {"nodes": str(model.placement)}),
        "output": where,
    }
    for name, value in lines.items():
        print_message(f"{name:<10}{value}")
