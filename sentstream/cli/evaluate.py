"""``sentstream evaluate``: how good is a model on labeled rows?"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from sentstream.cli import training_options as options
from sentstream.cli.reports import Html, Overwrite, deliver
from sentstream.cli.row_bar import row_bar

BASELINES = "Baselines"
LOOK = "A closer look"


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A model that ships, a bundle, or a training run's folder or model.keras.",
            show_default=False,
        ),
    ],
    data: Annotated[list[str], typer.Argument(help="Labeled rows: CSV or Parquet.", show_default=False)],
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Judge only rows with these labels, e.g. negative,positive.", rich_help_panel=options.ROWS
        ),
    ] = None,
    choose_among: Annotated[
        Literal["all", "judged"],
        typer.Option(
            metavar="HOW",
            help="all: each model chooses among all of its labels; judged: among those of --labels, the other"
            " probabilities are set aside and the rest renormalized.",
            rich_help_panel=options.ROWS,
        ),
    ] = "all",
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Judge VADER, TextBlob, and TF-IDF with logistic regression on the same rows.",
            rich_help_panel=BASELINES,
        ),
    ] = False,
    baseline_train: Annotated[
        list[str] | None,
        typer.Option(
            help="What TF-IDF learns from, instead of cross-validation on the judged rows; its columns have"
            " the same names. May be given several times; implies --baselines.",
            show_default=False,
            rich_help_panel=BASELINES,
        ),
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--slice",
            metavar="COLUMN",
            help="Also give figures for each value of this column. May be given several times.",
            show_default=False,
            rich_help_panel=LOOK,
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Compare with this model on the same rows. May be given several times.",
            show_default=False,
            rich_help_panel=LOOK,
        ),
    ] = None,
    worst: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Name so many wrong rows, those with the highest scores; of a comparison, so many that only"
            " the one model gets right, and only the other.",
            min=0,
            rich_help_panel=LOOK,
        ),
    ] = 20,
    show_texts: Annotated[
        bool, typer.Option("--show-texts", help="Show the texts of those rows.", rich_help_panel=LOOK)
    ] = False,
    html: Html = None,
    overwrite: Overwrite = False,
    json: options.Json = False,
) -> None:
    """Judge a model on labeled tweets: accuracy with its interval, per-label figures, calibration,
    slices, what abstaining gains, the worst errors.

    Left out and counted: rows whose text is null or blank, rows without a label, and rows whose label
    the model does not know, such as neutral ones for a model of two labels. The model chooses among
    all of its labels, or with --choose-among judged among those of --labels.
    """
    from sentstream.report import check_target, evaluation_page, evaluation_tables
    from sentstream_train.evaluate import evaluate as run

    if html:
        check_target(html, overwrite=overwrite)
    with row_bar("judging") as progress, options.training_extra():
        result = run(
            model,
            data,
            text_column=text_column,
            label_column=label_column,
            labels=options.split_names(labels),
            choose_among=choose_among,
            baselines=baselines,
            baseline_paths=baseline_train or (),
            slices=slices or (),
            compare=compare or (),
            worst=worst,
            show_texts=show_texts,
            progress=progress,
        ).to_dict()
    deliver(
        result, page=evaluation_page, tables=evaluation_tables, html=html, overwrite=overwrite, as_json=json
    )
