"""``sentstream tune``: search for network settings on a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sentstream.cli.options import training as options
from sentstream.cli.options.common import Json
from sentstream.cli.options.fields import Fields, with_fields
from sentstream.cli.options.kafka import parse_duration
from sentstream.cli.terminal.messages import warn
from sentstream.cli.terminal.reports import deliver
from sentstream.cli.terminal.streams import print_data
from sentstream_train.config import ARCHITECTURES, Architecture, Columns, DataConfig, FitConfig, override

if TYPE_CHECKING:
    from sentstream_train.tune.result import Search

SEARCH = "Search"


EXAMPLES = """[bold]Examples[/bold]

sentstream tune tweets.csv --output searches/first --trials 20

sentstream tune tweets.csv -o searches/a --timeout 2h --metric macro-recall
"""


@with_fields
def tune(
    data: Annotated[
        list[Path],
        typer.Argument(metavar="DATA", help="Labeled rows: CSV or Parquet.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Directory of the search to write.", show_default=False
        ),
    ],
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume the search in --output, with the same other options."),
    ] = False,
    json: Json = False,
    *,
    trials: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Total number of trials, including those before --resume.",
            min=1,
            rich_help_panel=SEARCH,
        ),
    ] = 30,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Stop after this time, e.g. 90m or 8h; --resume continues.",
            show_default="no limit",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    epochs: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Passes over the rows per trial; with two or more, bad trials end early.",
            min=1,
            rich_help_panel=SEARCH,
        ),
    ] = 2,
    metric: Annotated[
        Literal["accuracy", "macro-recall"] | None,
        typer.Option(
            metavar="NAME",
            help="Metric on held-out rows: accuracy or macro-recall.",
            show_default="accuracy for two labels, else macro-recall",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    arch: Annotated[
        Architecture,
        typer.Option(
            metavar="NAME",
            help="Architecture of trial 0: seed, pairs, bigru or bilstm.",
            rich_help_panel=SEARCH,
        ),
    ] = "pairs",
    space: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Search space as TOML or JSON: the settings to vary and their ranges.",
            show_default="the space in docs/tuning.md",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    teacher: options.Teacher = None,
    teacher_columns: options.TeacherColumns = None,
    how: Annotated[
        dict[str, Any],
        Fields(FitConfig, "Training", only=("teacher_weight", "teacher_temperature", "seed")),
    ],
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    user_column: options.UserColumn = None,
    labels: options.Labels = None,
    rows: Annotated[dict[str, Any], options.EXAMPLES],
    without: options.Without = None,
) -> None:
    """Search for the best network settings on held-out rows, within a number of trials or a time.

    Trial 0 has the settings of --arch; bad trials end early. The run of the best trial is
    DIR/best, which evaluate, export-onnx, calibrate and fine-tune accept. DIR/search.html
    charts the search.
    """
    seconds = parse_duration(timeout, "--timeout")
    with options.tensorflow():
        from sentstream_train.fit.distill import Teachers
        from sentstream_train.tune.run import tune as run
        from sentstream_train.tune.space import DEFAULT_SPACE, read_space
    from sentstream.report.page import write_page
    from sentstream_train.report.search.page import search_next, search_page, search_tables

    def write_report(search: Search) -> None:
        so_far = search.to_dict()
        warn(_line(so_far))
        write_page(output / "search.html", search_page(so_far), overwrite=True)

    with options.progress_bar() as progress:
        result = run(
            data,
            output,
            space=DEFAULT_SPACE if space is None else read_space(space),
            network=ARCHITECTURES[arch],
            fitting=override(FitConfig(), epochs=epochs, **how),
            data=override(DataConfig(), **rows),
            columns=Columns(text_column, label_column, user_column),
            labels=options.split_names(labels),
            teachers=Teachers(tuple(teacher or ()), teacher_columns),
            without=without or (),
            metric=metric,
            trials=trials,
            seconds=seconds,
            resume=resume,
            progress=progress,
            after_trial=write_report,
        ).to_dict()
    deliver(
        result,
        page=search_page,
        tables=search_tables,
        html=output / "search.html",
        overwrite=True,
        as_json=json,
    )
    if not json:
        print_data("\n".join(search_next(result)))


def _line(search: dict[str, object]) -> str:
    """The last trial in words."""
    from sentstream.report.words import percent

    trials, best = search["trials"], search["best"]
    assert isinstance(trials, list)
    last = trials[-1]
    if last["state"] == "failed":
        outcome = f"failed: {last['note']}"
    else:
        kind = "pruned at " if last["state"] == "pruned" else ""
        outcome = f"{kind}{search['metric']} {percent(last['score'])}"
    lead = ""
    if isinstance(best, dict):
        lead = f"; best: {percent(best['score'])}, trial {best['number']}"
    return f"trial {last['number']}: {outcome}, {last['seconds']:.0f} s{lead}"
