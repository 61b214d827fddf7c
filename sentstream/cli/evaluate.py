"""``sentstream evaluate``: how good is a model on labeled rows?"""

from __future__ import annotations

from typing import Annotated

import typer

from sentstream.cli import training_options as options
from sentstream.cli.reports import Html, Overwrite, deliver
from sentstream.cli.row_bar import row_bar

BASELINES = "Baselines"


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
    html: Html = None,
    overwrite: Overwrite = False,
    json: options.Json = False,
) -> None:
    """Judge a model on labeled tweets: accuracy with its interval, per-label figures, calibration.

    Left out and counted: rows whose text is null or blank, rows without a label, and rows whose label
    the model does not know, such as neutral ones for a model of two labels. The model chooses among
    all of its labels.
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
            baselines=baselines,
            baseline_paths=baseline_train or (),
            progress=progress,
        ).to_dict()
    deliver(
        result, page=evaluation_page, tables=evaluation_tables, html=html, overwrite=overwrite, as_json=json
    )
